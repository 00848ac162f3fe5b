"""Requests and limits as the kernel takes them: of a container, and of a pod's own cgroup.

Pure functions. Mirrors pkg/kubelet/cm/helpers_linux.go, pkg/kubelet/qos/policy.go and the resource part of
kuberuntime_container_linux.go.
"""

from __future__ import annotations

from orchestrator.api.objects import Object
from orchestrator.api.quantity import int_value, milli_value
from orchestrator.kubelet.cgroups.values import CgroupValues
from orchestrator.kubelet.pod import (
    app_containers_of,
    init_containers_of,
    is_critical,
    is_sidecar,
    qos_class_of,
    requests_of,
    spec_of,
)
from orchestrator.kubelet.resources.pod_resources import (
    limits_of,
    pod_limits,
    pod_requests,
    remaining_request_per_container,
)
from orchestrator.kubelet.runtime import Resources

CPU_SHARES_MIN = 2
CPU_SHARES_MAX = 262_144
CPU_PERIOD_MICROSECONDS = 100_000
CPU_QUOTA_MIN_MICROSECONDS = 1_000
OOM_GUARANTEED = -997
OOM_BEST_EFFORT = 1_000
_NODE_CRITICAL_CLASS = "system-node-critical"


def cpu_shares(milli: int) -> int:
    """cgroup v1 shares of a CPU request; the kernel's least is 2."""
    return min(max(CPU_SHARES_MIN, milli * 1024 // 1000), CPU_SHARES_MAX)


def cpu_quota(milli: int) -> int:
    """Microseconds per period of 100 ms for a CPU limit; 0 for none."""
    if milli <= 0:
        return 0
    return max(CPU_QUOTA_MIN_MICROSECONDS, milli * CPU_PERIOD_MICROSECONDS // 1000)


def is_node_critical(pod: Object) -> bool:
    """Whether the node cannot do without the pod (class system-node-critical), which the kernel then spares."""
    if spec_of(pod).get("priorityClassName") != _NODE_CRITICAL_CLASS:
        return False
    return is_critical(pod)


def oom_score_adj(pod: Object, container: Object, node_memory_bytes: int) -> int:
    """How soon the kernel picks this container when the node is out of memory (docs, "Node out of memory behavior")."""
    if is_node_critical(pod):
        return OOM_GUARANTEED
    qos = qos_class_of(pod)
    if qos == "Guaranteed":
        return OOM_GUARANTEED
    if qos == "BestEffort":
        return OOM_BEST_EFFORT
    memory = _memory_request(container) + remaining_request_per_container(pod, "memory")
    if container in init_containers_of(pod) and is_sidecar(container):
        # A sidecar must not be picked before the container that it serves.
        memory = max(memory, min((_memory_request(c) for c in app_containers_of(pod)), default=0))
    adjusted = 1000 - 1000 * memory // max(1, node_memory_bytes)
    return int(min(max(adjusted, 1000 + OOM_GUARANTEED), OOM_BEST_EFFORT - 1))


def _memory_request(container: Object) -> int:
    return int_value(requests_of(container).get("memory") or "0")


def resources_of(pod: Object, container: Object, node_memory_bytes: int) -> Resources:
    """cgroup values of one container; a pod-level limit bounds a container that has none of its own."""
    requests, limits = requests_of(container), limits_of(container)
    pod_level = (spec_of(pod).get("resources") or {}).get("limits") or {}
    cpu_limit = limits.get("cpu") or pod_level.get("cpu")
    memory_limit = limits.get("memory") or pod_level.get("memory")
    return Resources(
        cpu_shares=cpu_shares(milli_value(requests.get("cpu") or "0")),
        cpu_quota_microseconds=cpu_quota(milli_value(cpu_limit)) if cpu_limit else 0,
        cpu_period_microseconds=CPU_PERIOD_MICROSECONDS,
        memory_bytes=int_value(memory_limit) if memory_limit else 0,
        oom_score_adj=oom_score_adj(pod, container, node_memory_bytes),
    )


def pod_cgroup_values(pod: Object) -> CgroupValues:
    """What a pod's own cgroup is set to: its requests, and limits that all of its containers together must keep."""
    if qos_class_of(pod) == "BestEffort":
        return CgroupValues(cpu_shares=CPU_SHARES_MIN)
    limits = pod_limits(pod)
    return CgroupValues(
        cpu_shares=cpu_shares(pod_requests(pod).get("cpu", 0)),
        cpu_quota_microseconds=cpu_quota(limits.get("cpu", 0)),
        memory_bytes=limits.get("memory", 0),
    )
