"""What the scheduler needs to know of a pod, worked out once: requests, ports, terms, priority.

Owns the arithmetic of pod requests. Never looks at nodes. Mirrors kube-scheduler's framework.PodInfo
and k8s.io/component-helpers/resource.PodRequests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from orchestrator.api.host_ports import host_ports
from orchestrator.api.objects import Object
from orchestrator.api.quantity import int_value, milli_value

DEFAULT_SCHEDULER_NAME: Final = "default-scheduler"

DEFAULT_CPU_MILLI: Final = 100
DEFAULT_MEMORY_BYTES: Final = 200 * 1024 * 1024
"""What scoring assumes of a container that requests nothing, so that such pods spread too."""

CPU: Final = "cpu"
MEMORY: Final = "memory"
EPHEMERAL_STORAGE: Final = "ephemeral-storage"
PODS: Final = "pods"

Amounts = dict[str, int]
"""Resource name to amount: CPU in thousandths of a core, everything else in whole units or bytes."""


class ClaimReference(NamedTuple):
    """A PersistentVolumeClaim in the pod's namespace that one of its volumes is."""

    name: str
    is_ephemeral: bool = False
    """Made for this pod by the ephemeral volume controller."""


class PodInfo:
    """A pod as the scheduler sees it; compared and found by uid, immutable."""

    __slots__ = (
        "claims",
        "created",
        "fragments",
        "is_terminating",
        "key",
        "labels",
        "name",
        "namespace",
        "node_name",
        "nominated_node_name",
        "nonzero_cpu",
        "nonzero_memory",
        "obj",
        "ports",
        "priority",
        "requests",
        "spec",
        "uid",
    )

    def __init__(self, pod: Object) -> None:
        metadata = pod["metadata"]
        spec = pod.get("spec") or {}
        self.obj = pod
        self.spec: dict[str, Any] = spec
        self.namespace: str = metadata.get("namespace") or ""
        self.name: str = metadata.get("name") or ""
        self.key = f"{self.namespace}/{self.name}"
        self.uid: str = metadata.get("uid") or self.key
        self.labels: Mapping[str, str] = metadata.get("labels") or {}
        self.created: str = metadata.get("creationTimestamp") or ""
        self.is_terminating = bool(metadata.get("deletionTimestamp"))
        self.node_name: str = spec.get("nodeName") or ""
        self.nominated_node_name: str = (pod.get("status") or {}).get("nominatedNodeName") or ""
        self.priority: int = spec.get("priority") or 0
        self.requests = pod_requests(pod)
        self.nonzero_cpu, self.nonzero_memory = _nonzero_requests(spec, self.requests)
        self.ports = host_ports(spec)
        self.claims = claim_references(self.name, spec) if spec.get("volumes") else ()
        """The PersistentVolumeClaims that its volumes name."""
        self.fragments: dict[str, Any] = {}
        """What plugins derived from this pod alone, by plugin name; made on first use."""

    def __repr__(self) -> str:
        return f"PodInfo({self.key})"

    @property
    def scheduler_name(self) -> str:
        """`spec.schedulerName`: which profile places this pod."""
        return self.spec.get("schedulerName") or DEFAULT_SCHEDULER_NAME

    @property
    def is_gated(self) -> bool:
        """Whether scheduling gates hold the pod back (KEP-3521)."""
        return bool(self.spec.get("schedulingGates"))

    @property
    def is_finished(self) -> bool:
        """Whether the pod ended and no longer uses its node's resources."""
        return (self.obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")

    @property
    def preempts(self) -> bool:
        """Whether the pod may evict others: `preemptionPolicy` is not Never."""
        return bool(self.spec.get("preemptionPolicy") != "Never")

    @property
    def affinity(self) -> Mapping[str, Any]:
        """`spec.affinity`, never None."""
        found: Mapping[str, Any] = self.spec.get("affinity") or {}
        return found


def amounts_of(resources: Mapping[str, Any] | None) -> Amounts:
    """A ResourceList as whole numbers; raises ValueError on a malformed quantity."""
    if not resources:
        return {}
    return {name: milli_value(text) if name == CPU else int_value(text) for name, text in resources.items()}


def add_amounts(total: Amounts, more: Mapping[str, int]) -> None:
    """Add to `total` in place."""
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def raise_amounts(total: Amounts, other: Mapping[str, int]) -> None:
    """Raise `total` in place to the larger of both, resource by resource."""
    for name, amount in other.items():
        if amount > total.get(name, 0):
            total[name] = amount


def is_sidecar(container: Mapping[str, Any]) -> bool:
    """Whether an init container keeps running beside the pod's containers (KEP-753)."""
    return container.get("restartPolicy") == "Always"


def _container_requests(container: Mapping[str, Any], status: Mapping[str, Any] | None) -> Amounts:
    requests = amounts_of((container.get("resources") or {}).get("requests"))
    if status is None:
        return requests
    # In-place resize (KEP-1287): what is allocated or still in use counts until the resize is done.
    for resources in ((status.get("resources") or {}).get("requests"), status.get("allocatedResources")):
        if resources:
            raise_amounts(requests, amounts_of(resources))
    return requests


def pod_requests(pod: Object) -> Amounts:
    """What a pod takes of its node: the larger of its containers' sum and its init phase, plus overhead.

    Sidecars count in both phases (KEP-753); pod-level requests replace the sum for the resources
    they name (KEP-2837).
    """
    spec = pod.get("spec") or {}
    status = pod.get("status") or {}
    statuses: dict[str, Mapping[str, Any]] = {}
    if spec.get("nodeName"):  # only a bound pod can have been resized
        for entry in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
            statuses[entry.get("name", "")] = entry
    total: Amounts = {}
    for container in spec.get("containers") or ():
        add_amounts(total, _container_requests(container, statuses.get(container.get("name", ""))))
    init_containers = spec.get("initContainers")
    if init_containers:
        sidecars: Amounts = {}
        peak: Amounts = {}
        for container in init_containers:
            requests = _container_requests(container, statuses.get(container.get("name", "")))
            if is_sidecar(container):
                add_amounts(total, requests)
                add_amounts(sidecars, requests)
                raise_amounts(peak, sidecars)
            else:
                add_amounts(requests, sidecars)
                raise_amounts(peak, requests)
        raise_amounts(total, peak)
    pod_level = (spec.get("resources") or {}).get("requests")
    if pod_level:
        total.update(amounts_of(pod_level))
    overhead = spec.get("overhead")
    if overhead:
        add_amounts(total, amounts_of(overhead))
    return total


def _nonzero_requests(spec: Mapping[str, Any], requests: Amounts) -> tuple[int, int]:
    """CPU and memory for scoring: a container that requests none of them counts with the default."""
    containers = spec.get("containers") or ()
    init_containers = spec.get("initContainers") or ()
    pod_level = (spec.get("resources") or {}).get("requests") or {}
    overhead = amounts_of(spec.get("overhead"))
    found: list[int] = []
    for name, default in ((CPU, DEFAULT_CPU_MILLI), (MEMORY, DEFAULT_MEMORY_BYTES)):
        if name in pod_level or all(_names(c, name) for c in (*containers, *init_containers)):
            found.append(requests.get(name, 0))
            continue
        total = sum(_request_or(c, name, default) for c in containers)
        sidecars = peak = 0
        for container in init_containers:
            amount = _request_or(container, name, default)
            if is_sidecar(container):
                total += amount
                sidecars += amount
                peak = max(peak, sidecars)
            else:
                peak = max(peak, sidecars + amount)
        found.append(max(total, peak) + overhead.get(name, 0))
    return found[0], found[1]


def _names(container: Mapping[str, Any], resource: str) -> bool:
    return resource in ((container.get("resources") or {}).get("requests") or ())


def _request_or(container: Mapping[str, Any], resource: str, default: int) -> int:
    text = ((container.get("resources") or {}).get("requests") or {}).get(resource)
    if text is None:
        return default
    return milli_value(text) if resource == CPU else int_value(text)


def claim_references(pod_name: str, spec: Mapping[str, Any]) -> tuple[ClaimReference, ...]:
    """The claims behind a pod's volumes, each once."""
    found: dict[ClaimReference, None] = {}
    for volume in spec.get("volumes") or ():
        if source := volume.get("persistentVolumeClaim"):
            found[ClaimReference(source.get("claimName") or "")] = None
        elif volume.get("ephemeral"):
            found[ClaimReference(f"{pod_name}-{volume.get('name')}", is_ephemeral=True)] = None
    return tuple(found)
