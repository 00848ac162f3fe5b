"""Where cgroups are, and what they are set to."""

from __future__ import annotations

import pytest

from orchestrator.kubelet.cgroups.values import (
    CgroupValues,
    cpu_weight,
    path_of,
    pod_place,
    slice_of,
    slice_path,
)


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262_144, 10_000)])
def test_shares_become_a_weight(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


def test_a_pod_is_below_its_class() -> None:
    assert path_of(pod_place("ab", "node-1", "Guaranteed", "u-1")) == "/orchestrator_ab/node-1/kubepods/podu-1"
    place = pod_place("ab", "node-1", "BestEffort", "u-1")
    assert path_of(place) == "/orchestrator_ab/node-1/kubepods/besteffort/podu-1"


def test_the_slice_of_a_pod_is_below_those_of_its_class_and_node() -> None:
    place = pod_place("ab", "node-1", "Burstable", "u-1")
    assert slice_of(place) == "orchestrator_ab-node_1-kubepods-burstable-podu_1.slice"
    assert slice_path(place[:2]) == "/orchestrator_ab.slice/orchestrator_ab-node_1.slice"


def test_the_looser_of_two_has_no_limit_where_one_has_none() -> None:
    one, other = CgroupValues(10, 5000, 100), CgroupValues(20, 4000, 0)
    assert one.at_least(other) == other.at_least(one) == CgroupValues(20, 5000, 0)
