"""Cgroups as directories: made, set and removed through the file system, version 1 and 2.

Blocking, but all of it is memory: a pod costs some ten system calls. The runtime adds the cgroups of containers below.
Mirrors pkg/kubelet/cm/cgroup_manager_linux.go and libcontainer's managers `fs` and `fs2`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from orchestrator.kubelet.cgroups.values import CPU_PERIOD_MICROSECONDS, CgroupValues, Place, cpu_weight, path_of
from orchestrator.kubelet.stats.cgroups import mount_points

NO_LIMIT_V1 = 1 << 62
"""Version 1 shows no limit as the largest multiple of a page."""
V2_CONTROLLERS = ("cpu", "memory", "pids", "cpuset", "io")


class CgroupFiles:
    """The hierarchies of this machine: one for each controller (version 1) or a single one (version 2)."""

    def __init__(self, points: Mapping[str, str] | None = None) -> None:
        """`points`: mount point by controller, version 2 under the empty name; by default those of the machine."""
        points = mount_points() if points is None else points
        self.is_v2 = "memory" not in points
        """Whether the controllers are in the one hierarchy; beside those of version 1 it may be there, without any."""
        self._points = {name: Path(point) for name, point in points.items()}
        self._roots = sorted({*self._points.values()})

    def make(self, place: Place, values: CgroupValues) -> None:
        """Make a cgroup with those above it, and set it; what is there already is set only. OSError."""
        if self.is_v2:
            self._make_v2(place)
        else:
            for controller in ("cpu", "memory"):
                self._at(controller, place).mkdir(parents=True, exist_ok=True)
        self.change(place, values)

    def _make_v2(self, place: Place) -> None:
        root = self._points[""]
        directory = root
        for name in place:
            _enable_controllers(directory)
            directory = directory / name
            directory.mkdir(exist_ok=True)
        _enable_controllers(directory)

    def change(self, place: Place, values: CgroupValues) -> None:
        """Set an existing cgroup. OSError, with EBUSY when more memory is in use than it may have.

        Pods never swap, as with the kubelet's `swapBehavior: NoSwap`; version 1 has no limit for that alone.
        """
        if self.is_v2:
            directory = self._at("", place)
            if values.cpu_shares:
                _write(directory / "cpu.weight", str(cpu_weight(values.cpu_shares)))
            quota = values.cpu_quota_microseconds or "max"
            _write(directory / "cpu.max", f"{quota} {CPU_PERIOD_MICROSECONDS}")
            _write(directory / "memory.max", str(values.memory_bytes or "max"))
            with suppress(FileNotFoundError):  # a kernel without swap
                _write(directory / "memory.swap.max", "0")
            return
        cpu = self._at("cpu", place)
        if values.cpu_shares:
            _write(cpu / "cpu.shares", str(values.cpu_shares))
        _write(cpu / "cpu.cfs_period_us", str(CPU_PERIOD_MICROSECONDS))
        _write(cpu / "cpu.cfs_quota_us", str(values.cpu_quota_microseconds or -1))
        _write(self._at("memory", place) / "memory.limit_in_bytes", str(values.memory_bytes or -1))

    def read(self, place: Place) -> CgroupValues:
        """What a cgroup is set to (shares only with version 1). OSError."""
        if self.is_v2:
            directory = self._at("", place)
            quota, _ = (directory / "cpu.max").read_text().split()
            memory = (directory / "memory.max").read_text().strip()
            return CgroupValues(
                cpu_quota_microseconds=0 if quota == "max" else int(quota),
                memory_bytes=0 if memory == "max" else int(memory),
            )
        cpu = self._at("cpu", place)
        memory_bytes = int((self._at("memory", place) / "memory.limit_in_bytes").read_text())
        return CgroupValues(
            cpu_shares=int((cpu / "cpu.shares").read_text()),
            cpu_quota_microseconds=max(0, int((cpu / "cpu.cfs_quota_us").read_text())),
            memory_bytes=0 if memory_bytes >= NO_LIMIT_V1 else memory_bytes,
        )

    def exists(self, place: Place) -> bool:
        """Whether there is such a cgroup."""
        return self._at("" if self.is_v2 else "memory", place).is_dir()

    def remove(self, place: Place) -> bool:
        """Remove an empty cgroup with what is below it, everywhere; False when something still runs in it. OSError."""
        is_gone = True
        for root in self._roots:
            is_gone = _remove_tree(root / path_of(place)[1:]) and is_gone
        return is_gone

    def below(self, place: Place) -> set[str]:
        """The names of the cgroups directly below one."""
        names: set[str] = set()
        for root in self._roots:
            with suppress(FileNotFoundError), os.scandir(root / path_of(place)[1:]) as entries:
                names.update(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        return names

    def processes(self, place: Place) -> set[int]:
        """The ids of what runs in a cgroup or below it, as this process sees them."""
        directory = self._at("" if self.is_v2 else "memory", place)
        found: set[int] = set()
        for file in directory.rglob("cgroup.procs") if directory.is_dir() else ():
            with suppress(OSError):  # the cgroup has just been removed
                found.update(int(line) for line in file.read_text().split())
        return found - {0}

    def _at(self, controller: str, place: Place) -> Path:
        return self._points[controller] / path_of(place)[1:]


def _enable_controllers(directory: Path) -> None:
    """Let the cgroups below this one have the controllers that it has itself."""
    available = set((directory / "cgroup.controllers").read_text().split())
    enabled = set((directory / "cgroup.subtree_control").read_text().split())
    for name in V2_CONTROLLERS:
        if name in available and name not in enabled:
            _write(directory / "cgroup.subtree_control", f"+{name}")


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _remove_tree(directory: Path) -> bool:
    """Remove a cgroup, those below it first; files in it go with it."""
    try:
        with os.scandir(directory) as entries:
            below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return True
    still_used = [name for name in below if not _remove_tree(directory / name)]
    if still_used:
        return False
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
