"""Where usage comes from: cgroup files on a node with containers, the pods' requests on a hollow one.

Mirrors the kubelet's stats provider.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object, annotations_of
from orchestrator.api.quantity import Quantity, parse_quantity
from orchestrator.component.usage import (
    ClaimUsage,
    ContainerUsage,
    DiskUsage,
    InterfaceUsage,
    NodeUsage,
    PodUsage,
    Pressures,
    Usage,
    total,
)
from orchestrator.kubelet.pod import all_containers_of, requests_of, runtime_uid_of
from orchestrator.kubelet.runtime import (
    Container,
    ContainerPhase,
    ContainerRuntime,
    ContainerStats,
    RuntimeInfo,
    RuntimePod,
)
from orchestrator.kubelet.stats.cgroups import read_machine_pressures, read_pod_pressures
from orchestrator.kubelet.stats.cpu import CpuHistory
from orchestrator.kubelet.stats.machine import memory_available_bytes, parse_interfaces, process_limits

CPU_USAGE_ANNOTATION = "hollow.orchestrator.dev/cpu-usage"
MEMORY_USAGE_ANNOTATION = "hollow.orchestrator.dev/memory-usage"
"""What each container of a pod on a hollow node claims to use; its requests when they are not there."""
DISKS_SECONDS_MIN = 8.0
"""Less than between two checks for eviction."""
IDLE_CPU, IDLE_MEMORY = parse_quantity("1m"), parse_quantity("1Mi")


class MeasuresFiles(Protocol):
    """The part of the kubelet's files that is asked here."""

    async def usage(self, pod_uids: Sequence[str]) -> tuple[DiskUsage, Mapping[str, tuple[tuple[str, DiskUsage], ...]]]:
        """The file system of the pods, and what each pod's emptyDirs hold, by volume."""
        ...

    async def claim_usage(self, pod_uids: Sequence[str]) -> Mapping[str, tuple[ClaimUsage, ...]]:
        """The file systems behind each pod's claims."""
        ...


class UsageSource(Protocol):
    """Measures one node."""

    async def sample(self) -> None:
        """Called about every ten seconds, so that rates have something to compare with."""
        ...

    async def read(self, info: RuntimeInfo, pods: Sequence[Object]) -> NodeUsage:
        """What is used now by these pods and the node; RuntimeFailure."""
        ...


class Disks(NamedTuple):
    """What is on the disk: walking trees takes long, so it is kept for a while."""

    at_seconds: float
    file_system: DiskUsage
    volumes: Mapping[str, tuple[tuple[str, DiskUsage], ...]]
    containers: Mapping[str, tuple[DiskUsage, DiskUsage]]


class MeasuredUsage:
    """Reads the cgroups of the runtime's containers, and walks what they wrote."""

    def __init__(self, *, runtime: ContainerRuntime, files: MeasuresFiles, clock: Clock, node_name: str) -> None:
        self._runtime = runtime
        self._files = files
        self._disks: Disks | None = None
        self._clock = clock
        self._node_name = node_name
        self._started_at = clock.now()
        self._history = CpuHistory()

    async def sample(self) -> None:
        """Remember the CPU time of every running container."""
        self._remember(await self._runtime.container_stats())

    def _remember(self, stats: Iterable[ContainerStats]) -> None:
        now = self._clock.monotonic()
        for one in stats:
            self._history.add(one.container_id, now, one.cpu_nanoseconds_total)

    async def read(self, info: RuntimeInfo, pods: Sequence[Object]) -> NodeUsage:
        """Measure everything; a container that ends in the meantime is left out."""
        observed = await self._runtime.list_pods()
        stats = {one.container_id: one for one in await self._runtime.container_stats()}
        now, seconds = self._clock.now(), self._clock.monotonic()
        sandboxes = [(pod.uid, pod.sandboxes[0].pid) for pod in observed if pod.sandboxes and pod.sandboxes[0].pid]
        machine = await asyncio.to_thread(_look_at_machine, sandboxes)
        disks = await self._look_at_disks([pod.uid for pod in observed])
        claims = await self._files.claim_usage([pod.uid for pod in observed])
        images = {runtime_uid_of(pod): _images_of(pod) for pod in pods}
        found = []
        for pod in observed:
            containers = tuple(
                self._container(one, stats[one.id], now, seconds, images.get(pod.uid, {}), disks)
                for one in pod.containers
                if one.id in stats
            )
            if containers:
                usage = _pod_usage(pod, containers, machine.interfaces.get(pod.uid, ()), now)
                own = replace(usage.usage, pressures=machine.pod_pressures.get(pod.uid))
                volumes = disks.volumes.get(pod.uid, ())
                found.append(replace(usage, usage=own, volumes=volumes, claims=claims.get(pod.uid, ())))
        self._history.keep(stats.keys())
        self._remember(stats.values())
        return NodeUsage(
            name=self._node_name,
            started_at=self._started_at,
            # Simplified: nodes share a machine, so a node's usage is that of its pods.
            usage=replace(total([pod.usage for pod in found], at=now), pressures=machine.pressures),
            pods=tuple(found),
            cpu_count=info.cpu_count,
            memory_bytes=info.memory_bytes,
            memory_available_bytes=machine.memory_available_bytes,
            processes_max=machine.processes_max,
            processes=machine.processes,
            file_system=disks.file_system,
        )

    async def _look_at_disks(self, pod_uids: Sequence[str]) -> Disks:
        now = self._clock.monotonic()
        if self._disks is None or now - self._disks.at_seconds >= DISKS_SECONDS_MIN:
            file_system, volumes = await self._files.usage(pod_uids)
            self._disks = Disks(now, file_system, volumes, await self._runtime.container_disks())
        return self._disks

    def _container(
        self,
        container: Container,
        stats: ContainerStats,
        now: datetime,
        seconds: float,
        images: dict[str, str],
        disks: Disks,
    ) -> ContainerUsage:
        root_fs, logs = disks.containers.get(container.id, (None, None))
        started_at = container.started_at or container.created_at
        age_seconds = max(0.0, (now - started_at).total_seconds())
        nanocores, window = self._history.rate(container.id, seconds, stats.cpu_nanoseconds_total, age_seconds)
        usage = Usage(
            at=now,
            window_seconds=window,
            cpu_nanocores=nanocores,
            cpu_nanoseconds_total=stats.cpu_nanoseconds_total,
            memory_working_set_bytes=stats.memory_working_set_bytes,
            memory_usage_bytes=stats.memory_usage_bytes,
            memory_rss_bytes=stats.memory_rss_bytes,
            page_faults=stats.page_faults,
            major_page_faults=stats.major_page_faults,
            swap_bytes=stats.swap_bytes,
            pressures=stats.pressures,
        )
        return ContainerUsage(
            name=container.name,
            started_at=started_at,
            usage=usage,
            id=container.id,
            image=images.get(container.name, container.image),
            processes=stats.processes,
            root_fs=root_fs,
            logs=logs,
        )


class RequestedUsage:
    """Claims that containers use what they request, or what annotations of their pod say."""

    def __init__(self, *, runtime: ContainerRuntime, clock: Clock, node_name: str) -> None:
        self._runtime = runtime
        self._clock = clock
        self._node_name = node_name
        self._started_at = clock.now()

    async def sample(self) -> None:
        """Nothing changes by itself."""

    async def read(self, info: RuntimeInfo, pods: Sequence[Object]) -> NodeUsage:
        """The usage of the containers that run."""
        now = self._clock.now()
        known = {runtime_uid_of(pod): pod for pod in pods}
        found = []
        for observed in await self._runtime.list_pods():
            pod = known.get(observed.uid)
            running = {c.name: c for c in observed.containers if c.phase is ContainerPhase.RUNNING}
            if pod is None or not running:
                continue
            containers = tuple(
                claimed_usage(pod, container, running[container["name"]], now)
                for _, container in all_containers_of(pod)
                if container["name"] in running
            )
            found.append(_pod_usage(observed, containers, (), now))
        usage = total([pod.usage for pod in found], at=now)
        return NodeUsage(
            name=self._node_name,
            started_at=self._started_at,
            usage=usage,
            pods=tuple(found),
            cpu_count=info.cpu_count,
            memory_bytes=info.memory_bytes,
            memory_available_bytes=max(0, info.memory_bytes - usage.memory_working_set_bytes),
        )


def claimed_usage(pod: Object, container: Object, running: Container, now: datetime) -> ContainerUsage:
    """What a hollow container claims to use."""
    annotations, requests = annotations_of(pod), requests_of(container)
    cpu = _claim(annotations.get(CPU_USAGE_ANNOTATION), requests.get("cpu"), IDLE_CPU).nanos
    memory = _claim(annotations.get(MEMORY_USAGE_ANNOTATION), requests.get("memory"), IDLE_MEMORY).value()
    started_at = running.started_at or running.created_at
    age_seconds = max(0.0, (now - started_at).total_seconds())
    usage = Usage(
        at=now,
        window_seconds=min(max(age_seconds, 0.001), 10.0),
        cpu_nanocores=cpu,
        cpu_nanoseconds_total=int(cpu * age_seconds),
        memory_working_set_bytes=memory,
        memory_usage_bytes=memory,
        memory_rss_bytes=memory,
    )
    return ContainerUsage(
        name=running.name, started_at=started_at, usage=usage, id=running.id, image=running.image, processes=1
    )


def _claim(annotation: str | None, request: str | None, idle: Quantity) -> Quantity:
    if annotation:
        try:
            return parse_quantity(annotation)
        except ValueError:
            pass  # what is no quantity claims nothing
    return parse_quantity(request) if request else idle


def _pod_usage(
    pod: RuntimePod, containers: tuple[ContainerUsage, ...], interfaces: tuple[InterfaceUsage, ...], now: datetime
) -> PodUsage:
    started = [sandbox.created_at for sandbox in pod.sandboxes[:1]] or [one.started_at for one in containers]
    return PodUsage(
        namespace=pod.namespace,
        name=pod.name,
        uid=pod.uid,
        started_at=min(started),
        containers=containers,
        usage=total([one.usage for one in containers], at=now),
        interfaces=interfaces,
    )


def _images_of(pod: Object) -> dict[str, str]:
    return {container["name"]: container.get("image", "") for _, container in all_containers_of(pod)}


class _Machine(NamedTuple):
    """What is not in the cgroups of containers; pods by uid."""

    interfaces: Mapping[str, tuple[InterfaceUsage, ...]]
    pod_pressures: Mapping[str, Pressures | None]
    pressures: Pressures | None
    memory_available_bytes: int
    processes_max: int
    processes: int


def _look_at_machine(sandboxes: Sequence[tuple[str, int]]) -> _Machine:
    """(uid of the pod, pid) each; blocking."""
    interfaces: dict[str, tuple[InterfaceUsage, ...]] = {}
    pressures: dict[str, Pressures | None] = {}
    for uid, pid in sandboxes:
        try:
            interfaces[uid] = parse_interfaces(Path(f"/proc/{pid}/net/dev").read_text())
            pressures[uid] = read_pod_pressures(pid)
        except OSError:
            continue  # the sandbox is gone
    most, running = process_limits()
    return _Machine(interfaces, pressures, read_machine_pressures(), memory_available_bytes(), most, running)
