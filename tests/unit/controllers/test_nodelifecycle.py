"""Taints, Unknown and eviction rates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.api.node_selection import tolerates_taint
from orchestrator.controllers.nodelifecycle.plan import plan_old_labels, plan_taints, plan_unknown
from orchestrator.controllers.nodelifecycle.zones import Zone, Zones, eviction_rate, plan_zone_state
from orchestrator.controllers.podgc import is_out_of_service, plan_finished
from orchestrator.controllers.tainteviction import plan_eviction

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STAMP = "2026-01-01T00:00:00Z"


def node(
    ready: str | None = "True", *taints: dict[str, Any], unschedulable: bool = False, **others: str
) -> dict[str, Any]:
    conditions = [{"type": t, "status": s} for t, s in {"Ready": ready, **others}.items() if s]
    return {
        "metadata": {"name": "n", "creationTimestamp": STAMP},
        "spec": {"taints": list(taints), "unschedulable": unschedulable},
        "status": {"conditions": conditions},
    }


def pairs(taints: list[dict[str, Any]] | None) -> set[tuple[str, str]] | None:
    return None if taints is None else {(t["key"].removeprefix("node.kubernetes.io/"), t["effect"]) for t in taints}


FOREIGN = {"key": "gpu", "effect": "NoSchedule"}
LOST = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2025-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("one", "may_evict", "expected"),
    [
        (node(), True, None),
        (node("True", FOREIGN), True, None),
        (node("False"), True, {("not-ready", "NoSchedule"), ("not-ready", "NoExecute")}),
        (node("Unknown"), True, {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}),
        (node(None), False, {("unreachable", "NoSchedule")}),
        (node("True", LOST, FOREIGN), True, {("gpu", "NoSchedule")}),
        (node("False", LOST), False, {("not-ready", "NoSchedule"), ("not-ready", "NoExecute")}),
        (node(unschedulable=True), True, {("unschedulable", "NoSchedule")}),
        (
            node(MemoryPressure="True", DiskPressure="True", PIDPressure="False"),
            True,
            {("memory-pressure", "NoSchedule"), ("disk-pressure", "NoSchedule")},
        ),
        (node(NetworkUnavailable="True"), True, {("network-unavailable", "NoSchedule")}),
    ],
)
def test_taints(one: dict[str, Any], may_evict: bool, expected: set[tuple[str, str]] | None) -> None:
    assert pairs(plan_taints(one, NOW, may_evict=may_evict)) == expected


def test_a_taint_keeps_the_time_when_it_was_added() -> None:
    taints = plan_taints(node("Unknown", LOST), NOW, may_evict=True)
    assert taints is not None
    assert {t["effect"]: t["timeAdded"] for t in taints} == {"NoExecute": LOST["timeAdded"], "NoSchedule": STAMP}


def test_when_all_zones_are_lost_eviction_is_called_off() -> None:
    taints = plan_taints(node("Unknown", LOST), NOW, may_evict=True, cancel_evictions=True)
    assert pairs(taints) == {("unreachable", "NoSchedule")}


def test_a_silent_node_is_unknown_once() -> None:
    status = plan_unknown(node(), NOW)
    assert status is not None
    reasons = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
    never = ("Unknown", "NodeStatusNeverUpdated")
    assert reasons == {
        "Ready": ("Unknown", "NodeStatusUnknown"),
        "MemoryPressure": never,
        "DiskPressure": never,
        "PIDPressure": never,
    }
    assert plan_unknown({**node(), "status": status}, NOW + timedelta(1)) is None


@pytest.mark.parametrize(
    ("ready", "not_ready", "state", "rate"),
    [
        (5, 0, "Normal", 0.1),
        (0, 3, "FullDisruption", 0.1),
        (2, 3, "PartialDisruption", 0.0),
        (40, 60, "PartialDisruption", 0.01),
        (1, 2, "Normal", 0.1),
        (5, 5, "Normal", 0.1),
    ],
)
def test_zones(ready: int, not_ready: int, state: str, rate: float) -> None:
    assert plan_zone_state(ready, not_ready) == state
    assert eviction_rate(plan_zone_state(ready, not_ready), ready + not_ready, all_disrupted=False) == rate
    assert eviction_rate(plan_zone_state(ready, not_ready), ready + not_ready, all_disrupted=True) == 0


def test_a_zone_counts_its_nodes() -> None:
    zone = Zone()
    zone.put("a", True)
    zone.put("a", True)
    zone.put("b", False)
    assert (zone.ready, len(zone.nodes)) == (1, 2)
    zone.put("a", False)
    zone.drop("b")
    zone.drop("b")
    assert (zone.ready, len(zone.nodes), zone.state) == (0, 1, "FullDisruption")


def test_nobody_is_given_up_while_all_zones_are_lost() -> None:
    zones = Zones()
    assert not zones.is_all_disrupted()
    assert not zones.put("a", "east", is_ready=True)
    assert not zones.put("b", "west", is_ready=False)
    assert zones.put("a", "east", is_ready=False)
    assert zones.is_all_disrupted()
    assert zones.put("a", "west", is_ready=True), "a node that moved comes back in another zone"
    assert not zones.is_all_disrupted()
    assert zones.drop("a")
    assert zones.is_all_disrupted()
    assert zones.drop("b"), "no zone, none lost"


def test_a_zone_gives_up_a_node_every_ten_seconds() -> None:
    zones = Zones()
    for name in ("a", "b", "c"):
        zones.put(name, "east", is_ready=name == "c")
    assert zones.eviction_wait("east", 100.0) == 0
    zones.evicted("east", 100.0)
    assert zones.eviction_wait("east", 104.0) == 6
    assert zones.eviction_wait("west", 104.0) is None


TAINT = {"key": "k", "value": "v", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "value": "x"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoSchedule"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, True),
        ({"value": "v"}, False),
    ],
)
def test_tolerations(toleration: dict[str, str], expected: bool) -> None:
    assert tolerates_taint(toleration, TAINT) is expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([], 0),
        ([None], None),
        ([300], 300),
        ([300, 10], 10),
        ([None, 10], 10),
        ([-5], 0),
    ],
)
def test_eviction_time(seconds: list[int | None], expected: int | None) -> None:
    tolerations: list[dict[str, Any]] = []
    for one in seconds:
        tolerations.append({"key": "k", "operator": "Exists"} | ({} if one is None else {"tolerationSeconds": one}))
    due = plan_eviction({"spec": {"tolerations": tolerations}}, [(TAINT, NOW)])
    assert due == (None if expected is None else NOW + timedelta(seconds=expected))


def test_the_oldest_finished_pods_go_first() -> None:
    pods = [{"metadata": {"name": f"p{i}", "creationTimestamp": f"2026-01-01T00:00:0{i}Z"}} for i in (3, 1, 2)]
    assert [p["metadata"]["name"] for p in plan_finished(pods, 1)] == ["p1", "p2"]
    assert plan_finished(pods, 3) == []
    pods[0]["status"] = {"phase": "Failed", "reason": "Evicted"}
    assert [p["metadata"]["name"] for p in plan_finished(pods, 2)] == [pods[0]["metadata"]["name"]]


def test_out_of_service_counts_only_for_a_node_that_is_not_ready() -> None:
    taint = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}
    assert is_out_of_service(node("Unknown", taint))
    assert not is_out_of_service(node("True", taint))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, {}),
        ({"kubernetes.io/os": "linux"}, {"beta.kubernetes.io/os": "linux"}),
        ({"kubernetes.io/arch": "amd64", "beta.kubernetes.io/arch": "amd64"}, {}),
        ({"kubernetes.io/arch": "arm64", "beta.kubernetes.io/arch": "amd64"}, {"beta.kubernetes.io/arch": "arm64"}),
        ({"beta.kubernetes.io/os": "linux"}, {}),
    ],
)
def test_labels_of_old_names_follow_those_of_present_ones(labels: dict[str, str], expected: dict[str, str]) -> None:
    assert plan_old_labels({"metadata": {"name": "n", "labels": labels}}) == expected
