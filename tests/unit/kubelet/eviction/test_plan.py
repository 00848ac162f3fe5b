"""When a node is under pressure, and which pod has to go."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.component.usage import ContainerUsage, DiskUsage, PodUsage, Usage
from orchestrator.kubelet.eviction.plan import (
    TRANSITION_SECONDS,
    PressureMonitor,
    Signal,
    Threshold,
    parse_thresholds,
    plan_eviction,
    plan_local_storage_eviction,
    refuse_under_pressure,
)
from tests.unit.kubelet.pods import NOW, pod

MIB = 1 << 20
MEMORY = Threshold("memory.available", "100Mi")
DISK = Threshold("nodefs.available", "10%")
LOW = Signal(50 * MIB, 1000 * MIB)


def named(
    name: str, *, memory: str = "", priority: int = 0, limits: dict[str, str] | None = None, **spec: Any
) -> Object:
    obj = pod("c", priority=priority, **spec)
    del obj["status"]
    obj["metadata"] = {**obj["metadata"], "name": name, "uid": name}
    resources: Object = {"requests": {"memory": memory}} if memory else {}
    if limits:
        resources["limits"] = limits
    obj["spec"]["containers"][0]["resources"] = resources
    return obj


def using(name: str, *, memory: int = 0, disk: int = 0, volumes: dict[str, int] | None = None) -> PodUsage:
    usage = Usage(NOW, 10.0, 0, 0, memory)
    container = ContainerUsage("c", NOW, usage, root_fs=DiskUsage(disk))
    kept = tuple((volume, DiskUsage(size)) for volume, size in (volumes or {}).items())
    return PodUsage("ns", name, name, NOW, (container,), usage, volumes=kept)


def test_thresholds_are_amounts_or_shares() -> None:
    memory, disk = parse_thresholds("memory.available<100Mi, nodefs.available<10%")
    assert (memory, disk) == (MEMORY, DISK)
    assert memory.quantity(0).value() == 100 * MIB
    assert disk.quantity(1000).value() == 100


@pytest.mark.parametrize("text", ["memory<1Mi", "memory.available=1Mi", "memory.available<x", "pid.available<101%"])
def test_what_is_no_threshold(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no|neither"):
        parse_thresholds(text)


def test_a_condition_outlives_its_signal() -> None:
    monitor = PressureMonitor([MEMORY])
    assert monitor.observe({"memory.available": LOW}, 0.0) == [MEMORY]
    assert monitor.observe({"memory.available": Signal(500 * MIB, 1000 * MIB)}, 10.0) == []
    assert monitor.conditions(TRANSITION_SECONDS - 1) == {"MemoryPressure"}
    assert monitor.conditions(TRANSITION_SECONDS + 1) == set()


def test_a_threshold_with_grace_waits() -> None:
    soft = Threshold("memory.available", "100Mi", grace_seconds=30)
    monitor = PressureMonitor([soft])
    assert monitor.observe({"memory.available": LOW}, 0.0) == []
    assert monitor.conditions(1.0) == {"MemoryPressure"}
    assert monitor.observe({"memory.available": LOW}, 30.0) == [soft]


def test_memory_comes_first_and_what_is_not_measured_does_not_count() -> None:
    monitor = PressureMonitor([DISK, MEMORY, Threshold("pid.available", "5")])
    signals = {"memory.available": LOW, "nodefs.available": Signal(1, 100)}
    assert monitor.observe(signals, 0.0) == [MEMORY, DISK]


def test_the_order_of_victims() -> None:
    pods = {
        "within": (named("within", memory="500Mi"), using("within", memory=400 * MIB)),
        "precious": (named("precious", priority=10), using("precious", memory=300 * MIB)),
        "small": (named("small"), using("small", memory=10 * MIB)),
        "large": (named("large", memory="10Mi"), using("large", memory=100 * MIB)),
    }
    order = []
    while pods:
        victim = plan_eviction(MEMORY, LOW, [p for p, _ in pods.values()], lambda p: pods[p["metadata"]["name"]][1])
        assert victim is not None
        name = victim.pod["metadata"]["name"]
        order.append(name)
        del pods[name]
    assert order == ["large", "small", "precious", "within"]


def test_what_a_victim_is_told() -> None:
    victim = plan_eviction(MEMORY, LOW, [named("a", memory="1Mi")], lambda p: using("a", memory=2 * MIB))
    assert victim is not None
    assert victim.message == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51200Ki. "
        "Container c was using 2048Ki, request is 1Mi, has larger consumption of memory. "
    )


def test_the_largest_on_the_disk_goes_for_the_disk() -> None:
    usages = {"a": using("a", disk=5), "b": using("b", volumes={"v": 10}), "c": using("c", memory=100 * MIB)}
    victim = plan_eviction(
        DISK, Signal(1, 100), [named(name) for name in usages], lambda p: usages[p["metadata"]["name"]]
    )
    assert victim is not None
    assert victim.pod["metadata"]["name"] == "b"


@pytest.mark.parametrize(
    "critical",
    [
        named("p", priority=2_000_000_000),
        {**named("s"), "metadata": {"name": "s", "annotations": {"kubernetes.io/config.source": "file"}}},
    ],
)
def test_critical_pods_stay(critical: Object) -> None:
    assert plan_eviction(MEMORY, LOW, [critical], lambda p: None) is None
    assert refuse_under_pressure(critical, ["DiskPressure"]) is None


def test_who_may_start_under_pressure() -> None:
    refused = ("Evicted", "The node had condition: [MemoryPressure]. ")
    toleration = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}
    assert refuse_under_pressure(named("a"), []) is None
    assert refuse_under_pressure(named("a"), ["MemoryPressure"]) == refused
    assert refuse_under_pressure(named("a", memory="1Mi"), ["MemoryPressure"]) is None
    assert refuse_under_pressure(named("a", tolerations=[toleration]), ["MemoryPressure"]) is None
    both = refuse_under_pressure(named("a", memory="1Mi"), ["MemoryPressure", "DiskPressure"])
    assert both == ("Evicted", "The node had condition: [DiskPressure MemoryPressure]. ")


@pytest.mark.parametrize(
    ("obj", "usage", "why"),
    [
        (
            named("a", volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]),
            {"volumes": {"v": MIB + 1}},
            "EmptyDir",
        ),
        (named("a", volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]), {"volumes": {"v": MIB}}, ""),
        (named("a", limits={"ephemeral-storage": "1Mi"}), {"disk": MIB + 1}, "Container c exceeded"),
        (
            named("a", limits={"ephemeral-storage": "1Mi"}),
            {"disk": MIB, "volumes": {"v": 1}},
            "total limit of containers 1Mi",
        ),
        (named("a"), {"disk": 100 * MIB}, ""),
    ],
)
def test_limits_of_local_storage(obj: Object, usage: dict[str, Any], why: str) -> None:
    message = plan_local_storage_eviction(obj, using("a", **usage))
    assert why in message
    assert bool(message) == bool(why)
