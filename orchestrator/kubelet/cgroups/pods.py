"""The cgroups of the pods of one node: made before a pod's sandbox, set when it is resized, removed when it is over.

Owns the order of those steps, the share of all pods and that of the Burstable class. Never decides other values.
Mirrors pkg/kubelet/cm's pod_container_manager_linux.go, qos_container_manager_linux.go and
node_container_manager_linux.go.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from orchestrator.api.objects import Object, uid_of
from orchestrator.kubelet.cgroups.values import (
    POD_PREFIX,
    QOS_PARENTS,
    CgroupValues,
    Place,
    cluster_place,
    node_place,
    path_of,
    pod_place,
    slice_of,
)
from orchestrator.kubelet.pod import qos_class_of
from orchestrator.kubelet.resources.pod_resources import pod_requests
from orchestrator.kubelet.resources.values import CPU_SHARES_MIN, cpu_shares, pod_cgroup_values
from orchestrator.logs import get_logger

REMOVAL_ATTEMPTS_MAX = 20
REMOVAL_PAUSE_SECONDS = 0.1


class CgroupDriver(Protocol):
    """Cgroups by place; every method blocks a little and raises OSError."""

    def make(self, place: Place, values: CgroupValues) -> None: ...
    def change(self, place: Place, values: CgroupValues) -> None: ...
    def read(self, place: Place) -> CgroupValues: ...
    def remove(self, place: Place) -> bool: ...
    def below(self, place: Place) -> set[str]: ...
    def processes(self, place: Place) -> set[int]: ...


class PodCgroups:
    """The cgroups of one node."""

    def __init__(
        self, *, driver: CgroupDriver, is_systemd: bool, cluster_id: str, node_name: str, cpus: int = 0
    ) -> None:
        """`cpus`: how many the node has; by default those of the machine."""
        self._driver = driver
        self._cpus = cpus or os.cpu_count() or 1
        self._has_top = False
        self._is_systemd = is_systemd
        self._cluster_id = cluster_id
        self._node_name = node_name
        self._places: dict[str, Place] = {}
        """By the uid of the pod."""
        self._burstable: dict[str, int] = {}
        """The CPU requests of Burstable pods, in thousandths, by uid."""
        self._found: list[tuple[str, Place]] = []
        """What an earlier run left, with the part of its name after the prefix."""
        self._log = get_logger("kubelet/cgroups", node=node_name)

    async def make(self, pod: Object) -> str:
        """Make the cgroup of a pod; returns what the Engine takes as the parent of its containers. OSError."""
        place = self._place_of(pod)
        await asyncio.to_thread(self._make, pod, place)
        return slice_of(place) if self._is_systemd else path_of(place)

    def _place_of(self, pod: Object) -> Place:
        uid = uid_of(pod)
        known = self._places.get(uid)
        if known is None:
            known = self._places[uid] = pod_place(self._cluster_id, self._node_name, qos_class_of(pod), uid)
        return known

    def _make(self, pod: Object, place: Place) -> None:
        if not self._has_top:
            self._make_top()
            self._has_top = True
        if qos_class_of(pod) == "BestEffort":
            self._driver.make(self._class_place("BestEffort"), CgroupValues(cpu_shares=CPU_SHARES_MIN))
        elif qos_class_of(pod) == "Burstable":
            self._burstable[uid_of(pod)] = pod_requests(pod).get("cpu", 0)
            self._driver.make(self._class_place("Burstable"), self._burstable_values())
        self._driver.make(place, pod_cgroup_values(pod))

    def _make_top(self) -> None:
        """The cgroups of all pods: together they weigh as much as the CPUs they may use, not as one process does."""
        top = node_place(self._cluster_id, self._node_name)
        for depth in range(1, len(top) + 1):
            self._driver.make(top[:depth], CgroupValues(cpu_shares=cpu_shares(self._cpus * 1000)))

    def _class_place(self, qos_class: str) -> Place:
        return (*node_place(self._cluster_id, self._node_name), *QOS_PARENTS[qos_class])

    def _burstable_values(self) -> CgroupValues:
        return CgroupValues(cpu_shares=cpu_shares(sum(self._burstable.values())))

    async def loosen(self, pod: Object) -> None:
        """Before its containers are resized: what the pod has, or will have if that is more. OSError."""
        place = self._place_of(pod)
        await asyncio.to_thread(self._loosen, place, pod_cgroup_values(pod))

    def _loosen(self, place: Place, wanted: CgroupValues) -> None:
        with suppress(FileNotFoundError):  # a pod that an older version of this program started
            self._driver.change(place, self._driver.read(place).at_least(wanted))

    async def change(self, pod: Object) -> None:
        """After its containers are resized: exactly what the pod has now. OSError."""
        place = self._place_of(pod)
        await asyncio.to_thread(self._change, pod, place)

    def _change(self, pod: Object, place: Place) -> None:
        try:
            self._driver.change(place, pod_cgroup_values(pod))
        except FileNotFoundError:
            return
        if uid_of(pod) in self._burstable:
            self._burstable[uid_of(pod)] = pod_requests(pod).get("cpu", 0)
            self._driver.change(self._class_place("Burstable"), self._burstable_values())

    async def remove(self, uid: str) -> None:
        """Remove the cgroup of a pod whose containers have ended; nothing there is fine. OSError."""
        await asyncio.to_thread(self._remove, uid)

    def _remove(self, uid: str) -> None:
        known = self._places.pop(uid, None)
        places = [known] if known is not None else [self._pod_place(qos_class, uid) for qos_class in QOS_PARENTS]
        for place in places:
            if not self._driver.remove(place):
                self._log.info("pod.cgroup_in_use", uid=uid)
        if self._burstable.pop(uid, None) is not None and self._burstable:
            self._driver.change(self._class_place("Burstable"), self._burstable_values())

    def _pod_place(self, qos_class: str, uid: str) -> Place:
        return pod_place(self._cluster_id, self._node_name, qos_class, uid)

    async def find(self) -> None:
        """Before any pod is started: look what an earlier run left. OSError."""
        self._found = await asyncio.to_thread(self._find)

    def _find(self) -> list[tuple[str, Place]]:
        places = [self._class_place(qos_class) for qos_class in QOS_PARENTS]
        return [
            (name.removeprefix(POD_PREFIX), (*place, name))
            for place in places
            for name in sorted(self._driver.below(place))
            if name.startswith(POD_PREFIX)
        ]

    async def drop_unknown(self, pods: Iterable[Object]) -> None:
        """Count the pods that are known; what was found of others is removed unless something runs in it. OSError."""
        known = {uid_of(pod): pod for pod in pods}
        for uid, pod in known.items():
            if qos_class_of(pod) == "Burstable":
                self._burstable.setdefault(uid, pod_requests(pod).get("cpu", 0))
        names = set(known) | {uid.replace("-", "_") for uid in known}
        unknown = [place for uid, place in self._found if uid not in names]
        self._found = []
        if unknown:
            await asyncio.to_thread(self._drop, unknown)

    def _drop(self, places: Iterable[Place]) -> None:
        for place in places:
            self._driver.remove(place)


def driver_of(engine_info: Mapping[str, Any]) -> CgroupDriver | None:
    """The way to make cgroups that goes with an Engine; None when it has none of its own (rootless)."""
    match str(engine_info.get("CgroupDriver") or ""):
        case "cgroupfs":
            from orchestrator.kubelet.cgroups.files import CgroupFiles

            return CgroupFiles()
        case "systemd":
            from orchestrator.kubelet.cgroups.slices import SystemdSlices

            return SystemdSlices()
    return None


def pod_cgroups_of(engine_info: Mapping[str, Any], *, cluster_id: str, node_name: str) -> PodCgroups | None:
    """The cgroups of a node whose containers run on this Engine; None where pods cannot have any, which is logged."""
    driver = driver_of(engine_info)
    is_systemd = engine_info.get("CgroupDriver") == "systemd"
    if driver is None:
        return None
    if not is_systemd:
        try:
            driver.make(node_place(cluster_id, node_name), CgroupValues())
        except (OSError, KeyError) as error:
            # In a container, for instance, whose /sys/fs/cgroup is read-only.
            get_logger("kubelet/cgroups", node=node_name).warning("pod.no_cgroups", error=str(error))
            return None
    return PodCgroups(driver=driver, is_systemd=is_systemd, cluster_id=cluster_id, node_name=node_name)


def kill_processes(engine_info: Mapping[str, Any], cluster_id: str) -> int:
    """Send SIGKILL to everything that runs in the pods of a cluster; returns to how many. OSError.

    The Engine would start a program for each container to do the same.
    """
    driver = driver_of(engine_info)
    return send_kill(driver.processes(cluster_place(cluster_id))) if driver is not None else 0


def send_kill(pids: Iterable[int]) -> int:
    """SIGKILL to each of these processes; how many of them there were. OSError."""
    killed = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


def remove_cgroups(engine_info: Mapping[str, Any], cluster_id: str) -> None:
    """Remove all cgroups of a cluster, whose containers are gone. OSError, also when something still runs in one."""
    driver = driver_of(engine_info)
    if driver is None:
        return
    for _ in range(REMOVAL_ATTEMPTS_MAX):
        if driver.remove(cluster_place(cluster_id)):
            return
        time.sleep(REMOVAL_PAUSE_SECONDS)  # the kernel may still be at the last processes
    raise OSError(f"cgroup {path_of(cluster_place(cluster_id))} is still in use")
