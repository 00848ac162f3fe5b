"""Cgroups as systemd slices, for Engines whose cgroup driver is systemd: it alone may write there.

Transient units, made and set over systemd's bus with `busctl`: they end with `stop` and leave no file behind.
Blocking. Mirrors libcontainer's managers `systemd/v1` and `systemd/v2`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

from orchestrator.kubelet.cgroups.files import CgroupFiles
from orchestrator.kubelet.cgroups.values import CgroupValues, Place, cpu_weight, slice_of, slice_path

BUS_SECONDS_MAX = 10.0
NO_LIMIT = (1 << 64) - 1
_MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")

Run = Callable[[Sequence[str]], None]
"""Runs a command to its end; OSError with what it said when it failed."""


def run(command: Sequence[str]) -> None:
    """Run a command; OSError when it is not there, takes too long or fails."""
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=BUS_SECONDS_MAX)
    except subprocess.CalledProcessError as error:
        raise OSError(f"{command[0]}: {error.stderr.strip() or error.returncode}") from error
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command[0]}: no answer within {BUS_SECONDS_MAX:g} s") from error


def plan_properties(values: CgroupValues, *, is_v2: bool) -> list[str]:
    """The values as `busctl` takes an array of (name, variant)."""
    cpu_seconds = values.cpu_quota_microseconds * 10 if values.cpu_quota_microseconds else NO_LIMIT
    properties = [
        ("CPUQuotaPerSecUSec", "t", str(cpu_seconds)),
        ("MemoryMax" if is_v2 else "MemoryLimit", "t", str(values.memory_bytes or NO_LIMIT)),
    ]
    if is_v2:
        properties.append(("MemorySwapMax", "t", "0"))
    if values.cpu_shares:
        shares = ("CPUWeight", str(cpu_weight(values.cpu_shares))) if is_v2 else ("CPUShares", str(values.cpu_shares))
        properties.insert(0, (shares[0], "t", shares[1]))
    return [str(len(properties)), *(word for triple in properties for word in triple)]


class SystemdSlices:
    """The same as `CgroupFiles`, through systemd."""

    def __init__(self, *, files: CgroupFiles | None = None, run: Run = run) -> None:
        self._files = files or CgroupFiles()
        self._run = run
        self._set: dict[Place, CgroupValues] = {}
        """What was set here; a word over the bus costs a process, and the classes are made again with each pod."""

    def make(self, place: Place, values: CgroupValues) -> None:
        """Start the slice with its values; one that runs already is set. systemd starts those above it. OSError."""
        if place in self._set and self._files.exists(_as_files(place)):
            if self._set[place] != values:
                self.change(place, values)
            return
        properties = plan_properties(values, is_v2=self._files.is_v2)
        try:
            self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", slice_of(place), "fail", *properties, "0")
        except OSError as error:
            if "already" not in str(error):
                raise
            self.change(place, values)
        self._set[place] = values

    def change(self, place: Place, values: CgroupValues) -> None:
        properties = plan_properties(values, is_v2=self._files.is_v2)
        self._set.pop(place, None)  # unknown, should it fail
        self._call("SetUnitProperties", "sba(sv)", slice_of(place), "true", *properties)
        self._set[place] = values

    def read(self, place: Place) -> CgroupValues:
        return self._files.read(_as_files(place))

    def remove(self, place: Place) -> bool:
        """Stop the slice; False while something runs in it, which stopping it would kill."""
        if self.processes(place):
            return False
        for below in [one for one in self._set if one[: len(place)] == place]:
            del self._set[below]
        try:
            self._call("StopUnit", "ss", slice_of(place), "replace")
        except OSError as error:
            if "not loaded" not in str(error):
                raise
        return True

    def processes(self, place: Place) -> set[int]:
        return self._files.processes(_as_files(place))

    def below(self, place: Place) -> set[str]:
        """The last parts of the names of the slices directly below one, dashes as underscores."""
        prefix = slice_of(place).removesuffix(".slice") + "-"
        names = self._files.below(_as_files(place))
        return {name.removeprefix(prefix).removesuffix(".slice") for name in names if name.startswith(prefix)}

    def _call(self, method: str, signature: str, *arguments: str) -> None:
        self._run(["busctl", "--quiet", "call", *_MANAGER, method, signature, *arguments])


def _as_files(place: Place) -> Place:
    return tuple(slice_path(place)[1:].split("/"))
