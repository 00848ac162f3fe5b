"""Usage of containers, read from their cgroup files by pid; 0.1 ms each where the Engine's API takes a second.

Works with cgroup v1 and v2. Mirrors cadvisor's container stats.
"""

from __future__ import annotations

import errno
from functools import cache
from pathlib import Path

from orchestrator.component.usage import Pressure, Pressures, Stall
from orchestrator.kubelet.cgroups.values import POD_PREFIX
from orchestrator.kubelet.runtime import ContainerStats

PRESSURES = ("cpu", "memory", "io")


def parse_cgroups(text: str) -> dict[str, str]:
    """Controller → path out of `/proc/<pid>/cgroup`; version 2 is under the empty name."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def parse_mounts(text: str) -> dict[str, str]:
    """Controller → mount point out of `/proc/self/mounts`; version 2 is under the empty name."""
    points: dict[str, str] = {}
    for line in text.splitlines():
        _, point, kind, options, *_ = line.split(" ")
        if kind == "cgroup2":
            points.setdefault("", point)
        elif kind == "cgroup":
            for option in options.split(","):
                points.setdefault(option, point)
    return points


def parse_fields(text: str) -> dict[str, int]:
    """`name value` lines, as memory.stat and cpu.stat have them."""
    return {name: int(value) for name, _, value in (line.partition(" ") for line in text.splitlines()) if value}


def read_stats(container_id: str, pid: int, mount_points: dict[str, str], proc: Path = Path("/proc")) -> ContainerStats:
    """The usage of the container whose first process is `pid`; OSError when it is gone."""
    cgroups = parse_cgroups((proc / str(pid) / "cgroup").read_text())
    if "cpuacct" in cgroups and "memory" in cgroups:
        cpu = Path(mount_points["cpuacct"] + cgroups["cpuacct"])
        memory = Path(mount_points["memory"] + cgroups["memory"])
        nanoseconds = int((cpu / "cpuacct.usage").read_text())
        usage = int((memory / "memory.usage_in_bytes").read_text())
        prefix, resident = "total_", "total_rss"
        pids = Path(mount_points["pids"] + cgroups["pids"]) if "pids" in cgroups and "pids" in mount_points else None
    else:
        cpu = memory = pids = Path(mount_points[""] + cgroups[""])
        nanoseconds = parse_fields((cpu / "cpu.stat").read_text()).get("usage_usec", 0) * 1000
        usage = int((memory / "memory.current").read_text())
        prefix, resident = "", "anon"
    fields = parse_fields((memory / "memory.stat").read_text())
    return ContainerStats(
        container_id=container_id,
        cpu_nanoseconds_total=nanoseconds,
        memory_working_set_bytes=max(0, usage - fields.get(f"{prefix}inactive_file", 0)),
        memory_rss_bytes=fields.get(resident, 0),
        memory_usage_bytes=usage,
        page_faults=fields.get(f"{prefix}pgfault", 0),
        major_page_faults=fields.get(f"{prefix}pgmajfault", 0),
        processes=_read_number(pids / "pids.current") if pids is not None else 0,
        swap_bytes=_read_number(memory / "memory.swap.current"),
        pressures=read_pressures(cpu),
    )


def parse_pressure(text: str) -> Pressure:
    """The lines `some` and `full` of a pressure file (Linux, Documentation/accounting/psi.rst)."""
    found: dict[str, Stall] = {}
    for line in text.splitlines():
        name, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs)
        found[name] = Stall(
            total_microseconds=int(values["total"]),
            avg10=float(values["avg10"]),
            avg60=float(values["avg60"]),
            avg300=float(values["avg300"]),
        )
    return Pressure(some=found.get("some", Stall()), full=found.get("full", Stall()))


def read_pressures(directory: Path) -> Pressures | None:
    """The pressures of a cgroup of version 2; None where there are none. OSError when it is gone meanwhile."""
    try:
        cpu, memory, io = (parse_pressure((directory / f"{name}.pressure").read_text()) for name in PRESSURES)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):  # cgroup v1; a kernel started with psi=0
            return None
        raise
    return Pressures(cpu=cpu, memory=memory, io=io)


def read_machine_pressures() -> Pressures | None:
    """Those of the whole machine, where containers have some."""
    root = unified_root()
    return read_pressures(root) if root is not None else None


def read_pod_pressures(pid: int, proc: Path = Path("/proc")) -> Pressures | None:
    """Those of the cgroup above a container's, if that is its pod's (without root there is none). OSError."""
    root = unified_root()
    if root is None:
        return None
    above = unified_cgroup(root, pid, proc).parent
    name = above.stem.rpartition("-")[2] if above.suffix == ".slice" else above.name
    return read_pressures(above) if name.startswith(POD_PREFIX) else None


def _read_number(path: Path) -> int:
    """A counter of a controller that need not be switched on; 0 without it."""
    try:
        return int(path.read_text())
    except FileNotFoundError:
        return 0


@cache
def unified_root() -> Path | None:
    """Where cgroup v2 is, on a machine whose controllers are there; None with version 1."""
    points = mount_points()
    return Path(points[""]) if "" in points and "memory" not in points else None


def unified_cgroup(root: Path, pid: int, proc: Path = Path("/proc")) -> Path:
    """The directory of a process' cgroup in version 2, which is at `root`. OSError, KeyError: it has none any more."""
    return root / parse_cgroups((proc / str(pid) / "cgroup").read_text())[""].removeprefix("/")


def mount_points() -> dict[str, str]:
    """Where the machine has its cgroup hierarchies."""
    return parse_mounts(Path("/proc/self/mounts").read_text())
