"""JSON merge patch: the examples of RFC 7386 that apply to objects, and its laws."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.errors import BadRequest
from orchestrator.api.patch import apply_merge_patch, create_merge_patch, three_way_json_merge_patch


@pytest.mark.parametrize(
    ("obj", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": "foo"}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_examples(obj: dict[str, Any], patch: dict[str, Any], expected: dict[str, Any]) -> None:
    before = orjson.dumps([obj, patch])
    assert apply_merge_patch(obj, patch) == expected
    assert orjson.dumps([obj, patch]) == before


def test_a_patch_is_an_object() -> None:
    with pytest.raises(BadRequest):
        apply_merge_patch({}, [])


_keys = st.sampled_from("abcd")
_scalars = st.one_of(st.integers(0, 3), st.booleans(), st.sampled_from(["", "x"]))
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(_keys, inner, max_size=3)),
    max_leaves=6,
)
_objects = st.dictionaries(_keys, _values, max_size=4)


@given(_objects, _objects)
def test_a_created_patch_leads_to_what_it_was_created_from(original: dict[str, Any], modified: dict[str, Any]) -> None:
    patch = create_merge_patch(original, modified)
    assert orjson.dumps(apply_merge_patch(original, patch), option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        modified, option=orjson.OPT_SORT_KEYS
    )


@given(_objects, _objects)
def test_applying_twice_is_applying_once(obj: dict[str, Any], patch: dict[str, Any]) -> None:
    once = apply_merge_patch(obj, patch)
    assert apply_merge_patch(once, patch) == once
    assert apply_merge_patch(obj, {}) == obj


def test_three_ways() -> None:
    original = {"spec": {"a": 1, "gone": 1}}
    modified = {"spec": {"a": 2}}
    current = {"spec": {"a": 1, "gone": 5, "theirs": 3}, "status": {}}
    patch = three_way_json_merge_patch(original, modified, current)
    assert patch == {"spec": {"gone": None, "a": 2}}
    assert apply_merge_patch(current, patch) == {"spec": {"a": 2, "theirs": 3}, "status": {}}


@given(_objects, _objects)
def test_three_ways_without_others_is_two_ways(original: dict[str, Any], modified: dict[str, Any]) -> None:
    patch = three_way_json_merge_patch(original, modified, original)
    assert apply_merge_patch(original, patch) == modified


def test_true_is_not_one() -> None:
    assert create_merge_patch({"a": [[0], 0]}, {"a": [[0], False]}) == {"a": [[0], False]}
    assert create_merge_patch({"a": 1}, {"a": True})["a"] is True
