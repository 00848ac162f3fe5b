"""Defaults, nulls, pruning, and lists without repetition."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from orchestrator.api.structural.defaulting import apply_defaults, drop_nulls, has_defaults, prune
from orchestrator.api.structural.embedded import validate_embedded
from orchestrator.api.structural.lists import validate_lists

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": "integer", "default": 1},
        "b": {
            "type": "object",
            "default": {},
            "properties": {"c": {"type": "string", "default": "x"}, "n": {"type": "string", "nullable": True}},
        },
        "list": {"type": "array", "items": {"type": "object", "properties": {"m": {"default": "auto"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"d": {"default": 2}}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"k": {"default": 3}}},
        "plain": {"type": "string"},
    },
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"a": 1, "b": {"c": "x"}}),
        ({"a": 5, "b": {"c": "y"}}, {"a": 5, "b": {"c": "y"}}),
        ({"a": None}, {"a": 1, "b": {"c": "x"}}),
        ({"list": [{}, {"m": "man"}]}, {"a": 1, "b": {"c": "x"}, "list": [{"m": "auto"}, {"m": "man"}]}),
        ({"map": {"k": {}}}, {"a": 1, "b": {"c": "x"}, "map": {"k": {"d": 2}}}),
        ({"free": {}}, {"a": 1, "b": {"c": "x"}, "free": {"k": 3}}),
        ({"plain": None, "b": {"n": None}}, {"a": 1, "b": {"n": None, "c": "x"}}),
    ],
)
def test_defaults(given: dict[str, Any], expected: dict[str, Any]) -> None:
    drop_nulls(given, SCHEMA)
    apply_defaults(given, SCHEMA)
    assert given == expected


def test_a_default_is_not_shared_between_objects() -> None:
    one: dict[str, Any] = {}
    apply_defaults(one, SCHEMA)
    one["b"]["c"] = "changed"
    two: dict[str, Any] = {}
    apply_defaults(two, SCHEMA)
    assert two["b"]["c"] == "x"


def test_pruning_keeps_what_is_specified_preserved_or_type_and_metadata() -> None:
    given = {
        "kind": "K", "metadata": {"name": "n"}, "a": 1, "z": 2, "free": {"any": {"thing": 1}},
        "list": [{"m": 1, "z": 2}], "map": {"k": {"d": 1, "z": 2}},
    }  # fmt: skip
    before = copy.deepcopy(given)
    assert prune(given, SCHEMA, is_root=True) == {
        "kind": "K", "metadata": {"name": "n"}, "a": 1, "free": {"any": {"thing": 1}},
        "list": [{"m": 1}], "map": {"k": {"d": 1}},
    }  # fmt: skip
    assert given == before


def test_has_defaults() -> None:
    assert has_defaults(SCHEMA)
    assert not has_defaults({"type": "object", "properties": {"a": {"type": "string"}}})


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"x-kubernetes-list-type": "set"}, ["a", "b", "a"], [("x[2]", 'Duplicate value: "a"')]),
        (
            {"x-kubernetes-list-type": "set"},
            [{"p": 1, "q": 2}, {"q": 2, "p": 1}],
            [("x[1]", 'Duplicate value: {"q":2,"p":1}')],
        ),
        (
            {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]},
            [{"n": "a", "v": 1}, {"n": "b"}, {"n": "a", "v": 2}],
            [("x[2]", 'Duplicate value: {"n":"a"}')],
        ),
        ({"x-kubernetes-list-type": "atomic"}, ["a", "a"], []),
        ({}, ["a", "a"], []),
        ({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]}, [{"n": 1}, {"n": "1"}], []),
    ],
)  # fmt: skip
def test_lists_hold_nothing_twice(schema: dict[str, Any], value: Any, expected: list[tuple[str, str]]) -> None:
    root = {"type": "object", "properties": {"x": {"type": "array", "items": {"type": "object"}, **schema}}}
    assert [(c.field, c.message) for c in validate_lists({"x": value}, root)] == expected


def test_an_embedded_resource_has_a_type_and_a_name() -> None:
    root = {"type": "object", "properties": {"t": {"type": "object", "x-kubernetes-embedded-resource": True}}}
    found = validate_embedded({"t": {"kind": "Bad Kind", "metadata": {"name": "Bad_Name"}}}, root)
    assert [c.field for c in found] == ["t.apiVersion", "t.kind", "t.metadata.name"]
    assert validate_embedded({"t": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}}, root) == []
