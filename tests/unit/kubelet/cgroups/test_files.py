"""Cgroups as directories; those of the kernel come with their files, here they are made beforehand."""

from __future__ import annotations

from pathlib import Path

from orchestrator.kubelet.cgroups.files import CgroupFiles
from orchestrator.kubelet.cgroups.values import CgroupValues

PLACE = ("cluster", "pod1")
BOUNDED = CgroupValues(cpu_shares=512, cpu_quota_microseconds=50_000, memory_bytes=1 << 20)


def prepare(root: Path, files: dict[str, str]) -> None:
    for directory in (root, root / "cluster", root / "cluster/pod1"):
        directory.mkdir(exist_ok=True, parents=True)
        for name, text in files.items():
            (directory / name).write_text(text)


def version_2(tmp_path: Path) -> CgroupFiles:
    names = {"cgroup.controllers": "cpu memory\n", "cgroup.subtree_control": "", "cgroup.procs": ""}
    prepare(tmp_path, names | dict.fromkeys(("cpu.weight", "cpu.max", "memory.max", "memory.swap.max"), ""))
    return CgroupFiles({"": str(tmp_path)})


def test_version_2(tmp_path: Path) -> None:
    files = version_2(tmp_path)
    assert files.is_v2
    files.make(PLACE, BOUNDED)
    pod = tmp_path / "cluster/pod1"
    assert (pod / "cpu.weight").read_text() == "20"
    assert (pod / "cpu.max").read_text() == "50000 100000"
    assert (pod / "memory.max").read_text() == "1048576"
    assert (pod / "memory.swap.max").read_text() == "0"
    assert (tmp_path / "cluster/cgroup.subtree_control").read_text() == "+memory"  # written one after the other
    assert files.read(PLACE) == CgroupValues(cpu_quota_microseconds=50_000, memory_bytes=1 << 20)


def test_version_2_without_limits(tmp_path: Path) -> None:
    files = version_2(tmp_path)
    prepare(tmp_path, {"cpu.max": "", "memory.max": ""})
    files.change(PLACE, CgroupValues(cpu_shares=2))
    assert (tmp_path / "cluster/pod1/cpu.max").read_text() == "max 100000"
    assert files.read(PLACE) == CgroupValues()


def test_version_1(tmp_path: Path) -> None:
    for controller, names in {
        "cpu": ("cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us", "cgroup.procs"),
        "memory": ("memory.limit_in_bytes", "cgroup.procs"),
    }.items():
        prepare(tmp_path / controller, dict.fromkeys(names, ""))
    files = CgroupFiles({"cpu": str(tmp_path / "cpu"), "memory": str(tmp_path / "memory"), "": str(tmp_path / "none")})
    assert not files.is_v2
    files.make(PLACE, BOUNDED)
    assert files.read(PLACE) == BOUNDED
    assert (tmp_path / "cpu/cluster/pod1/cpu.cfs_period_us").read_text() == "100000"


def test_what_is_below_and_what_runs_there(tmp_path: Path) -> None:
    files = version_2(tmp_path)
    assert files.below(("cluster",)) == {"pod1"}
    assert files.below(("other",)) == set()
    assert files.processes(("cluster",)) == set()
    (tmp_path / "cluster/pod1/cgroup.procs").write_text("42\n0\n43\n")
    assert files.processes(("cluster",)) == {42, 43}  # 0 is a process that cannot be seen from here
    assert files.processes(("other",)) == set()
