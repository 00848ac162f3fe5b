"""A runtime without containers: every call succeeds at once and only leaves a record.

For tests and for large simulated clusters (a hundred thousand pods in one process), so records are
small and nothing runs while nothing happens. Deaths come from `kill_container`, or from
annotations of the pod:

- `hollow.orchestrator.dev/run-seconds`: containers end by themselves after this time;
- `hollow.orchestrator.dev/exit-code`: with this code (0 by default).

Mirrors kubemark's hollow node.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC
from typing import Any

from msgspec.structs import replace

from orchestrator.aiokit.clock import Clock, TimerHandle
from orchestrator.component.usage import DiskUsage
from orchestrator.kubelet.containers.labels import HASH_LABEL
from orchestrator.kubelet.restart_all import ROUND_LABEL
from orchestrator.kubelet.runtime import (
    Container,
    ContainerPhase,
    ContainerSpec,
    ContainerStats,
    Image,
    ImageNameInvalid,
    ImagePullError,
    LogOptions,
    Meanwhile,
    PortStream,
    Resources,
    RuntimeEvent,
    RuntimeFailure,
    RuntimeInfo,
    RuntimePod,
    Sandbox,
    SandboxSpec,
    StreamSession,
)

ANNOTATION_PREFIX = "hollow.orchestrator.dev/"
RUN_SECONDS_ANNOTATION = ANNOTATION_PREFIX + "run-seconds"
EXIT_CODE_ANNOTATION = ANNOTATION_PREFIX + "exit-code"

KILLED_EXIT_CODE = 143
"""A stopped container ends as a process does that leaves SIGTERM to the kernel."""

_REFERENCE = re.compile(r"[a-z0-9]+(?:[._:/-]+[A-Za-z0-9_.-]+)*(?:@sha256:[0-9a-f]{64})?")
_shared_labels: dict[tuple[str | None, str | None], dict[str, str]] = {}
_SHARED_LABELS_MAX = 10_000
IMAGES_MAX = 10_000


def _labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Only what the kubelet reads again, shared among all containers of the same definition."""
    key = (labels.get(HASH_LABEL), labels.get(ROUND_LABEL))
    if len(_shared_labels) > _SHARED_LABELS_MAX:
        _shared_labels.clear()
    kept = {name: value for name, value in zip((HASH_LABEL, ROUND_LABEL), key, strict=True) if value is not None}
    return _shared_labels.setdefault(key, kept)


class _HollowPod:
    __slots__ = ("annotations", "containers", "name", "namespace", "sandboxes", "uid")

    def __init__(self, spec: SandboxSpec) -> None:
        self.namespace = spec.namespace
        self.name = spec.name
        self.uid = spec.uid
        self.sandboxes: list[Sandbox] = []
        self.containers: dict[str, Container] = {}
        self.annotations: Mapping[str, str] | None = None


class HollowRuntime:
    """Implements `ContainerRuntime` for one node, in memory."""

    def __init__(
        self,
        *,
        clock: Clock,
        pod_cidr: str = "10.244.0.0/24",
        start_delay_seconds: float = 0.0,
        missing_images: str = "",
        info: RuntimeInfo | None = None,
    ) -> None:
        """`missing_images`: a regular expression of references that are absent and cannot be pulled."""
        self._clock = clock
        network = ipaddress.ip_network(pod_cidr)
        self._ip_first = int(network.network_address) + 2
        self._ip_count = max(1, network.num_addresses - 3)
        self._ip_next = 0
        self._ips_used: set[int] = set()
        self._start_delay_seconds = start_delay_seconds
        self.missing_images = re.compile(missing_images) if missing_images else None
        """Images that are not on the node and cannot be pulled; all others are there."""
        self._info = info or RuntimeInfo("hollow", "1.0", cpu_count=8, memory_bytes=32 << 30, os_image="hollow")
        self._pods: dict[str, _HollowPod] = {}
        self._pod_of: dict[str, str] = {}
        self._timers: dict[str, TimerHandle] = {}
        self._changed: dict[str, None] = {}
        self._wake = asyncio.Event()
        self.images: dict[str, Image] = {}
        """Those that were asked for, by reference."""

    # What tests do to it.

    def kill_container(self, container_id: str, exit_code: int = 137, oom: bool = False) -> None:
        """A container dies, as if its process had ended."""
        self._end(container_id, exit_code, oom=oom)
        self._report(self._pod_of.get(container_id, ""))

    def kill_sandbox(self, sandbox_id: str) -> None:
        """A sandbox dies; its containers go on."""
        pod = self._pods[self._pod_of[sandbox_id]]
        pod.sandboxes = [replace(s, ready=False) if s.id == sandbox_id else s for s in pod.sandboxes]
        self._report(pod.uid)

    def lose_container(self, container_id: str) -> None:
        """A container is removed behind the kubelet's back."""
        uid = self._pod_of.pop(container_id)
        self._pods[uid].containers.pop(container_id, None)
        self._report(uid)

    def pods(self) -> list[RuntimePod]:
        """Everything that there is, for assertions."""
        return [self._snapshot(pod) for pod in self._pods.values()]

    # ContainerRuntime.

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    async def info(self) -> RuntimeInfo:
        return self._info

    async def list_pods(self) -> list[RuntimePod]:
        return self.pods()

    async def get_pod(self, uid: str) -> RuntimePod | None:
        pod = self._pods.get(uid)
        return self._snapshot(pod) if pod is not None else None

    async def run_sandbox(self, spec: SandboxSpec, meanwhile: Meanwhile | None = None) -> Sandbox:
        pod = self._pods.get(spec.uid)
        if pod is None:
            pod = self._pods[spec.uid] = _HollowPod(spec)
        pod.annotations = {
            key: value for key, value in spec.annotations.items() if key.startswith(ANNOTATION_PREFIX)
        } or None  # fmt: skip
        sandbox_id = _identifier(spec.uid, "", spec.attempt)
        for sandbox in pod.sandboxes:
            if sandbox.id == sandbox_id and sandbox.ready:
                return sandbox
        ips = () if spec.host_network else (self._allocate_ip(),)
        sandbox = Sandbox(
            id=sandbox_id,
            namespace=spec.namespace,
            name=spec.name,
            uid=spec.uid,
            attempt=spec.attempt,
            ready=True,
            ips=ips,
            created_at=self._clock.now(),
        )
        pod.sandboxes.insert(0, sandbox)
        self._pod_of[sandbox_id] = spec.uid
        return sandbox

    async def stop_sandbox(self, sandbox_id: str) -> None:
        pod = self._pods.get(self._pod_of.get(sandbox_id, ""))
        if pod is None:
            return
        for index, sandbox in enumerate(pod.sandboxes):
            if sandbox.id == sandbox_id:
                self._free_ips(sandbox)
                pod.sandboxes[index] = replace(sandbox, ready=False, ips=())

    async def remove_sandbox(self, sandbox_id: str) -> None:
        pod = self._pods.get(self._pod_of.pop(sandbox_id, ""))
        if pod is None:
            return
        for sandbox in pod.sandboxes:
            if sandbox.id == sandbox_id:
                self._free_ips(sandbox)
        pod.sandboxes = [sandbox for sandbox in pod.sandboxes if sandbox.id != sandbox_id]
        self._forget_if_empty(pod)

    async def create_container(self, sandbox: Sandbox, spec: ContainerSpec) -> str:
        pod = self._pods.get(sandbox.uid)
        if pod is None:
            raise RuntimeFailure(f"sandbox {sandbox.id} not found")
        container_id = _identifier(sandbox.uid, spec.name, spec.attempt, sandbox.attempt)
        if container_id not in pod.containers:
            pod.containers[container_id] = Container(
                id=container_id,
                name=spec.name,
                attempt=spec.attempt,
                pod_uid=sandbox.uid,
                sandbox_id=sandbox.id,
                image=spec.image_ref or spec.image,
                image_id=spec.image,
                phase=ContainerPhase.CREATED,
                created_at=self._clock.now(),
                labels=_labels(spec.labels),
            )
            self._pod_of[container_id] = sandbox.uid
        return container_id

    async def start_container(self, container_id: str) -> Container:
        if self._start_delay_seconds:
            await self._clock.sleep(self._start_delay_seconds)
        uid = self._pod_of.get(container_id)
        if uid is None:
            raise RuntimeFailure(f"No such container: {container_id}")
        pod = self._pods[uid]
        container = pod.containers[container_id]
        if container.phase is not ContainerPhase.CREATED:
            return container
        started = replace(container, phase=ContainerPhase.RUNNING, started_at=self._clock.now(), pid=1)
        pod.containers[container_id] = started
        if pod.annotations and RUN_SECONDS_ANNOTATION in pod.annotations:
            seconds = _number(pod.annotations[RUN_SECONDS_ANNOTATION])
            code = int(_number(pod.annotations.get(EXIT_CODE_ANNOTATION, "0")))
            self._timers[container_id] = self._clock.call_later(
                seconds, lambda: self.kill_container(container_id, code)
            )
        return started

    async def stop_container(self, container_id: str, grace_seconds: float, signal: str = "") -> None:
        self._end(container_id, KILLED_EXIT_CODE)

    async def remove_container(self, container_id: str) -> None:
        self._cancel_timer(container_id)
        pod = self._pods.get(self._pod_of.pop(container_id, ""))
        if pod is not None:
            pod.containers.pop(container_id, None)
            self._forget_if_empty(pod)

    async def update_container(self, container_id: str, resources: Resources) -> None:
        return

    async def container_stats(self) -> Sequence[ContainerStats]:
        return [
            ContainerStats(container.id, 0, 0)
            for pod in self._pods.values()
            for container in pod.containers.values()
            if container.phase is ContainerPhase.RUNNING
        ]

    async def container_disks(self) -> Mapping[str, tuple[DiskUsage, DiskUsage]]:
        return {}

    async def image_status(self, reference: str) -> Image | None:
        if not _REFERENCE.fullmatch(reference):
            raise ImageNameInvalid(f'couldn\'t parse image name "{reference}": invalid reference format')
        return self.images.get(reference) or (None if self._is_missing(reference) else self._image(reference))

    async def image_layers(self, image: Image) -> tuple[str, ...]:
        return image.layers

    async def list_images(self) -> list[Image]:
        return [*self.images.values()]

    async def pull_image(self, reference: str, auth: Mapping[str, Any] | None = None) -> Image:
        if not _REFERENCE.fullmatch(reference):
            raise ImageNameInvalid(f'couldn\'t parse image name "{reference}": invalid reference format')
        if self._is_missing(reference):
            raise ImagePullError(f'failed to pull image "{reference}": not found')
        return self._image(reference)

    def _is_missing(self, reference: str) -> bool:
        return self.missing_images is not None and bool(self.missing_images.search(reference))

    def _image(self, reference: str) -> Image:
        image = self.images.get(reference)
        if image is None:
            digest = hashlib.sha256(reference.encode()).hexdigest()
            image = Image(f"sha256:{digest}", (reference,), (), 1 << 20)
            if len(self.images) < IMAGES_MAX:
                self.images[reference] = image
        return image

    async def remove_image(self, image_id: str) -> None:
        self.images = {reference: image for reference, image in self.images.items() if image.id != image_id}

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        while True:
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = self._changed, {}
            for uid in changed:
                yield RuntimeEvent(uid, kind="died")

    async def logs(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        container = self._container(container_id)
        if options.tail_lines == 0 or options.stream == "Stderr":
            return
        line = f"{container.name}: a hollow container has no output\n"
        if options.timestamps:
            stamp = (container.started_at or container.created_at).astimezone(UTC)
            line = f"{stamp.strftime('%Y-%m-%dT%H:%M:%S.%f')}000Z {line}"
        data = line.encode()
        yield data if options.limit_bytes is None else data[: options.limit_bytes]

    async def exec(
        self,
        container_id: str,
        command: Sequence[str],
        *,
        stdin: bool,
        tty: bool,
        stdout: bool = True,
        stderr: bool = True,
    ) -> StreamSession:
        self._container(container_id)
        raise RuntimeFailure("exec is not possible on a hollow node: its containers have no processes")

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> tuple[int, bytes]:
        self._container(container_id)
        return 0, b""

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> StreamSession:
        self._container(container_id)
        raise RuntimeFailure("attach is not possible on a hollow node: its containers have no processes")

    async def dial(self, sandbox_id: str, port: int) -> PortStream:
        raise RuntimeFailure("port-forward is not possible on a hollow node: its pods have no network")

    # State; plain functions.

    def _snapshot(self, pod: _HollowPod) -> RuntimePod:
        return RuntimePod(pod.namespace, pod.name, pod.uid, tuple(pod.sandboxes), tuple(pod.containers.values()))

    def _container(self, container_id: str) -> Container:
        pod = self._pods.get(self._pod_of.get(container_id, ""))
        if pod is None or container_id not in pod.containers:
            raise RuntimeFailure(f"No such container: {container_id}")
        return pod.containers[container_id]

    def _end(self, container_id: str, exit_code: int, *, oom: bool = False) -> None:
        self._cancel_timer(container_id)
        pod = self._pods.get(self._pod_of.get(container_id, ""))
        container = pod.containers.get(container_id) if pod is not None else None
        if pod is None or container is None or container.phase is not ContainerPhase.RUNNING:
            return
        pod.containers[container_id] = replace(
            container,
            phase=ContainerPhase.EXITED,
            finished_at=self._clock.now(),
            exit_code=exit_code,
            oom_killed=oom,
            pid=0,
        )

    def _report(self, uid: str) -> None:
        self._changed[uid] = None
        self._wake.set()

    def _cancel_timer(self, container_id: str) -> None:
        timer = self._timers.pop(container_id, None)
        if timer is not None:
            timer.cancel()

    def _forget_if_empty(self, pod: _HollowPod) -> None:
        if not pod.sandboxes and not pod.containers:
            self._pods.pop(pod.uid, None)

    def _allocate_ip(self) -> str:
        # Round-robin, so that an address is not used again right after its pod is gone.
        if len(self._ips_used) >= self._ip_count:
            raise RuntimeFailure("no addresses are left in the node's pod CIDR")
        while self._ip_next in self._ips_used:
            self._ip_next = (self._ip_next + 1) % self._ip_count
        offset = self._ip_next
        self._ips_used.add(offset)
        self._ip_next = (offset + 1) % self._ip_count
        return str(ipaddress.ip_address(self._ip_first + offset))

    def _free_ips(self, sandbox: Sandbox) -> None:
        for ip in sandbox.ips:
            self._ips_used.discard(int(ipaddress.ip_address(ip)) - self._ip_first)


def _identifier(uid: str, name: str, attempt: int, sandbox_attempt: int = 0) -> str:
    text = f"{uid}/{name}/{attempt}/{sandbox_attempt}"
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
