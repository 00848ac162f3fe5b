"""Node-pressure eviction: when a node is under pressure, and which pod has to go. Pure, but for the memory of when.

Mirrors pkg/kubelet/eviction (docs, "Node-pressure Eviction"). Measuring and killing are the kubelet's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from orchestrator.api.objects import Object
from orchestrator.api.quantity import Quantity, int_value, parse_quantity
from orchestrator.component.usage import ContainerUsage, PodUsage
from orchestrator.config.durations import parse_duration
from orchestrator.kubelet.pod import is_critical, qos_class_of, requests_of, spec_of
from orchestrator.kubelet.resources.pod_resources import pod_requests

TRANSITION_SECONDS = 300.0
"""How long a condition stays after its signal has recovered (evictionPressureTransitionPeriod)."""
_MEMORY_TAINT = "node.kubernetes.io/memory-pressure"

RESOURCE_OF = {
    "memory.available": "memory",
    "nodefs.available": "ephemeral-storage",
    "nodefs.inodesFree": "inodes",
    "imagefs.available": "ephemeral-storage",
    "imagefs.inodesFree": "inodes",
    "pid.available": "pids",
}
CONDITION_OF = {
    "memory.available": "MemoryPressure",
    "nodefs.available": "DiskPressure",
    "nodefs.inodesFree": "DiskPressure",
    "imagefs.available": "DiskPressure",
    "imagefs.inodesFree": "DiskPressure",
    "pid.available": "PIDPressure",
}


class Threshold(Struct, frozen=True):
    """`memory.available<100Mi`: below this the node is under pressure."""

    signal: str
    text: str
    """A quantity, or a percentage of the capacity."""
    grace_seconds: float = 0.0
    """How long it may be so before pods are evicted; 0 for a hard threshold."""

    def quantity(self, capacity: int) -> Quantity:
        """The least that has to be available."""
        if self.text.endswith("%"):
            return parse_quantity(str(int(capacity * float(self.text[:-1]) / 100)))
        return parse_quantity(self.text)


class Signal(Struct, frozen=True):
    """One measurement, in bytes, inodes or processes."""

    available: int
    capacity: int


def parse_grace_periods(texts: Iterable[str]) -> dict[str, float]:
    """`memory.available=1m30s` by signal, in seconds; ValueError that says what is wrong."""
    periods = {}
    for text in texts:
        signal, found, duration = text.partition("=")
        if not found or signal not in RESOURCE_OF:
            raise ValueError(f"{text!r} is not like memory.available=1m30s; known signals are {', '.join(RESOURCE_OF)}")
        periods[signal] = parse_duration(duration)
        if periods[signal] <= 0:
            raise ValueError(f"{text!r}: a soft threshold has a grace period above 0")
    return periods


def parse_thresholds(text: str, grace: Mapping[str, float] | None = None) -> tuple[Threshold, ...]:
    """`memory.available<100Mi,nodefs.available<5%`; with `grace`, by signal, as soft thresholds. ValueError."""
    thresholds = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        signal, found, amount = part.partition("<")
        if not found or signal not in RESOURCE_OF:
            raise ValueError(f"{part!r} is no eviction threshold; known signals are {', '.join(RESOURCE_OF)}")
        try:
            if not amount.endswith("%"):
                parse_quantity(amount)
            elif not 0 <= float(amount[:-1]) <= 100:
                raise ValueError
        except ValueError:
            raise ValueError(f"{amount!r} is neither a quantity nor a percentage") from None
        if grace is not None and signal not in grace:
            raise ValueError(f"grace period missing for the soft eviction threshold {part!r}")
        thresholds.append(Threshold(signal, amount, 0.0 if grace is None else grace[signal]))
    return tuple(thresholds)


class PressureMonitor:
    """Which thresholds are met, and which conditions follow from that for how long."""

    def __init__(self, thresholds: Sequence[Threshold]) -> None:
        self.thresholds = thresholds
        self._met_at: dict[Threshold, float] = {}
        self._condition_until: dict[str, float] = {}

    def observe(self, signals: Mapping[str, Signal], now: float) -> list[Threshold]:
        """The thresholds for which a pod has to go now, memory first."""
        due = []
        for threshold in self.thresholds:
            signal = signals.get(threshold.signal)
            if signal is None:
                continue
            if signal.available >= threshold.quantity(signal.capacity).value():
                self._met_at.pop(threshold, None)
                continue
            since = self._met_at.setdefault(threshold, now)
            self._condition_until[CONDITION_OF[threshold.signal]] = now + TRANSITION_SECONDS
            if now - since >= threshold.grace_seconds:
                due.append(threshold)
        # Memory first; of one signal the hard threshold, which knows no patience, before the soft one.
        return sorted(due, key=lambda t: (RESOURCE_OF[t.signal] != "memory", t.grace_seconds > 0))

    def conditions(self, now: float) -> frozenset[str]:
        """The pressure conditions that hold."""
        return frozenset(condition for condition, until in self._condition_until.items() if now < until)


class Victim(Struct, frozen=True):
    """A pod that has to go, and what it is told."""

    pod: Object
    message: str
    resource: str
    is_soft: bool = False
    """Whether it has time to end."""


def plan_eviction(
    threshold: Threshold, signal: Signal, pods: Iterable[Object], usage_of: Callable[[Object], PodUsage | None]
) -> Victim | None:
    """The pod to evict: above its request before below it, low before high priority, the largest excess first."""
    resource = RESOURCE_OF[threshold.signal]
    candidates = [(pod, usage_of(pod)) for pod in pods if not is_critical(pod)]
    if not candidates:
        return None

    def rank(candidate: tuple[Object, PodUsage | None]) -> tuple[bool, int, int]:
        pod, usage = candidate
        excess = _used(usage, resource) - pod_requests(pod).get(resource, 0)
        exceeds = excess > 0 if resource in ("memory", "ephemeral-storage") else True
        return not exceeds, int(spec_of(pod).get("priority") or 0), -excess

    pod, usage = min(candidates, key=rank)
    message = (
        f"The node was low on resource: {resource}. Threshold quantity: {threshold.quantity(signal.capacity)}, "
        f"available: {_shown(signal.available, resource)}. "
    )
    if usage is not None and resource in ("memory", "ephemeral-storage"):
        message += "".join(_offences(pod, usage, resource))
    return Victim(pod, message, resource, is_soft=threshold.grace_seconds > 0)


def _offences(pod: Object, usage: PodUsage, resource: str) -> Iterable[str]:
    requests = {container["name"]: requests_of(container) for container in spec_of(pod).get("containers") or ()}
    for container in usage.containers:
        request = requests.get(container.name, {}).get(resource) or "0"
        used = _used_by(container, resource)
        if used > int_value(request):
            yield (
                f"Container {container.name} was using {_shown(used, resource)}, request is {request}, "
                f"has larger consumption of {resource}. "
            )


def _used(usage: PodUsage | None, resource: str) -> int:
    if usage is None:
        return 0
    if resource == "memory":
        return usage.usage.memory_working_set_bytes
    if resource == "pids":
        return usage.processes
    if resource == "inodes":
        return sum(_disk(c, "inodes_used") for c in usage.containers) + sum(d.inodes_used for _, d in usage.volumes)
    return sum(_used_by(c, resource) for c in usage.containers) + sum(d.used_bytes for _, d in usage.volumes)


def _used_by(container: ContainerUsage, resource: str) -> int:
    if resource == "memory":
        return container.usage.memory_working_set_bytes
    return _disk(container, "used_bytes")


def _disk(container: ContainerUsage, field: str) -> int:
    return sum(int(getattr(disk, field)) for disk in (container.root_fs, container.logs) if disk is not None)


def _shown(amount: int, resource: str) -> str:
    return f"{amount // 1024}Ki" if resource in ("memory", "ephemeral-storage") else str(amount)


def refuse_under_pressure(pod: Object, conditions: Iterable[str]) -> tuple[str, str] | None:
    """(reason, message) when a pod may not start on a node under pressure.

    Only memory pressure lets some in: those that have requests, and those that tolerate its taint.
    """
    held = sorted(conditions)
    if not held or is_critical(pod):
        return None
    if held == ["MemoryPressure"] and (qos_class_of(pod) != "BestEffort" or _tolerates(pod, _MEMORY_TAINT)):
        return None
    return "Evicted", f"The node had condition: [{' '.join(held)}]. "


def _tolerates(pod: Object, key: str) -> bool:
    def matches(toleration: Mapping[str, Any]) -> bool:
        if toleration.get("effect") not in (None, "", "NoSchedule"):
            return False
        if toleration.get("operator") == "Exists":
            return toleration.get("key") in (None, "", key)
        return toleration.get("key") == key and not toleration.get("value")

    return any(matches(toleration) for toleration in spec_of(pod).get("tolerations") or ())


def plan_local_storage_eviction(pod: Object, usage: PodUsage) -> str:
    """Why a pod has to go for what it wrote to the node's disk; empty when it keeps to its limits."""
    spec = spec_of(pod)
    disks = dict(usage.volumes)
    for volume in spec.get("volumes") or ():
        source = volume.get("emptyDir") or {}
        limit, disk = source.get("sizeLimit"), disks.get(volume["name"])
        if limit and disk is not None and source.get("medium") != "Memory" and disk.used_bytes > int_value(limit) > 0:
            return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". '
    limits = {
        container["name"]: ((container.get("resources") or {}).get("limits") or {}).get("ephemeral-storage")
        for container in spec.get("containers") or ()
    }
    for container in usage.containers:
        limit = limits.get(container.name)
        if limit and _used_by(container, "ephemeral-storage") > int_value(limit):
            return f'Container {container.name} exceeded its local ephemeral storage limit "{limit}". '
    if limits and all(limits.values()):
        total = sum((parse_quantity(str(limit)) for limit in limits.values()), parse_quantity("0"))
        if _used(usage, "ephemeral-storage") > total.value():
            return f"Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
    return ""


def limits_local_storage(pod: Object) -> bool:
    """Whether what the pod writes has to be measured."""
    spec = spec_of(pod)
    return any((volume.get("emptyDir") or {}).get("sizeLimit") for volume in spec.get("volumes") or ()) or any(
        ((container.get("resources") or {}).get("limits") or {}).get("ephemeral-storage")
        for container in spec.get("containers") or ()
    )
