"""The cgroups of the pods of a node, on a machine that is a dictionary."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.kubelet.cgroups.pods import PodCgroups, driver_of, send_kill
from orchestrator.kubelet.cgroups.values import CgroupValues, Place, path_of
from tests.unit.kubelet.pods import pod

NODE = "/orchestrator_c1/n1/kubepods"


class Machine:
    """Implements `CgroupDriver`."""

    def __init__(self) -> None:
        self.groups: dict[str, CgroupValues] = {}
        self.busy: set[str] = set()

    def make(self, place: Place, values: CgroupValues) -> None:
        self.groups[path_of(place)] = values

    def change(self, place: Place, values: CgroupValues) -> None:
        if path_of(place) not in self.groups:
            raise FileNotFoundError(path_of(place))
        self.groups[path_of(place)] = values

    def read(self, place: Place) -> CgroupValues:
        if path_of(place) not in self.groups:
            raise FileNotFoundError(path_of(place))
        return self.groups[path_of(place)]

    def remove(self, place: Place) -> bool:
        if path_of(place) in self.busy:
            return False
        self.groups.pop(path_of(place), None)
        return True

    def below(self, place: Place) -> set[str]:
        prefix = path_of(place) + "/"
        return {path.removeprefix(prefix).split("/")[0] for path in self.groups if path.startswith(prefix)}

    def processes(self, place: Place) -> set[int]:
        return set()


def sized(uid: str, cpu: str = "", **more: Any) -> Object:
    resources = {"requests": {"cpu": cpu}, **more} if cpu else more
    obj = pod(containers=[{"name": "a", "image": "app:1", "resources": resources}])
    obj["metadata"]["uid"] = uid
    obj["status"] = {}
    return obj


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def cgroups(machine: Machine) -> PodCgroups:
    return PodCgroups(driver=machine, is_systemd=False, cluster_id="c1", node_name="n1")


async def test_burstable_pods_share_by_their_requests_and_best_effort_ones_the_rest(
    machine: Machine, cgroups: PodCgroups
) -> None:
    assert await cgroups.make(sized("one", "1")) == f"{NODE}/burstable/podone"
    assert await cgroups.make(sized("two", "500m")) == f"{NODE}/burstable/podtwo"
    assert await cgroups.make(sized("free")) == f"{NODE}/besteffort/podfree"
    assert {path: values for path, values in machine.groups.items() if path.startswith(f"{NODE}/")} == {
        f"{NODE}/burstable": CgroupValues(cpu_shares=1536),
        f"{NODE}/burstable/podone": CgroupValues(cpu_shares=1024),
        f"{NODE}/burstable/podtwo": CgroupValues(cpu_shares=512),
        f"{NODE}/besteffort": CgroupValues(cpu_shares=2),
        f"{NODE}/besteffort/podfree": CgroupValues(cpu_shares=2),
    }
    await cgroups.remove("one")
    assert machine.groups[f"{NODE}/burstable"] == CgroupValues(cpu_shares=512)
    assert f"{NODE}/burstable/podone" not in machine.groups


async def test_all_pods_together_weigh_as_much_as_the_cpus_of_their_node(machine: Machine) -> None:
    cgroups = PodCgroups(driver=machine, is_systemd=False, cluster_id="c1", node_name="n1", cpus=4)
    await cgroups.make(sized("free"))
    for path in ("/orchestrator_c1", "/orchestrator_c1/n1", NODE):
        assert machine.groups[path] == CgroupValues(cpu_shares=4096)


async def test_a_pod_grows_before_its_containers_and_shrinks_after_them(machine: Machine, cgroups: PodCgroups) -> None:
    limits = {"cpu": "200m", "memory": "64Mi"}
    await cgroups.make(sized("p", "100m", limits=limits))
    path = f"{NODE}/burstable/podp"
    wished = sized("p", "300m", limits={"cpu": "400m", "memory": "32Mi"})
    await cgroups.loosen(wished)
    assert machine.groups[path] == CgroupValues(307, 40_000, 64 << 20)
    await cgroups.change(wished)
    assert machine.groups[path] == CgroupValues(307, 40_000, 32 << 20)
    assert machine.groups[f"{NODE}/burstable"] == CgroupValues(cpu_shares=307)


async def test_a_pod_without_a_cgroup_is_resized_all_the_same(machine: Machine, cgroups: PodCgroups) -> None:
    await cgroups.loosen(sized("old", "1"))
    await cgroups.change(sized("old", "1"))
    assert machine.groups == {}


async def test_a_new_process_drops_what_nobody_knows_and_nothing_else(machine: Machine) -> None:
    before = PodCgroups(driver=machine, is_systemd=False, cluster_id="c1", node_name="n1")
    for uid in ("known", "gone", "orphan"):
        await before.make(sized(uid, "1"))
    machine.busy.add(f"{NODE}/burstable/podorphan")
    after = PodCgroups(driver=machine, is_systemd=False, cluster_id="c1", node_name="n1")
    await after.find()
    await after.make(sized("new", "1"))
    await after.drop_unknown([sized("known", "1"), sized("new", "1")])
    assert machine.below(("orchestrator_c1", "n1", "kubepods", "burstable")) == {"podknown", "podorphan", "podnew"}
    machine.busy.clear()
    await after.remove("orphan")
    await after.remove("known")
    assert machine.below(("orchestrator_c1", "n1", "kubepods", "burstable")) == {"podnew"}
    assert machine.groups[f"{NODE}/burstable"] == CgroupValues(cpu_shares=1024)


async def test_systemd_names_slices(machine: Machine) -> None:
    cgroups = PodCgroups(driver=machine, is_systemd=True, cluster_id="c1", node_name="n-1")
    parent = await cgroups.make(sized("u-1"))
    assert parent == "orchestrator_c1-n_1-kubepods-besteffort-podu_1.slice"


@pytest.mark.parametrize(
    ("driver", "kind"),
    [("cgroupfs", "CgroupFiles"), ("systemd", "SystemdSlices"), ("none", "NoneType"), ("", "NoneType")],
)
def test_the_engine_says_how_cgroups_are_made(driver: str, kind: str) -> None:
    assert type(driver_of({"CgroupDriver": driver})).__name__ == kind


def test_processes_are_killed_and_those_that_ended_are_none() -> None:
    with subprocess.Popen(["sleep", "600"]) as running, subprocess.Popen(["true"]) as ended:
        ended.wait()
        assert send_kill({running.pid, ended.pid}) == 1
        assert running.wait() == -signal.SIGKILL
