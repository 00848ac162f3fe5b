"""Who makes room for a critical pod."""

from __future__ import annotations

import pytest

from orchestrator.api.objects import Object
from orchestrator.kubelet.admission.preemption import Occupant, plan_preemption
from tests.unit.kubelet.pods import pod

CRITICAL = pod(priority=2_000_000_000)


def occupant(name: str, cpu: int = 0, memory: int = 0, *, qos: str = "Burstable", priority: int = 0) -> Occupant:
    obj: Object = pod(priority=priority)
    obj["metadata"]["name"] = name
    obj["status"]["qosClass"] = qos
    return Occupant(obj, {"cpu": cpu, "memory": memory})


@pytest.mark.parametrize(
    ("occupants", "chosen"),
    [
        ([occupant("a", 900), occupant("b", 100)], ["a"]),
        ([occupant("a", 400), occupant("b", 600)], ["b"]),
        ([occupant("a", 450, 5), occupant("b", 450, 1)], ["b"]),
        ([occupant("a", 500, qos="Guaranteed"), occupant("b", 500)], ["b"]),
        ([occupant("a", 500, qos="Guaranteed"), occupant("b", 250), occupant("c", 250)], ["b", "c"]),
        ([occupant("a", 700, qos="Guaranteed"), occupant("b", 200)], ["a"]),
        ([occupant("a", 1000, priority=2_000_000_000)], []),
        ([occupant("a", 200), occupant("b", 800, priority=2_000_000_001)], []),
        ([occupant("a", 100)], []),
    ],
    ids=[
        "the one that is enough",
        "the nearest",
        "the smaller of two alike",
        "the worse class",
        "two of a worse class before one of a better",
        "a better class when the worse is not enough",
        "not one as critical",
        "nobody when it would not be enough",
        "nobody when it fits",
    ],
)
def test_as_few_and_as_small_as_possible(occupants: list[Occupant], chosen: list[str]) -> None:
    found = plan_preemption(CRITICAL, {"cpu": 500}, occupants, {"cpu": "1"})
    assert sorted(one.pod["metadata"]["name"] for one in found) == chosen


def test_only_for_critical_pods() -> None:
    assert plan_preemption(pod(priority=5), {"cpu": 500}, [occupant("a", 1000)], {"cpu": "1"}) == []


def test_a_place_among_the_pods_is_a_resource_too() -> None:
    occupants = [occupant("a", 5, qos="Guaranteed"), occupant("b", 0, qos="BestEffort")]
    found = plan_preemption(CRITICAL, {}, occupants, {"pods": "2"})
    assert [one.pod["metadata"]["name"] for one in found] == ["b"]
