"""One node and what its pods take of it, kept up to date pod by pod.

Owns the sums that filters and scores read. Never decides anything. Mirrors kube-scheduler's
framework.NodeInfo.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.api.host_ports import HostPort, is_port_taken
from orchestrator.api.objects import Object
from orchestrator.api.quantity import int_value
from orchestrator.scheduler.pod_info import CPU, MEMORY, PODS, Amounts, PodInfo, amounts_of

HOSTNAME_LABEL: Final = "kubernetes.io/hostname"
ZONE_LABEL: Final = "topology.kubernetes.io/zone"


class NodeInfo:
    """A node with its pods; `obj` is None while only pods of it are known."""

    __slots__ = (
        "allocatable",
        "images",
        "labels",
        "name",
        "nonzero_cpu",
        "nonzero_memory",
        "number",
        "obj",
        "pods",
        "pods_max",
        "pods_with_affinity",
        "pods_with_anti_affinity",
        "requested",
        "taints",
        "unschedulable",
        "used_ports",
    )

    def __init__(self, name: str, number: int = 0) -> None:
        self.name = name
        self.number = number
        """Order of arrival; breaks ties for good."""
        self.obj: Object | None = None
        self.labels: Mapping[str, str] = {}
        self.taints: tuple[Mapping[str, Any], ...] = ()
        self.unschedulable = False
        self.allocatable: Amounts = {}
        self.pods_max = 0
        self.images: dict[str, int] = {}
        """Image name to size in bytes."""
        self.pods: dict[str, PodInfo] = {}
        """By uid."""
        self.pods_with_affinity: dict[str, PodInfo] = {}
        """Those that attract or repel others, required or preferred."""
        self.pods_with_anti_affinity: dict[str, PodInfo] = {}
        """Those with a required anti-affinity."""
        self.requested: Amounts = {CPU: 0, MEMORY: 0}
        self.nonzero_cpu = 0
        self.nonzero_memory = 0
        self.used_ports: dict[HostPort, int] = {}

    def __repr__(self) -> str:
        return f"NodeInfo({self.name}, {len(self.pods)} pods)"

    def set_node(self, node: Object | None) -> None:
        """Take over the node object, or forget it while pods remain."""
        self.obj = node
        spec = (node or {}).get("spec") or {}
        status = (node or {}).get("status") or {}
        self.labels = ((node or {}).get("metadata") or {}).get("labels") or {}
        self.taints = tuple(spec.get("taints") or ())
        self.unschedulable = bool(spec.get("unschedulable"))
        self.allocatable = amounts_of(status.get("allocatable") or status.get("capacity"))
        self.pods_max = self.allocatable.get(PODS, 0)
        self.images = {}
        for image in status.get("images") or ():
            for name in image.get("names") or ():
                self.images[name] = int_value(image.get("sizeBytes") or 0)

    def add_pod(self, pod: PodInfo) -> None:
        """Count a pod that runs, or will run, here."""
        self.pods[pod.uid] = pod
        requested = self.requested
        for name, amount in pod.requests.items():
            requested[name] = requested.get(name, 0) + amount
        self.nonzero_cpu += pod.nonzero_cpu
        self.nonzero_memory += pod.nonzero_memory
        for port in pod.ports:
            self.used_ports[port] = self.used_ports.get(port, 0) + 1
        affinity = pod.spec.get("affinity")
        if affinity:
            anti = affinity.get("podAntiAffinity")
            if anti or affinity.get("podAffinity"):
                self.pods_with_affinity[pod.uid] = pod
                if anti and anti.get("requiredDuringSchedulingIgnoredDuringExecution"):
                    self.pods_with_anti_affinity[pod.uid] = pod

    def remove_pod(self, uid: str) -> PodInfo | None:
        """Stop counting a pod; returns it as it was counted, None when it was not here."""
        pod = self.pods.pop(uid, None)
        if pod is None:
            return None
        requested = self.requested
        for name, amount in pod.requests.items():
            requested[name] -= amount
        self.nonzero_cpu -= pod.nonzero_cpu
        self.nonzero_memory -= pod.nonzero_memory
        for port in pod.ports:
            left = self.used_ports[port] - 1
            if left:
                self.used_ports[port] = left
            else:
                del self.used_ports[port]
        self.pods_with_affinity.pop(uid, None)
        self.pods_with_anti_affinity.pop(uid, None)
        return pod

    def copy(self) -> NodeInfo:
        """An independent copy to try changes on (preemption)."""
        other = NodeInfo(self.name, self.number)
        other.obj, other.labels, other.taints = self.obj, self.labels, self.taints
        other.unschedulable, other.allocatable, other.pods_max = self.unschedulable, self.allocatable, self.pods_max
        other.images = self.images
        other.pods = dict(self.pods)
        other.pods_with_affinity = dict(self.pods_with_affinity)
        other.pods_with_anti_affinity = dict(self.pods_with_anti_affinity)
        other.requested = dict(self.requested)
        other.nonzero_cpu, other.nonzero_memory = self.nonzero_cpu, self.nonzero_memory
        other.used_ports = dict(self.used_ports)
        return other

    def has_port_conflict(self, wanted: HostPort) -> bool:
        """Whether one of the pods has the host port."""
        return is_port_taken(wanted, self.used_ports)
