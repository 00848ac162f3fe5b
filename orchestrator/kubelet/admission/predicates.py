"""What a kubelet refuses although the pod is bound to it: too much for the node, taken host ports.

Pure functions. The scheduler has the same rules; pods that name their node themselves, and races,
pass it by. Mirrors pkg/kubelet/lifecycle/predicate.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.api.host_ports import host_ports, is_port_taken
from orchestrator.api.node_selection import matches_required_affinity
from orchestrator.api.objects import Object
from orchestrator.api.quantity import int_value
from orchestrator.kubelet.pod import all_containers_of, spec_of
from orchestrator.kubelet.resources.pod_resources import Amounts, add_amounts, amount_of


def refuse_pod(
    requests: Mapping[str, int], others: Iterable[Mapping[str, int]], pods: int, allocatable: Mapping[str, str]
) -> tuple[str, str] | None:
    """(reason, message) when a pod does not fit beside the `others` (`pods` of them); None when it does."""
    limit = int_value(allocatable.get("pods") or "110")
    if pods + 1 > limit:
        return "OutOfpods", _message("pods", 1, pods, limit)
    if not requests:
        return None
    used: Amounts = {}
    for other in others:
        add_amounts(used, other)
    for name, amount in requests.items():
        if amount == 0 or name not in allocatable:
            continue
        capacity = amount_of(name, allocatable[name])
        if used.get(name, 0) + amount > capacity:
            return f"OutOf{name}", _message(name, amount, used.get(name, 0), capacity)
    return None


def refuse_placement(pod: Object, node: Object) -> tuple[str, str] | None:
    """(reason, message) when the pod's nodeSelector or required node affinity do not allow the node."""
    metadata = node["metadata"]
    if matches_required_affinity(spec_of(pod), metadata.get("labels") or {}, metadata["name"]):
        return None
    why = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
    return "NodeAffinity", f"Pod was rejected: {why}"


def refuse_host_ports(pod: Object, others: Iterable[Object]) -> tuple[str, str] | None:
    """(reason, message) when one of the `others` has a host port that the pod wants."""
    wanted = host_ports(spec_of(pod))
    if not wanted:
        return None
    used = [port for other in others for port in host_ports(spec_of(other))]
    if not any(is_port_taken(port, used) for port in wanted):
        return None
    why = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    return "NodePorts", f"Pod was rejected: {why}"


def refuse_system(pod: Object) -> tuple[str, str] | None:
    """(reason, message) when the pod says that it is made for another operating system (KEP-2802)."""
    if (spec_of(pod).get("os") or {}).get("name", "linux") == "linux":
        return None
    return "PodOSNotSupported", "Pod was rejected: Failed to admit pod as the OS field doesn't match node OS"


def refuse_apparmor(pod: Object, *, is_enabled: bool) -> tuple[str, str] | None:
    """(reason, message) when the pod asks for an AppArmor profile where there is no AppArmor."""
    contexts = [spec_of(pod).get("securityContext"), *(c.get("securityContext") for _, c in all_containers_of(pod))]
    profiles = [context["appArmorProfile"] for context in contexts if context and context.get("appArmorProfile")]
    if is_enabled or all(profile.get("type") == "Unconfined" for profile in profiles):
        return None
    return "AppArmor", "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host"


SAFE_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    )
)
"""Those that every pod may set (docs, "Using sysctls in a Kubernetes Cluster")."""


def refuse_sysctls(pod: Object, allowed: Iterable[str]) -> tuple[str, str] | None:
    """(reason, message) when the pod sets a sysctl that is neither safe nor allowed (`kernel.msg*` is a prefix)."""
    patterns = [*allowed]
    for sysctl in (spec_of(pod).get("securityContext") or {}).get("sysctls") or ():
        name = str(sysctl["name"]).replace("/", ".")
        shared = _shared_namespace(spec_of(pod), name)
        if shared:
            return (
                "SysctlForbidden",
                f'Pod was rejected: forbidden sysctl: "{name}" not allowed with host {shared} enabled',
            )
        if name in SAFE_SYSCTLS or any(
            name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])) for pattern in patterns
        ):
            continue
        return "SysctlForbidden", f'Pod was rejected: forbidden sysctl: "{name}" not allowlisted'
    return None


def _shared_namespace(spec: Object, sysctl: str) -> str:
    """The namespace of the machine, shared by this pod, that the sysctl would change."""
    if spec.get("hostNetwork") and sysctl.startswith("net."):
        return "net"
    is_ipc = sysctl.startswith(("kernel.shm", "kernel.msg", "fs.mqueue.")) or sysctl == "kernel.sem"
    return "ipc" if spec.get("hostIPC") and is_ipc else ""


def _message(name: str, requested: int, used: int, capacity: int) -> str:
    return (
        f"Pod was rejected: Node didn't have enough resource: {name}, "
        f"requested: {requested}, used: {used}, capacity: {capacity}"
    )
