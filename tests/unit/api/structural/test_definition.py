"""What a structural schema may say."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.structural.definition import validate_definition

P = "s.properties[a]"


def complaints(node: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    schema = {"type": "object", "properties": {"a": node}}
    return [(c.field, c.message) for c in validate_definition(schema, "s", has_status=False, **options)]


STRING = {"type": "string"}
CASES: list[tuple[dict[str, Any], str, str]] = [
    ({}, f"{P}.type", "Required value: must not be empty for specified object fields"),
    ({"type": "array"}, f"{P}.items", "Required value: must be specified"),
    ({"type": "array", "items": {}}, f"{P}.items.type", "must not be empty for specified array items"),
    ({"type": "null"}, f"{P}.type", "Forbidden: type cannot be set to null"),
    ({"type": "strong"}, f"{P}.type", "Unsupported value"),
    ({**STRING, "pattern": "("}, f"{P}.pattern", "must be a valid regular expression, but isn't"),
    ({**STRING, "pattern": "(?=a)"}, f"{P}.pattern", "must be a valid regular expression, but isn't"),
    ({"type": "array", "items": STRING, "uniqueItems": True}, f"{P}.uniqueItems", "complexity becomes quadratic"),
    ({"type": "object", "properties": {"b": STRING}, "additionalProperties": STRING}, f"{P}.additionalProperties",
     "additionalProperties and properties are mutual exclusive"),
    ({**STRING, "$ref": "x"}, f"{P}.$ref", "$ref is not supported"),
    ({**STRING, "anyOf": [{"type": "string"}]}, f"{P}.anyOf[0].type", "must be empty to be structural"),
    ({**STRING, "oneOf": [{"description": "d"}]}, f"{P}.oneOf[0].description", "must be empty to be structural"),
    ({"type": "object", "not": {"properties": {"b": {"minimum": 1}}}}, f"{P}.properties[b]",
     f"because it is defined in {P}.not.properties[b]"),
    ({"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True},
     f"{P}.x-kubernetes-preserve-unknown-fields", "must be false if x-kubernetes-int-or-string is true"),
    ({"type": "object", "x-kubernetes-embedded-resource": True}, f"{P}.properties", "must not be empty if"),
    ({**STRING, "x-kubernetes-embedded-resource": True}, f"{P}.type", "must be object if"),
    ({"type": "object", "x-kubernetes-preserve-unknown-fields": False}, f"{P}.x-kubernetes-preserve-unknown-fields",
     "must be true or undefined"),
    ({**STRING, "x-kubernetes-list-type": "set"}, f"{P}.type", "must be array if x-kubernetes-list-type is specified"),
    ({"type": "array", "items": STRING, "x-kubernetes-list-type": "bag"}, f"{P}.x-kubernetes-list-type", "Unsupported"),
    ({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "set"},
     f"{P}.items.x-kubernetes-map-type", "must be atomic as item of a list with x-kubernetes-list-type=set"),
    ({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"},
     f"{P}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map"),
    ({"type": "array", "items": {"type": "object", "properties": {"k": STRING}}, "x-kubernetes-list-type": "map",
      "x-kubernetes-list-map-keys": ["k"]}, f"{P}.items.properties[k].default", "must have a default or be a required"),
    ({"type": "array", "items": STRING, "x-kubernetes-list-map-keys": ["k"]}, f"{P}.x-kubernetes-list-type",
     "must be map if x-kubernetes-list-map-keys is non-empty"),
    ({"type": "integer", "default": "x"}, f"{P}.default", " in body must be of type integer"),
    ({"type": "object", "default": {"z": 1}}, f"{P}.default", "must not have unknown fields"),
    ({"type": "integer", "minimum": 3, "default": 1}, f"{P}.default", "should be greater than or equal to 3"),
    ({"type": "integer", "x-kubernetes-validations": [{"rule": "self"}]}, f"{P}.x-kubernetes-validations[0].rule",
     "cel expression must evaluate to a bool"),
    ({"type": "integer", "x-kubernetes-validations": [{"rule": " "}]}, f"{P}.x-kubernetes-validations[0].rule",
     "rule is not specified"),
    ({"type": "integer", "x-kubernetes-validations": [{"rule": "true", "message": "a\nb"}]},
     f"{P}.x-kubernetes-validations[0].message", "must not contain line breaks"),
    ({"type": "integer", "x-kubernetes-validations": [{"rule": "true", "reason": "Because"}]},
     f"{P}.x-kubernetes-validations[0].reason", "Unsupported value"),
    ({"type": "integer", "x-kubernetes-validations": [{"rule": "true", "optionalOldSelf": True}]},
     f"{P}.x-kubernetes-validations[0].optionalOldSelf", "may not be set if oldSelf is not used in rule"),
    ({"type": "object", "x-kubernetes-validations": [{"rule": "true", "fieldPath": ".nope"}]},
     f"{P}.x-kubernetes-validations[0].fieldPath", "fieldPath must be a valid path"),
    ({"type": "integer", "x-kubernetes-validations": [{"rule": "true", "messageExpression": "1"}]},
     f"{P}.x-kubernetes-validations[0].messageExpression", "messageExpression must evaluate to a string"),
    ({"type": "array", "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}},
     f"{P}.items.x-kubernetes-validations[0].rule", "oldSelf cannot be used on the uncorrelatable portion"),
    ({"type": "array", "items": {"type": "array", "items": {"type": "integer"}},
      "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x == y))"}]},
     f"{P}.x-kubernetes-validations[0].rule", "estimated rule cost exceeds budget by factor of more than 100x"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "field", "text"), CASES)
def test_what_a_schema_may_not_say(node: dict[str, Any], field: str, text: str) -> None:
    found = complaints(node)
    assert any(where == field and text in message for where, message in found), found


@pytest.mark.parametrize(
    "node",
    [
        {"x-kubernetes-int-or-string": True},
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        {"x-kubernetes-int-or-string": True, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}]},
        {"x-kubernetes-preserve-unknown-fields": True},
        {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
        {"type": "object", "properties": {"b": STRING}, "oneOf": [{"required": ["b"]}]},
        {"type": "object", "default": {}, "properties": {"b": {"type": "string", "default": "x"}}},
        {"type": "array", "maxItems": 10, "items": {"type": "integer"},
         "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x == y))"}]},
        {"type": "object", "additionalProperties": {"type": "integer",
         "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}},
    ],
)  # fmt: skip
def test_what_it_may_say(node: dict[str, Any]) -> None:
    assert complaints(node) == []


def test_the_root() -> None:
    def at_root(schema: dict[str, Any], *, has_status: bool = False) -> list[str]:
        return [c.field for c in validate_definition(schema, "s", has_status=has_status)]

    assert at_root({"type": "string"}) == ["s.type"]
    assert at_root({"type": "object", "nullable": True}) == ["s.nullable"]
    assert at_root({"type": "object", "additionalProperties": {"type": "string"}}) == ["s.additionalProperties"]
    assert at_root({"type": "object", "allOf": [{"required": ["a"]}]}, has_status=True) == ["s"]
    metadata = {"type": "object", "properties": {"labels": {"type": "object"}}}
    assert at_root({"type": "object", "properties": {"metadata": metadata}}) == ["s.properties[metadata]"]
    named = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}
    assert at_root({"type": "object", "properties": {"metadata": named}}) == []
