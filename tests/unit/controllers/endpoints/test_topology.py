"""Which zone each endpoint serves."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.controllers.endpoints.topology import (
    MODE,
    NO_NODE_FACTS,
    NO_ZONE,
    OLD_MODE,
    ONE_ZONE,
    OVERLOADED,
    TOO_FEW,
    plan_zones,
    wants_hints,
    zone_shares,
)

EVEN = {"a": 0.5, "b": 0.5}
THIRDS = {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}


def endpoints(**counts: int) -> dict[str, str]:
    """Endpoints by name, so many in each zone."""
    return {f"{zone}{number}": zone for zone, count in counts.items() for number in range(count)}


CONTROL_PLANE: dict[str, Any] = {"node-role.kubernetes.io/control-plane": ""}


def node(zone: str = "a", cpu: str = "4", *, ready: bool = True, **labels: Any) -> dict[str, Any]:
    all_labels = {"topology.kubernetes.io/zone": zone, **labels} if zone else labels
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {"metadata": {"name": "n", "labels": all_labels},
            "status": {"allocatable": {"cpu": cpu}, "conditions": conditions}}  # fmt: skip


@pytest.mark.parametrize(
    ("annotations", "wanted"),
    [
        ({}, False),
        ({MODE: "Auto"}, True),
        ({MODE: "auto"}, True),
        ({MODE: "Disabled"}, False),
        ({OLD_MODE: "Auto"}, True),
        ({OLD_MODE: "Disabled", MODE: "Auto"}, False),
    ],
)
def test_who_asks_for_hints(annotations: dict[str, str], wanted: bool) -> None:
    assert wants_hints({"metadata": {"annotations": annotations}}) is wanted


@pytest.mark.parametrize(
    ("nodes", "shares"),
    [
        ([node("a", "6"), node("b", "2")], {"a": 0.75, "b": 0.25}),
        ([node("a"), node("b", ready=False)], {"a": 1.0}),
        ([node("a"), node("b", **CONTROL_PLANE)], {"a": 1.0}),
        ([node("a"), node("")], {}),
        ([node("a"), node("b", "")], {}),
        ([], {}),
    ],
)
def test_a_zone_counts_by_the_cpu_of_its_ready_nodes(nodes: list[Any], shares: dict[str, float]) -> None:
    assert zone_shares(nodes) == shares


@pytest.mark.parametrize(
    ("shares", "zones", "sizes"),
    [
        (EVEN, endpoints(a=3, b=3), {"a": 3, "b": 3}),
        (EVEN, endpoints(a=6), {"a": 3, "b": 3}),
        (EVEN, endpoints(a=7, b=5), {"a": 6, "b": 6}),
        ({"a": 0.75, "b": 0.25}, endpoints(a=4, b=4), {"a": 6, "b": 2}),
        (THIRDS, endpoints(a=5, b=3, c=1), {"a": 3, "b": 3, "c": 3}),
        # Nobody in zone z would ask the endpoints there.
        (EVEN, endpoints(a=3, b=2, z=1), {"a": 3, "b": 3}),
    ],
)
def test_endpoints_are_shared_out_by_zone(
    shares: dict[str, float], zones: dict[str, str], sizes: dict[str, int]
) -> None:  # fmt: skip
    served, reason = plan_zones(shares, zones, {})
    assert reason == ""
    assert Counter(served.values()) == sizes


@pytest.mark.parametrize(
    ("shares", "zones", "reason"),
    [
        ({}, endpoints(a=3), NO_NODE_FACTS),
        ({"a": 1.0}, endpoints(a=3), ONE_ZONE),
        (THIRDS, endpoints(a=2), TOO_FEW),
        (EVEN, {**endpoints(a=3, b=3), "x": ""}, NO_ZONE),
        # Each zone would need two of four, or be overloaded by a third.
        (THIRDS, endpoints(a=2, b=1, c=1), OVERLOADED),
    ],
)
def test_no_hints_rather_than_bad_ones(shares: dict[str, float], zones: dict[str, str], reason: str) -> None:
    assert plan_zones(shares, zones, {}) == ({}, reason)


def test_who_serves_another_zone_goes_on_with_it() -> None:
    zones = endpoints(a=4)
    served, _ = plan_zones(EVEN, zones, {"a2": "b", "a3": "b"})
    assert [name for name, zone in served.items() if zone == "b"] == ["a2", "a3"]


@given(
    st.lists(st.integers(1, 64), min_size=2, max_size=5),
    st.lists(st.integers(0, 30), min_size=1, max_size=6),
)
def test_no_zone_is_overloaded(cpus: list[int], counts: list[int]) -> None:
    names = "abcdef"
    shares = {names[index]: cpu / sum(cpus) for index, cpu in enumerate(cpus)}
    zones = endpoints(**{names[index]: count for index, count in enumerate(counts)})
    served, reason = plan_zones(shares, zones, {})
    if reason:
        assert reason in (TOO_FEW, OVERLOADED)
        return
    assert served.keys() == zones.keys()
    sizes = Counter(served.values())
    for zone, share in shares.items():
        assert share * len(zones) <= sizes[zone] * 1.2 + 1e-6
    assert sizes.keys() <= shares.keys()
