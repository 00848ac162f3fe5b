"""What the operator says about a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct, field

from orchestrator.kubelet.eviction.plan import Threshold
from orchestrator.kubelet.images.garbage_collection import ImageGcPolicy
from orchestrator.kubelet.node.shutdown import ShutdownPeriods
from orchestrator.kubelet.node_paths import NodePaths


class NodeOptions(Struct, frozen=True):
    """What the operator says about a node; the rest comes from the runtime."""

    name: str
    ip: str
    pod_cidr: str = ""
    capacity: Mapping[str, str] = field(default_factory=dict)
    """Overrides of cpu, memory, pods, ephemeral-storage, and any extended resource."""
    reserved: Mapping[str, str] = field(default_factory=dict)
    """What allocatable lacks of the capacity (kube-reserved and system-reserved)."""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()
    kubelet_port: int = 10250
    machine_id: str = ""
    seccomp_root: Path | None = None
    """Where Localhost seccomp profiles lie."""
    allowed_unsafe_sysctls: Sequence[str] = ()
    eviction_thresholds: Sequence[Threshold] = ()
    """When the node is under pressure (evictionHard, evictionSoft)."""
    eviction_pod_grace_seconds: int = 0
    """What a pod has at most to end when a soft threshold asks for it (evictionMaxPodGracePeriod)."""
    shutdown: ShutdownPeriods = ShutdownPeriods()
    """How pods end with the node."""
    image_gc_file: Path | None = None
    """Where the memory of pulled images is; None: images are never collected."""
    image_gc_policy: ImageGcPolicy = field(default_factory=ImageGcPolicy)
    static_pod_folder: Path | None = None
    """Where the manifests of static pods lie (staticPodPath)."""
    paths: NodePaths | None = None
    """What paths of the node mean on this machine; None: it has no kubelet directory, and takes no plugins."""
    log_folder: Path | None = None
    """What the page `/logs/` shows; None: there is no such page."""
