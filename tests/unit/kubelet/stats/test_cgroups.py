"""Usage out of cgroup files of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.component.usage import Pressure, Stall
from orchestrator.kubelet.stats import cgroups
from orchestrator.kubelet.stats.cgroups import (
    parse_cgroups,
    parse_mounts,
    parse_pressure,
    read_pod_pressures,
    read_pressures,
    read_stats,
)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_version_1(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/7/cgroup": "9:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n",
            "cpu/docker/abc/cpuacct.usage": "123456\n",
            "mem/docker/abc/memory.usage_in_bytes": "1000\n",
            "mem/docker/abc/memory.stat": "cache 5\ntotal_inactive_file 300\ntotal_rss 400\n",
        },
    )
    points = {"cpuacct": f"{tmp_path}/cpu", "memory": f"{tmp_path}/mem"}
    stats = read_stats("c", 7, points, proc=tmp_path / "proc")
    assert (stats.cpu_nanoseconds_total, stats.memory_working_set_bytes, stats.memory_rss_bytes) == (123456, 700, 400)


def test_version_2(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/7/cgroup": "0::/system.slice/docker-abc.scope\n",
            "cg/system.slice/docker-abc.scope/cpu.stat": "usage_usec 12\nuser_usec 3\n",
            "cg/system.slice/docker-abc.scope/memory.current": "100\n",
            "cg/system.slice/docker-abc.scope/memory.stat": "anon 40\ninactive_file 150\n",
        },
    )
    stats = read_stats("c", 7, {"": f"{tmp_path}/cg"}, proc=tmp_path / "proc")
    assert (stats.cpu_nanoseconds_total, stats.memory_working_set_bytes, stats.memory_rss_bytes) == (12000, 0, 40)


PRESSURE = "some avg10=1.50 avg60=0.20 avg300=0.05 total=123\nfull avg10=0.00 avg60=0.10 avg300=0.00 total=45\n"


def test_pressure_stall_information(tmp_path: Path) -> None:
    assert parse_pressure(PRESSURE) == Pressure(some=Stall(123, 1.5, 0.2, 0.05), full=Stall(45, 0.0, 0.1, 0.0))
    assert parse_pressure(PRESSURE.splitlines()[0]).full == Stall()  # of the CPU, with older kernels
    assert read_pressures(tmp_path) is None
    write(tmp_path, dict.fromkeys(("cpu.pressure", "memory.pressure", "io.pressure"), PRESSURE))
    found = read_pressures(tmp_path)
    assert found is not None
    assert found.io.some.total_microseconds == 123


@pytest.mark.parametrize(
    ("parent", "has_pressures"),
    [
        ("a.slice/a-n.slice/a-n-kubepods.slice/a-n-kubepods-pod1.slice", True),
        ("a/n/kubepods/burstable/pod1", True),
        ("system.slice", False),
        ("docker", False),
    ],
)
def test_pressures_of_a_pod_are_those_of_its_cgroup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent: str, has_pressures: bool
) -> None:
    monkeypatch.setattr(cgroups, "unified_root", lambda: tmp_path)
    write(tmp_path / parent, dict.fromkeys(("cpu.pressure", "memory.pressure", "io.pressure"), PRESSURE))
    write(tmp_path, {"proc/7/cgroup": f"0::/{parent}/docker-abc.scope\n"})
    assert (read_pod_pressures(7, proc=tmp_path / "proc") is not None) is has_pressures


def test_a_process_that_is_gone_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_stats("c", 7, {}, proc=tmp_path)


def test_mounts_and_groups() -> None:
    mounts = (
        "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
    )
    points = parse_mounts(mounts + "tmpfs /tmp tmpfs rw 0 0\n")
    assert points["cpuacct"] == points["cpu"] == "/sys/fs/cgroup/cpu,cpuacct"
    assert points[""] == "/sys/fs/cgroup/unified"
    assert parse_cgroups("2:cpu,cpuacct:/a\n0::/b\n") == {"cpu": "/a", "cpuacct": "/a", "": "/b"}
