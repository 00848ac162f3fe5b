"""Cgroups as systemd slices: what is said over the bus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.kubelet.cgroups.files import CgroupFiles
from orchestrator.kubelet.cgroups.slices import SystemdSlices
from orchestrator.kubelet.cgroups.values import CgroupValues

PLACE = ("cluster", "node-1", "pod1")


class Bus:
    """Remembers methods with their arguments; `answers` are errors for the next calls."""

    def __init__(self, *answers: str) -> None:
        self.calls: list[list[str]] = []
        self.answers = [*answers]

    def __call__(self, command: Sequence[str]) -> None:
        self.calls.append([*command[6:]])
        if self.answers and (answer := self.answers.pop(0)):
            raise OSError(answer)


def slices(bus: Bus, root: Path) -> SystemdSlices:
    return SystemdSlices(files=CgroupFiles({"": str(root)}), run=bus)


def test_a_slice_is_started_with_its_values(tmp_path: Path) -> None:
    bus = Bus()
    slices(bus, tmp_path).make(PLACE, CgroupValues(1024, 50_000, 1 << 20))
    assert bus.calls == [
        [
            *("StartTransientUnit", "ssa(sv)a(sa(sv))", "cluster-node_1-pod1.slice", "fail", "4"),
            *("CPUWeight", "t", "39", "CPUQuotaPerSecUSec", "t", "500000", "MemoryMax", "t", "1048576"),
            *("MemorySwapMax", "t", "0", "0"),
        ]
    ]


def test_one_that_runs_is_set(tmp_path: Path) -> None:
    bus = Bus("Unit cluster-node_1-pod1.slice was already loaded or has a fragment file.")
    slices(bus, tmp_path).make(PLACE, CgroupValues())
    no_limit = str((1 << 64) - 1)
    assert bus.calls[1] == [
        *("SetUnitProperties", "sba(sv)", "cluster-node_1-pod1.slice", "true", "3"),
        *("CPUQuotaPerSecUSec", "t", no_limit, "MemoryMax", "t", no_limit, "MemorySwapMax", "t", "0"),
    ]


def test_what_is_set_already_costs_no_word_over_the_bus(tmp_path: Path) -> None:
    directory = tmp_path / "cluster.slice/cluster-node_1.slice/cluster-node_1-pod1.slice"
    directory.mkdir(parents=True)
    bus = Bus()
    machine = slices(bus, tmp_path)
    for shares in (2, 2, 1024):
        machine.make(PLACE, CgroupValues(cpu_shares=shares))
    assert [call[0] for call in bus.calls] == ["StartTransientUnit", "SetUnitProperties"]
    directory.rmdir()  # somebody else stopped it
    machine.make(PLACE, CgroupValues(cpu_shares=1024))
    assert bus.calls[-1][0] == "StartTransientUnit"


def test_other_errors_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Access denied"):
        slices(Bus("Access denied"), tmp_path).make(PLACE, CgroupValues())


def test_a_slice_in_which_something_runs_is_not_stopped(tmp_path: Path) -> None:
    directory = tmp_path / "cluster.slice/cluster-node_1.slice/cluster-node_1-pod1.slice"
    directory.mkdir(parents=True)
    (directory / "cgroup.procs").write_text("42\n")
    bus = Bus("", "Unit cluster-node_1-pod1.slice not loaded.")
    assert not slices(bus, tmp_path).remove(PLACE)
    (directory / "cgroup.procs").write_text("")
    assert slices(bus, tmp_path).remove(PLACE)
    assert bus.calls == [["StopUnit", "ss", "cluster-node_1-pod1.slice", "replace"]]
    assert slices(bus, tmp_path).remove(PLACE)  # gone already
    assert slices(bus, tmp_path).below(("cluster", "node-1")) == {"pod1"}
