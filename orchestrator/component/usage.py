"""What a node and its pods use, as a kubelet tells the API server; plain values, no behaviour.

Mirrors the kubelet's `Summary` (k8s.io/kubelet/pkg/apis/stats/v1alpha1), reduced to what is measured.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class Stall(Struct, frozen=True):
    """For how long something stood still: altogether, and its share in percent of the last 10, 60 and 300 seconds."""

    total_microseconds: int = 0
    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0


class Pressure(Struct, frozen=True):
    """Pressure stall information of one resource (KEP-4205)."""

    some: Stall = Stall()
    """While at least one task waited for the resource."""
    full: Stall = Stall()
    """While all tasks waited for it at once."""


class Pressures(Struct, frozen=True):
    """Pressure stall information of a cgroup."""

    cpu: Pressure
    memory: Pressure
    io: Pressure


class Usage(Struct, frozen=True):
    """CPU and memory of a container, a pod or a node."""

    at: datetime
    """When this was measured."""
    window_seconds: float
    """Over how long `cpu_nanocores` is an average."""
    cpu_nanocores: int
    cpu_nanoseconds_total: int
    memory_working_set_bytes: int
    memory_usage_bytes: int = 0
    memory_rss_bytes: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    swap_bytes: int = 0
    pressures: Pressures | None = None
    """None where the kernel does not tell: with cgroup v1, or without PSI."""


class DiskUsage(Struct, frozen=True):
    """Bytes and inodes that something has on a disk, or that a file system has."""

    used_bytes: int
    inodes_used: int = 0
    available_bytes: int = 0
    capacity_bytes: int = 0
    inodes: int = 0
    inodes_free: int = 0


class ClaimUsage(Struct, frozen=True):
    """The file system behind a pod's volume that is a PersistentVolumeClaim."""

    volume: str
    claim: str
    disk: DiskUsage


class InterfaceUsage(Struct, frozen=True):
    """Traffic of one network interface since it was made."""

    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


class ContainerUsage(Struct, frozen=True):
    """One running container."""

    name: str
    started_at: datetime
    usage: Usage
    id: str = ""
    image: str = ""
    processes: int = 0
    root_fs: DiskUsage | None = None
    logs: DiskUsage | None = None


class PodUsage(Struct, frozen=True):
    """A pod with running containers."""

    namespace: str
    name: str
    uid: str
    started_at: datetime
    containers: tuple[ContainerUsage, ...]
    usage: Usage
    interfaces: tuple[InterfaceUsage, ...] = ()
    volumes: tuple[tuple[str, DiskUsage], ...] = ()
    claims: tuple[ClaimUsage, ...] = ()

    @property
    def processes(self) -> int:
        """How many processes its containers have."""
        return sum(container.processes for container in self.containers)


class NodeUsage(Struct, frozen=True):
    """A node with all its pods."""

    name: str
    started_at: datetime
    usage: Usage
    pods: tuple[PodUsage, ...]
    cpu_count: int
    memory_bytes: int
    memory_available_bytes: int
    file_system: DiskUsage | None = None
    processes_max: int = 0
    processes: int = 0
    interfaces: tuple[InterfaceUsage, ...] = ()


def total(usages: list[Usage], *, at: datetime) -> Usage:
    """What several containers use together; of nothing for none. Pressures do not add up."""
    return Usage(
        at=at,
        window_seconds=max((usage.window_seconds for usage in usages), default=0.0),
        cpu_nanocores=sum(usage.cpu_nanocores for usage in usages),
        cpu_nanoseconds_total=sum(usage.cpu_nanoseconds_total for usage in usages),
        memory_working_set_bytes=sum(usage.memory_working_set_bytes for usage in usages),
        memory_usage_bytes=sum(usage.memory_usage_bytes for usage in usages),
        memory_rss_bytes=sum(usage.memory_rss_bytes for usage in usages),
        page_faults=sum(usage.page_faults for usage in usages),
        major_page_faults=sum(usage.major_page_faults for usage in usages),
        swap_bytes=sum(usage.swap_bytes for usage in usages),
    )
