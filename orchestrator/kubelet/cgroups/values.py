"""What a cgroup is set to, and where the cgroups of a node are.

    <cluster>/<node>/kubepods/pod<uid>               Guaranteed pods
    <cluster>/<node>/kubepods/burstable/pod<uid>     Burstable pods
    <cluster>/<node>/kubepods/besteffort/pod<uid>    BestEffort pods

Pure. Mirrors the names of pkg/kubelet/cm: the classes share what Guaranteed pods leave, and each pod is a cgroup
that its containers are below.
"""

from __future__ import annotations

from msgspec import Struct

CPU_PERIOD_MICROSECONDS = 100_000
QOS_PARENTS = {"Guaranteed": (), "Burstable": ("burstable",), "BestEffort": ("besteffort",)}
POD_PREFIX = "pod"

Place = tuple[str, ...]
"""The names from the root of the hierarchy down to a cgroup."""


class CgroupValues(Struct, frozen=True):
    """Limits of one cgroup; 0 means no limit, and no shares: as they are."""

    cpu_shares: int = 0
    """As cgroup v1 counts them: 1024 for a whole CPU."""
    cpu_quota_microseconds: int = 0
    """CPU time in 100 ms."""
    memory_bytes: int = 0

    def at_least(self, other: CgroupValues) -> CgroupValues:
        """The looser of both in each respect."""
        return CgroupValues(
            cpu_shares=max(self.cpu_shares, other.cpu_shares),
            cpu_quota_microseconds=_looser(self.cpu_quota_microseconds, other.cpu_quota_microseconds),
            memory_bytes=_looser(self.memory_bytes, other.memory_bytes),
        )


def _looser(one: int, other: int) -> int:
    return max(one, other) if one and other else 0


def cpu_weight(shares: int) -> int:
    """Shares as cgroup v2 has them: 2…262144 becomes 1…10000 (KEP-2254)."""
    return 1 + (max(shares, 2) - 2) * 9999 // 262_142


def cluster_place(cluster_id: str) -> Place:
    """The cgroup that all of a cluster's are below."""
    return (f"orchestrator_{cluster_id}",)


def node_place(cluster_id: str, node_name: str) -> Place:
    """The cgroup of all pods of a node."""
    return (*cluster_place(cluster_id), node_name, "kubepods")


def pod_place(cluster_id: str, node_name: str, qos_class: str, uid: str) -> Place:
    """The cgroup of one pod."""
    return (*node_place(cluster_id, node_name), *QOS_PARENTS[qos_class], f"{POD_PREFIX}{uid}")


def path_of(place: Place) -> str:
    """The place as a path, which is also what the Engine takes as parent of containers with its driver cgroupfs."""
    return "/" + "/".join(place)


def slice_of(place: Place) -> str:
    """The place as the name of a systemd slice: dashes lead from a slice to those below it, so names have none."""
    return "-".join(name.replace("-", "_") for name in place) + ".slice"


def slice_path(place: Place) -> str:
    """Where systemd has the slice of a place: in the slices above it."""
    return "/" + "/".join(slice_of(place[: depth + 1]) for depth in range(len(place)))
