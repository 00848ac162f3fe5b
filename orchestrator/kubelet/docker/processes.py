"""What the processes of containers tell without asking the Engine: rights, use of CPU, memory and disk.

Blocks: call it in a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.component.usage import DiskUsage
from orchestrator.kubelet.docker.image_layers import overlay_of
from orchestrator.kubelet.docker.translate import EngineLimits, missing_capabilities
from orchestrator.kubelet.runtime import ContainerStats
from orchestrator.kubelet.stats import cgroups
from orchestrator.kubelet.stats.disk import tree_usage


def measure_disks(places: Sequence[tuple[str, str, int, str]]) -> dict[str, tuple[DiskUsage, DiskUsage]]:
    """(id, upper directory, pid, log file) of containers → what is there; rotated logs count too."""
    found = {}
    for container_id, known_upper, pid, log in places:
        upper = known_upper or _upper_dir_of(pid)
        root = tree_usage(Path(upper)) if upper else DiskUsage(0)
        try:
            logs = [*Path(log).parent.glob(f"{Path(log).name}*")] if log else []
        except PermissionError:
            logs = []  # only root sees the Engine's folder
        found[container_id] = (root, tree_usage(*logs))
    return found


def _upper_dir_of(pid: int) -> str:
    """Where what a process writes to its root goes: an Engine with containerd's image store does not tell."""
    try:
        overlay = overlay_of(pid, "/")
    except OSError:
        return ""  # it has ended
    return overlay.upper if overlay is not None else ""


def is_process_of(pid: int, container_id: str) -> bool:
    """Whether this process of this machine belongs to the container."""
    try:
        return container_id in Path(f"/proc/{pid}/cgroup").read_text()
    except FileNotFoundError:
        return False


def shim_limits(pid: int) -> EngineLimits | None:
    """What the parent of a container's first process may not; None when the process is gone."""
    try:
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        missing = missing_capabilities(
            Path(f"/proc/{parent}/status").read_text(), int(Path("/proc/sys/kernel/cap_last_cap").read_text())
        )
        # Without CAP_SYS_RESOURCE a process cannot be protected better than the one that starts it.
        floor = int(Path(f"/proc/{parent}/oom_score_adj").read_text()) if "SYS_RESOURCE" in missing else -1000
    except (FileNotFoundError, ProcessLookupError):
        return None
    return EngineLimits(missing_capabilities=missing, oom_score_adj_min=floor)


def end_together(root: Path, pid: int) -> None:
    """Let the processes of a container end together when its memory runs out, as the kubelet does by default.

    That is `singleProcessOOMKill: false`, which needs cgroup v2 (at `root`): with version 1 only one process is killed.
    The Engine has no setting for it. Nothing is done for a container that has ended, or without the rights to.
    """
    with suppress(OSError, KeyError):
        (cgroups.unified_cgroup(root, pid) / "memory.oom.group").write_text("1")


def read_all_stats(pids: Sequence[tuple[str, int]]) -> list[ContainerStats]:
    """What the cgroups of running containers, (id, pid) each, tell; those that have ended are left out."""
    points = cgroups.mount_points()
    found = []
    for container_id, pid in pids:
        try:
            found.append(cgroups.read_stats(container_id, pid, points))
        except (OSError, KeyError):
            continue  # it ended between the list and the look
    return found
