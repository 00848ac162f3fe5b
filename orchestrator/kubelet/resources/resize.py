"""In-place resize: which resources a pod has been given, and what becomes of a wish for others.

Pure functions. A pod keeps what was *allocated* to it until a wish fits the node; what a container
really has (*actual*) follows the allocation. Mirrors pkg/kubelet/allocation (KEP-1287).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from msgspec import Struct

from orchestrator.api.objects import Object
from orchestrator.kubelet.pod import (
    app_containers_of,
    init_containers_of,
    priority_of,
    qos_class_of,
    spec_of,
    status_of,
)
from orchestrator.kubelet.resources.pod_resources import amount_of, pod_requests
from orchestrator.kubelet.runtime import Container

Allocation = Mapping[str, Object]
"""Container name → its `resources`; those of the pod itself are under `POD` (KEP-5419)."""
POD = ""

PENDING = "PodResizePending"
IN_PROGRESS = "PodResizeInProgress"
CONDITIONS = (PENDING, IN_PROGRESS)


class Pending(Struct, frozen=True):
    """Why a resize is not allocated: `Infeasible` (never on this node) or `Deferred` (not now)."""

    reason: str
    message: str


def wished(pod: Object) -> dict[str, Object]:
    """What the pod's spec asks for, by container."""
    wishes = {c["name"]: c.get("resources") or {} for c in (*init_containers_of(pod), *app_containers_of(pod))}
    if spec_of(pod).get("resources"):
        wishes[POD] = spec_of(pod)["resources"]
    return wishes


def starting_allocation(pod: Object) -> dict[str, Object]:
    """What a pod has when the kubelet first sees it: its spec, or what its status says that it was given."""
    allocation = wished(pod)
    for section in ("initContainerStatuses", "containerStatuses"):
        for entry in status_of(pod).get(section) or ():
            if entry.get("name") in allocation and entry.get("containerID") and entry.get("resources") is not None:
                allocation[entry["name"]] = entry["resources"]
    if POD in allocation and status_of(pod).get("resources") is not None:
        allocation[POD] = status_of(pod)["resources"]
    return allocation


def with_allocation(pod: Object, allocation: Allocation | None) -> Object:
    """The pod as it was allocated; itself when that is what it asks for."""
    if allocation is None or all(allocation.get(name, own) == own for name, own in wished(pod).items()):
        return pod
    spec = dict(spec_of(pod))
    for section in ("initContainers", "containers"):
        if spec.get(section):
            spec[section] = [
                {**c, "resources": allocation[c["name"]]} if c["name"] in allocation else c for c in spec[section]
            ]
    if POD in allocation:
        spec["resources"] = allocation[POD]
    return {**pod, "spec": spec}


def judge_wish(pod: Object, others: Iterable[Mapping[str, int]], allocatable: Mapping[str, str]) -> Pending | None:
    """None when the pod, as its spec asks, fits beside the requests of the `others`."""
    requests = {name: amount for name, amount in pod_requests(pod).items() if name in ("cpu", "memory")}
    for name, amount in requests.items():
        if name not in allocatable:
            continue
        capacity = amount_of(name, allocatable[name])
        if amount > capacity:
            return Pending(
                "Infeasible", f"Node didn't have enough capacity: {name}, requested: {amount}, capacity: {capacity}"
            )
    used: dict[str, int] = {}
    for other in others:
        for name, amount in other.items():
            used[name] = used.get(name, 0) + amount
    for name, amount in requests.items():
        if name not in allocatable:
            continue
        capacity = amount_of(name, allocatable[name])
        if amount + used.get(name, 0) > capacity:
            return Pending(
                "Deferred",
                f"Node didn't have enough resource: {name}, requested: {amount}, used: {used.get(name, 0)}, "
                f"capacity: {capacity}",
            )
    return None


def retry_order(pods: Iterable[Object]) -> list[Object]:
    """Pods whose resize waits, longest first, in the order in which room is given to them.

    By priority, then Guaranteed pods before others, then by the time that they have waited (docs, "Resize Container
    Resources", priority of deferred resizes).
    """
    return sorted(pods, key=lambda pod: (-priority_of(pod), qos_class_of(pod) != "Guaranteed"))


def describe_sizes(pod: Object, error: str = "") -> str:
    """What a pod was allocated, or wishes, as the kubelet writes it into events."""
    shown: dict[str, Any] = {}
    for section in ("initContainers", "containers"):
        sized = [{"name": c["name"], "resources": c.get("resources") or {}} for c in spec_of(pod).get(section) or ()]
        if sized:
            shown[section] = sized
    if spec_of(pod).get("resources"):
        shown["podLevelResources"] = spec_of(pod)["resources"]
    shown["generation"] = pod["metadata"].get("generation", 1)
    if error:
        shown["error"] = error
    return orjson.dumps(shown).decode()


def actual_resources(pod: Object, container: Container, applied: Mapping[str, Object]) -> Object | None:
    """What a running container has: as we set it, else as the API shows it; None when nobody knows."""
    known = applied.get(container.id)
    if known is not None:
        return known
    for section in ("initContainerStatuses", "containerStatuses"):
        for entry in status_of(pod).get(section) or ():
            if entry.get("name") == container.name and str(entry.get("containerID") or "").endswith(container.id):
                shown: Object | None = entry.get("resources")
                return shown
    return None


def inherited_limits(container: Object, pod_resources: Object | None) -> dict[str, Any]:
    """The limits of its pod that bound a container because it has none of its own."""
    own = (container.get("resources") or {}).get("limits") or {}
    of_pod = (pod_resources or {}).get("limits") or {}
    return {name: of_pod[name] for name in ("cpu", "memory") if of_pod.get(name) and not own.get(name)}


def bounded(resources: Object, inherited: Mapping[str, Any]) -> Object:
    """A container's resources with the limits of its pod where it has none."""
    return {**resources, "limits": {**inherited, **(resources.get("limits") or {})}} if inherited else resources


def needs_restart(container: Object, actual: Object, wanted: Object) -> bool:
    """Whether the container's `resizePolicy` asks for a restart when these resources change."""
    policies = {entry.get("resourceName"): entry.get("restartPolicy") for entry in container.get("resizePolicy") or ()}
    return any(
        policies.get(name) == "RestartContainer" and _amounts(actual, name) != _amounts(wanted, name)
        for name in ("cpu", "memory")
    )


def _amounts(resources: Mapping[str, Any], name: str) -> tuple[Any, Any]:
    return (resources.get("requests") or {}).get(name), (resources.get("limits") or {}).get(name)
