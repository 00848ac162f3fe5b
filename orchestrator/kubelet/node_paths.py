"""Which directory of this machine a path of a node means.

Nodes share a machine, and each has a kubelet directory of its own. Drivers know it as /var/lib/kubelet: they mount it
from the host, put sockets into it and are told paths in it. So below it, and where drivers describe devices, a path
of node N means N's own directory; every other path means the machine's. Pure, but for the folders made at the start.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from msgspec import Struct

from orchestrator.kubelet.volumes.mounts import mounted_below, share_mount
from orchestrator.logs import get_logger

KUBELET_DIR = PurePosixPath("/var/lib/kubelet")
PLUGINS, PLUGINS_REGISTRY, DEVICE_PLUGINS = "plugins", "plugins_registry", "device-plugins"
POD_RESOURCES, CDI = "pod-resources", "cdi"
_CDI_DIRS = (PurePosixPath("/var/run/cdi"), PurePosixPath("/run/cdi"))


class NodePaths(Struct, frozen=True):
    """The paths of one node."""

    kubelet_dir: Path
    """What the node's pods and drivers see as /var/lib/kubelet."""
    seccomp_dir: Path | None = None
    """The same for its folder `seccomp`, which nodes share."""

    def on_machine(self, path: str) -> Path:
        """Where a path of the node is on this machine."""
        wanted = PurePosixPath(os.path.normpath(path))
        for inside, outside in self._mapped():
            if wanted.is_relative_to(inside):
                return outside / wanted.relative_to(inside)
        return Path(path)

    def on_node(self, path: Path) -> str:
        """What a path of this machine is called on the node; the opposite of `on_machine`."""
        for inside, outside in self._mapped():
            if path.is_relative_to(outside):
                return str(inside / path.relative_to(outside))
        return str(path)

    def _mapped(self) -> tuple[tuple[PurePosixPath, Path], ...]:
        seccomp = () if self.seccomp_dir is None else ((KUBELET_DIR / "seccomp", self.seccomp_dir),)
        return (
            *seccomp,
            *((folder, self.kubelet_dir / CDI) for folder in _CDI_DIRS),
            (KUBELET_DIR, self.kubelet_dir),
        )


def make_kubelet_dir(folder: Path) -> None:
    """The folder of a node with what drivers expect in it, a shared mount where there is the right to. OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (PLUGINS, PLUGINS_REGISTRY, DEVICE_PLUGINS, POD_RESOURCES, CDI):
        (folder / name).mkdir(exist_ok=True, mode=0o750)
    try:
        _share(folder)
    except PermissionError as error:
        get_logger("kubelet").info("kubelet_dir.not_shared", folder=str(folder), error=str(error))


def _share(folder: Path) -> None:
    """Make the mount that the folder is on a shared one, unless it is or something is mounted in it already."""
    real = os.path.realpath(folder)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        is_shared = is_on_shared_mount(stream.read(), real)
    if not is_shared and not mounted_below(Path(real)):
        share_mount(Path(real))


def is_on_shared_mount(mountinfo: str, path: str) -> bool:
    """Whether mounts made below a path propagate, by a `/proc/<pid>/mountinfo` text (proc(5))."""
    best, is_shared = "", False
    for line in mountinfo.splitlines():
        fields, _, _ = line.partition(" - ")
        _, _, _, _, point, _, *tags = fields.split(" ")
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, is_shared = point, any(tag.startswith("shared:") for tag in tags)
    return is_shared
