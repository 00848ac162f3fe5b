"""Values against schemas: what is complained about, where, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.structural.values import validate_value

Expected = list[tuple[str, str, str]]


def complaints(value: Any, schema: dict[str, Any], **options: Any) -> Expected:
    return [(c.reason, c.field, c.message) for c in validate_value(value, schema, **options)]


def of(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}}


CASES: list[tuple[dict[str, Any], Any, str, str, str]] = [
    ({"type": "integer"}, "x", "FieldValueTypeInvalid", "a", 'a in body must be of type integer: "string"'),
    ({"type": "integer"}, 1.5, "FieldValueTypeInvalid", "a", 'a in body must be of type integer: "number"'),
    ({"type": "string"}, None, "FieldValueTypeInvalid", "a", 'a in body must be of type string: "null"'),
    ({"type": "boolean"}, 1, "FieldValueTypeInvalid", "a", 'must be of type boolean: "integer"'),
    ({"type": "integer"}, True, "FieldValueTypeInvalid", "a", 'must be of type integer: "boolean"'),
    ({"x-kubernetes-int-or-string": True}, [], "FieldValueTypeInvalid", "a", "must be of type integer,string"),
    ({"type": "string", "maxLength": 2}, "abc", "FieldValueTooLong", "a", "Too long: may not be more than 2 bytes"),
    ({"type": "string", "minLength": 2}, "a", "FieldValueInvalid", "a", "should be at least 2 chars long"),
    ({"type": "string", "pattern": "^x+$"}, "y", "FieldValueInvalid", "a", "should match '^x+$'"),
    ({"type": "string", "format": "ipv4"}, "1.2.3", "FieldValueTypeInvalid", "a", 'must be of type ipv4: "1.2.3"'),
    ({"type": "string", "enum": ["p", "q"]}, "r", "FieldValueNotSupported", "a", 'supported values: "p", "q"'),
    ({"type": "integer", "enum": [1, 2]}, 3, "FieldValueNotSupported", "a", 'supported values: "1", "2"'),
    ({"type": "integer", "minimum": 3}, 2, "FieldValueInvalid", "a", "should be greater than or equal to 3"),
    ({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, 3, "FieldValueInvalid", "a", "greater than 3"),
    ({"type": "integer", "maximum": 3}, 4, "FieldValueInvalid", "a", "should be less than or equal to 3"),
    ({"type": "number", "maximum": 3, "exclusiveMaximum": True}, 3, "FieldValueInvalid", "a", "should be less than 3"),
    ({"type": "number", "multipleOf": 0.1}, 0.25, "FieldValueInvalid", "a", "should be a multiple of 0.1"),
    ({"type": "array", "minItems": 1}, [], "FieldValueInvalid", "a", "should have at least 1 items"),
    ({"type": "array", "maxItems": 1}, [1, 2], "FieldValueTooMany", "a", "Too many: 2: must have at most 1 items"),
    ({"type": "object", "minProperties": 1}, {}, "FieldValueInvalid", "a", "should have at least 1 properties"),
    ({"type": "object", "maxProperties": 0}, {"b": 1}, "FieldValueTooMany", "a", "must have at most 0 items"),
    ({"type": "object", "required": ["b"]}, {}, "FieldValueRequired", "a.b", "Required value"),
    ({"type": "array", "items": {"type": "string"}}, ["x", 1], "FieldValueTypeInvalid", "a[1]", "a[1] in body"),
    ({"type": "object", "additionalProperties": {"type": "string"}}, {"k": 1}, "FieldValueTypeInvalid", "a.k", "a.k"),
    ({"anyOf": [{"minimum": 5}, {"maximum": 1}]}, 3, "FieldValueInvalid", "<nil>", 'must validate at least one schema'),
    ({"oneOf": [{"minimum": 1}, {"minimum": 2}]}, 3, "FieldValueInvalid", "<nil>", "Found 2 valid alternatives"),
    ({"oneOf": [{"minimum": 4}, {"minimum": 5}]}, 3, "FieldValueInvalid", "<nil>", "Found none valid"),
    ({"allOf": [{"minimum": 4}]}, 3, "FieldValueInvalid", "a", "should be greater than or equal to 4"),
    ({"not": {"minimum": 1}}, 3, "FieldValueInvalid", "<nil>", '"a" must not validate the schema (not)'),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "value", "reason", "field", "text"), CASES)
def test_a_value_that_does_not_fit(schema: dict[str, Any], value: Any, reason: str, field: str, text: str) -> None:
    found = complaints({"a": value}, of("a", schema))
    assert any((r, f) == (reason, field) and text in message for r, f, message in found), found


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 2.0),
        ({"type": "number"}, 2),
        ({"type": "string", "nullable": True}, None),
        ({"x-kubernetes-int-or-string": True}, "80%"),
        ({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}, 80),
        ({"type": "number", "multipleOf": 0.1}, 0.3),
        ({"type": "string", "format": "no-such-format"}, "anything"),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": True}, {"b": [1, "c"]}),
        ({"type": "string", "enum": ["a"], "maxLength": 1}, "a"),
        ({"oneOf": [{"minimum": 1}, {"minimum": 5}]}, 3),
    ],
)
def test_a_value_that_fits(schema: dict[str, Any], value: Any) -> None:
    assert complaints({"a": value}, of("a", schema)) == []


def test_a_path_stands_before_fields_and_not_in_texts() -> None:
    found = validate_value({"a": "x"}, of("a", {"type": "integer"}), "spec.default")
    assert [(c.field, c.message) for c in found] == [
        ("spec.default.a", 'Invalid value: "string": a in body must be of type integer: "string"')
    ]


def test_what_did_not_change_is_not_complained_about() -> None:
    schema = of("a", {"type": "integer", "minimum": 5})
    schema["properties"]["b"] = {"type": "integer", "minimum": 5}
    assert complaints({"a": 1, "b": 1}, schema, old={"a": 1, "b": 7})[0][1] == "b"
    assert len(complaints({"a": 1, "b": 1}, schema, old={"a": 1, "b": 7})) == 1


def test_items_of_list_maps_are_compared_with_their_old_selves() -> None:
    item = {"type": "object", "properties": {"n": {"type": "string"}, "v": {"type": "integer", "minimum": 5}}}
    listed = {
        "type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
    }  # fmt: skip
    old = {"a": [{"n": "x", "v": 1}, {"n": "y", "v": 9}]}
    assert complaints({"a": [{"n": "z", "v": 9}, {"n": "x", "v": 1}]}, of("a", listed), old=old) == []
    assert complaints({"a": [{"n": "y", "v": 1}]}, of("a", listed), old=old) != []
    plain = {"type": "array", "items": item}
    assert complaints({"a": [{"n": "x", "v": 1}, {}]}, of("a", plain), old=old) != []
