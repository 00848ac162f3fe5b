"""Whom a change concerns, and what follows from the states of owners."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.resources import CONFIG_MAPS, NODES
from orchestrator.controllers.garbagecollector.graph import Graph, is_same_owner, node_of, plan_dependent


def obj(
    uid: str,
    *owners: str,
    finalizers: tuple[str, ...] = (),
    deleted: bool = False,
    blocks: bool = True,
    namespace: str = "d",
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": uid, "namespace": namespace, "uid": uid, "finalizers": list(finalizers)}
    metadata["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": owner, "blockOwnerDeletion": blocks}
        for owner in owners
    ]
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def graph_of(*objects: dict[str, Any]) -> Graph:
    graph = Graph()
    for one in objects:
        graph.observe(node_of(CONFIG_MAPS, one))
    return graph


def test_a_new_object_is_checked_only_when_an_owner_is_not_known() -> None:
    graph = graph_of(obj("a"))
    assert graph.observe(node_of(CONFIG_MAPS, obj("b", "a"))).check == set()
    assert graph.observe(node_of(CONFIG_MAPS, obj("c", "ghost"))).check == {"c"}


def test_a_removed_owner_concerns_its_dependents_only() -> None:
    graph = graph_of(obj("a"), obj("b", "a"), obj("c", "a"), obj("d", "b"), obj("e"))
    assert graph.remove("a").check == {"b", "c"}


def test_foreground_deletion_concerns_owner_and_dependents_and_again_when_one_is_gone() -> None:
    graph = graph_of(obj("a"), obj("b", "a"), obj("c", "a"))
    waiting = node_of(CONFIG_MAPS, obj("a", finalizers=("foregroundDeletion",), deleted=True))
    assert graph.observe(waiting).check == {"a", "b", "c"}
    assert {node.uid for node in graph.blocking("a")} == {"b", "c"}
    assert "a" in graph.remove("b").check
    assert "a" in graph.observe(node_of(CONFIG_MAPS, obj("c"))).check
    assert graph.blocking("a") == []


def test_references_that_do_not_block_hold_nothing_up() -> None:
    assert graph_of(obj("a"), obj("b", "a", blocks=False)).blocking("a") == []


def test_orphaning_is_asked_for_once() -> None:
    graph = graph_of(obj("a"), obj("b", "a"))
    going = node_of(CONFIG_MAPS, obj("a", finalizers=("orphan",), deleted=True))
    assert graph.observe(going).orphan == {"a"}
    assert graph.observe(going).orphan == set()


def test_an_owner_must_have_kind_name_and_namespace_of_the_reference() -> None:
    (reference,) = obj("b", "a")["metadata"]["ownerReferences"]
    assert is_same_owner(reference, node_of(CONFIG_MAPS, obj("a")), "d")
    assert not is_same_owner(reference, node_of(CONFIG_MAPS, obj("a")), "other")
    assert not is_same_owner({**reference, "name": "x"}, node_of(CONFIG_MAPS, obj("a")), "d")
    assert not is_same_owner({**reference, "kind": "Secret"}, node_of(CONFIG_MAPS, obj("a")), "d")
    node = {"metadata": {"name": "n", "uid": "n"}}
    assert is_same_owner({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "n"}, node_of(NODES, node), "any")


@pytest.mark.parametrize(
    ("finalizers", "states", "dependents", "expected"),
    [
        pytest.param((), {}, False, (False, ""), id="no owners"),
        pytest.param((), {"a": "solid"}, False, (False, ""), id="owned"),
        pytest.param((), {"a": "absent"}, False, (True, "Background"), id="owner gone"),
        pytest.param((), {"a": "absent", "b": "solid"}, True, (False, ""), id="one left"),
        pytest.param((), {"a": "waiting"}, True, (True, "Foreground"), id="foreground goes down"),
        pytest.param((), {"a": "waiting"}, False, (True, "Background"), id="leaf of a foreground deletion"),
        pytest.param(("orphan",), {"a": "absent"}, True, (True, "Orphan"), id="own wish: orphan"),
        pytest.param(("foregroundDeletion",), {"a": "absent"}, True, (True, "Foreground"), id="own wish: foreground"),
    ],
)
def test_plan_dependent(
    finalizers: tuple[str, ...], states: dict[str, Any], dependents: bool, expected: tuple[bool, str]
) -> None:
    verdict = plan_dependent(
        obj("x", *states, finalizers=finalizers), states, has_dependents=dependents, has_waiting_dependents=False
    )
    assert (verdict.delete, verdict.propagation) == expected


def test_absent_owners_beside_a_solid_one_are_forgotten() -> None:
    verdict = plan_dependent(
        obj("x", "a", "b", "c"),
        {"a": "absent", "b": "solid", "c": "waiting"},
        has_dependents=True,
        has_waiting_dependents=False,
    )
    assert (verdict.delete, verdict.drop_owners) == (False, ("a", "c"))


UIDS = st.sampled_from("abcdef")


@given(st.lists(st.tuples(st.sampled_from(["observe", "remove"]), UIDS, st.lists(UIDS, unique=True, max_size=3))))
def test_dependents_always_equal_the_references(changes: list[tuple[str, str, list[str]]]) -> None:
    graph, model = Graph(), dict[str, list[str]]()
    for action, uid, owners in changes:
        if action == "observe":
            graph.observe(node_of(CONFIG_MAPS, obj(uid, *owners)))
            model[uid] = owners
        else:
            graph.remove(uid)
            model.pop(uid, None)
        for owner in "abcdef":
            expected = {dependent for dependent, named in model.items() if owner in named}
            assert {node.uid for node in graph.dependents_of(owner)} == expected
