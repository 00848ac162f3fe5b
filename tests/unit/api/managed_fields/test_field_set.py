"""The algebra of sets of fields."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.managed_fields.field_set import (
    LEAF,
    FieldSet,
    NotAFieldSet,
    difference,
    in_order,
    intersection,
    parse,
    path_text,
    paths,
    union,
)

ELEMENTS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'k:{"name":"y"}', 'v:"s"', "v:2", "i:0"])
PATHS = st.lists(ELEMENTS, min_size=1, max_size=4).map(tuple)
PATH_SETS = st.sets(PATHS, max_size=8)


def build(members: set[tuple[str, ...]]) -> FieldSet:
    """The set with exactly these fields, made without any function of the module."""
    tree: dict[str, Any] = {}
    for path in members:
        node = tree
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}

    def shown(node: dict[str, Any]) -> FieldSet:
        if set(node) == {"."}:
            return {}
        return {key: {} if key == "." else shown(child) for key, child in node.items()}

    return shown(tree)


@given(PATH_SETS)
def test_a_set_lists_its_fields(members: set[tuple[str, ...]]) -> None:
    listed = list(paths(build(members)))
    assert set(listed) == members
    assert len(listed) == len(members)


@given(PATH_SETS, PATH_SETS)
def test_operations_are_those_of_sets(left: set[tuple[str, ...]], right: set[tuple[str, ...]]) -> None:
    a, b = build(left), build(right)
    assert set(paths(union(a, b))) == left | right
    assert set(paths(difference(a, b))) == left - right
    assert set(paths(intersection(a, b))) == left & right
    assert (a, b) == (build(left), build(right)), "operands are never changed"


@given(PATH_SETS)
def test_what_changes_nothing_returns_the_same_set(members: set[tuple[str, ...]]) -> None:
    fields = build(members)
    assert union(fields, build(members)) is fields or not fields
    assert difference(fields, {}) is fields
    assert not difference(fields, build(members))


@given(PATH_SETS)
def test_canonical_form_survives_a_round_trip(members: set[tuple[str, ...]]) -> None:
    fields = parse(build(members))
    assert parse(fields) == fields
    assert list(parse(fields)) == list(fields)
    assert set(paths(fields)) == members


def test_order_is_fields_then_keys_then_values_then_positions() -> None:
    node = dict.fromkeys(
        ["i:10", "i:9", 'v:"a"', "v:10", "v:9", 'k:{"port":443}', 'k:{"port":80}', "f:b", "f:a", "."], LEAF
    )
    assert list(in_order(node)) == [
        ".", "f:a", "f:b", 'k:{"port":80}', 'k:{"port":443}', "v:9", "v:10", 'v:"a"', "i:9", "i:10"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("f:spec", "f:replicas"), ".spec.replicas"),
        (("f:spec", "f:containers", 'k:{"name":"c"}', "f:args"), '.spec.containers[name="c"].args'),
        (("f:ports", 'k:{"containerPort":80,"protocol":"TCP"}'), '.ports[containerPort=80,protocol="TCP"]'),
        (("f:metadata", "f:finalizers", 'v:"x.io/a"'), '.metadata.finalizers[="x.io/a"]'),
        (("f:list", "i:3"), ".list[3]"),
    ],
)
def test_paths_read_as_in_messages(path: tuple[str, ...], text: str) -> None:
    assert path_text(path) == text


@pytest.mark.parametrize("fields", [[], {"x": {}}, {"k:{": {}}, {"k:[1]": {}}, {"f:a": 1}, {"i:x": {}}, {"v:": {}}])
def test_nonsense_from_clients_is_refused(fields: Any) -> None:
    with pytest.raises(NotAFieldSet):
        parse(fields)


def test_keys_of_clients_become_canonical() -> None:
    assert parse({'k:{"protocol": "TCP", "port": 80}': {".": {}}}) == {'k:{"port":80,"protocol":"TCP"}': {}}
