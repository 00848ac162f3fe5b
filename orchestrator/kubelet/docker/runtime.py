"""`DockerRuntime`: the `ContainerRuntime` of one node, on a Docker Engine that nodes share.

Owns the order of calls for sandboxes and containers, and a memory of inspections that events
invalidate. Everything is found again from the Engine's list alone; nothing is restarted by the
Engine itself. Never decides what should run. Mirrors dockershim with the CNI plug-ins behind it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from orchestrator.aiokit.clock import Clock
from orchestrator.aiokit.socket_stream import SocketStream
from orchestrator.aiokit.time_limit import time_limit
from orchestrator.aiokit.together import together
from orchestrator.component.usage import DiskUsage
from orchestrator.kubelet.docker import streams
from orchestrator.kubelet.docker.apparmor import is_loaded
from orchestrator.kubelet.docker.container_streams import ContainerStreams
from orchestrator.kubelet.docker.engine import DockerEngine, EngineError, subscription_key
from orchestrator.kubelet.docker.engine_volumes import has_volume
from orchestrator.kubelet.docker.event_queue import EventQueue
from orchestrator.kubelet.docker.image_layers import ImageLayers
from orchestrator.kubelet.docker.image_service import ImageService
from orchestrator.kubelet.docker.inspections import Inspections
from orchestrator.kubelet.docker.node_namespace import Held, NodeNamespace
from orchestrator.kubelet.docker.pause import PAUSE_IMAGE
from orchestrator.kubelet.docker.processes import (
    end_together,
    is_process_of,
    measure_disks,
    read_all_stats,
    shim_limits,
)
from orchestrator.kubelet.docker.translate import (
    NOT_OF_PODS,
    POD_NAMESPACE_LABEL,
    POD_UID_LABEL,
    SANDBOX_KIND,
    SANDBOX_LABEL,
    EngineLimits,
    Inspected,
    LogRotation,
    Owner,
    SandboxContext,
    container_config,
    container_name,
    host_ports,
    sandbox_config,
    sandbox_context,
    sandbox_name,
    split_sysctls,
    start_failure_exit_code,
    update_settings,
)
from orchestrator.kubelet.network.firewall import NetworkUnavailable
from orchestrator.kubelet.network.namespaces import namespace_inode
from orchestrator.kubelet.network.sandbox_network import SandboxNetwork
from orchestrator.kubelet.runtime import (
    Container,
    ContainerPhase,
    ContainerSpec,
    ContainerStartError,
    ContainerStats,
    Image,
    LogOptions,
    Meanwhile,
    MountKind,
    Resources,
    RuntimeEvent,
    RuntimeFailure,
    RuntimeInfo,
    RuntimePod,
    Sandbox,
    SandboxNotReady,
    SandboxSpec,
)
from orchestrator.kubelet.stats.cgroups import unified_root
from orchestrator.logs import get_logger

T = TypeVar("T")

KILL_SECONDS_MAX = 30.0
REMOVAL_SECONDS_MAX = 10.0
NAME_SECONDS_MAX = 20.0


class DockerRuntime:
    """The pods of one node on a Docker Engine; several of these share one engine and one pod network."""

    def __init__(
        self,
        *,
        engine: DockerEngine,
        network: SandboxNetwork,
        cluster_id: str,
        node_name: str,
        clock: Clock,
        node_ip: str = "",
        pod_cidr: str = "",
        log_rotation: LogRotation = LogRotation(),
    ) -> None:
        self._log_rotation = log_rotation
        self.owner = Owner(cluster_id=cluster_id, node_name=node_name)
        self._engine = engine
        self._network = network
        self._clock = clock
        self._node_ip = node_ip
        self._pod_cidr = pod_cidr
        self._inspections = Inspections(engine=engine, owner=self.owner)
        self._images = ImageService(engine)
        self._streams = ContainerStreams(engine=engine, inspections=self._inspections, clock=clock, node_name=node_name)
        self._queues: list[EventQueue] = []
        self._unsubscribe: Callable[[], None] = _nothing
        self._limits: EngineLimits | None = None
        self._starting: dict[str, SandboxContext] = {}
        self._turns: dict[str, str] = {}
        """The namespace of the pod by container: the Engine starts and removes those of namespaces in turn."""
        self._namespace = NodeNamespace(
            owner=self.owner,
            inspect=self._inspections.inspect,
            run=self._run_pause,
            remove=self._remove,
            connect=self._connect_node,
            settings=lambda: network.helper_settings(node_name),
        )
        self._layers = ImageLayers(engine=engine, owner=self.owner, run=self._run_pause, remove=self._remove)
        self._log = get_logger("kubelet/runtime", node=node_name)

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        """Load the pause image, make the network, give back what a crash left behind."""
        self._unsubscribe()
        self._unsubscribe = self._engine.subscribe(subscription_key(self.owner.labels()), self._on_event)
        self._inspections.forget_all()
        await self._images.ensure_pause()
        await self._network.start()
        await self._namespace.find()
        if not self._network.enters_namespaces and self._pod_cidr:
            self._network.namespace_by(self.owner.node_name, self._namespace.ensure)
            await self._namespace.ensure()
        reserved = self._network.reserved_sandboxes(self.owner.node_name)
        if reserved:
            present = {item["Id"] for item in await self._inspections.list()}
            for sandbox_id in reserved - present:
                await self._network.detach(sandbox_id)

    async def configure(self, *, pod_cidr: str, node_ip: str = "") -> None:
        """Tell the runtime the node's pod range (`Node.spec.podCIDR`); pods without hostNetwork wait for it."""
        self._pod_cidr = pod_cidr
        self._node_ip = node_ip or self._node_ip
        await self._namespace.find()

    async def _connect_node(self, held: Held | None) -> None:
        if not self._pod_cidr:
            return
        await self._network.ensure_node(
            self.owner.node_name,
            self._node_ip,
            self._pod_cidr,
            namespace_id=held.container_id if held is not None else "",
            namespace_pid=held.pid if held is not None else 0,
        )

    async def close(self) -> None:
        self._unsubscribe()
        self._unsubscribe = _nothing
        self._inspections.forget_all()

    async def info(self) -> RuntimeInfo:
        info = await self._engine.call("GET", "info")
        architecture = str(info.get("Architecture", ""))
        return RuntimeInfo(
            name="docker",
            version=str(info.get("ServerVersion", "")),
            api_version=str(self._engine.version.get("ApiVersion", "")),
            operating_system=str(info.get("OSType", "linux")),
            architecture={"x86_64": "amd64", "aarch64": "arm64"}.get(architecture, architecture),
            kernel_version=str(info.get("KernelVersion", "")),
            os_image=str(info.get("OperatingSystem", "")),
            cpu_count=int(info.get("NCPU") or 1),
            memory_bytes=int(info.get("MemTotal") or 0),
            disk_bytes=await asyncio.to_thread(_disk_bytes, str(info.get("DockerRootDir") or "")),
            handlers=("", *sorted(info.get("Runtimes") or ())),
            has_apparmor="name=apparmor" in (info.get("SecurityOptions") or ()),
        )

    # ------------------------------------------------------------ events

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """Endless events from this moment on; a gap comes first, so that the caller looks everything up."""
        queue = EventQueue()
        queue.put(RuntimeEvent(pod_uid="", kind="gap"))
        self._queues.append(queue)
        return self._drain(queue)

    async def _drain(self, queue: EventQueue) -> AsyncIterator[RuntimeEvent]:
        try:
            async for event in queue:
                yield event
        finally:
            self._queues.remove(queue)

    def _on_event(self, event: dict[str, Any] | None) -> None:
        if event is None:
            self._inspections.forget_all()
            runtime_event = RuntimeEvent(pod_uid="", kind="gap")
        else:
            actor = event.get("Actor") or {}
            container_id = str(actor.get("ID", ""))
            action = str(event.get("Action", ""))
            if not self._inspections.heard(container_id, action):
                return
            if action in ("die", "destroy"):
                self._namespace.lost(container_id)
            if action == "destroy":
                self._turns.pop(container_id, None)
            kind = {"die": "died", "start": "started", "destroy": "removed"}
            runtime_event = RuntimeEvent(
                pod_uid=str((actor.get("Attributes") or {}).get(POD_UID_LABEL, "")),
                container_id=container_id,
                kind=kind.get(action, action),
            )
        for queue in self._queues:
            queue.put(runtime_event)

    # ------------------------------------------------------------ pods

    async def list_pods(self) -> list[RuntimePod]:
        items = await self._inspections.list()
        inspected = await self._inspections.listed(items)
        present = {item["Id"] for item in items}
        self._inspections.keep_only(present)
        for container_id in self._turns.keys() - present:
            del self._turns[container_id]
        return self._group(inspected)

    async def get_pod(self, uid: str) -> RuntimePod | None:
        pods = self._group(await self._inspections.listed(await self._inspections.list(**{POD_UID_LABEL: uid})))
        return pods[0] if pods else None

    def _group(self, inspected: Sequence[Inspected]) -> list[RuntimePod]:
        sandboxes: dict[str, list[Sandbox]] = {}
        containers: dict[str, list[Container]] = {}
        names: dict[str, tuple[str, str]] = {}
        for item in inspected:
            if item.kind in NOT_OF_PODS:
                continue
            names.setdefault(item.pod_uid, (item.pod_namespace, item.pod_name))
            if item.sandbox is not None:
                sandboxes.setdefault(item.pod_uid, []).append(self._sandbox_now(item))
            elif item.container is not None:
                containers.setdefault(item.pod_uid, []).append(item.container)
        return [
            RuntimePod(
                namespace=namespace,
                name=name,
                uid=uid,
                sandboxes=tuple(sorted(sandboxes.get(uid, ()), key=lambda s: (s.attempt, s.created_at), reverse=True)),
                containers=tuple(sorted(containers.get(uid, ()), key=lambda c: (c.created_at, c.name))),
            )
            for uid, (namespace, name) in names.items()
        ]

    def _sandbox_now(self, item: Inspected) -> Sandbox:
        """A sandbox with the network's part of its state, which the Engine does not know."""
        if item.sandbox is None:
            raise RuntimeFailure(f"container {item.id} is not a sandbox")
        if item.context.host_network:
            addresses = (self._node_ip,) if self._node_ip else ()
            ready = item.is_running and self._namespace.is_current(item.context.network_of)
            return replace(item.sandbox, ips=addresses, ready=ready)
        return replace(
            item.sandbox,
            ips=self._network.addresses(item.id),
            ready=item.is_running and self._network.is_attached(item.id),
        )

    # ------------------------------------------------------------ sandboxes

    async def run_sandbox(self, spec: SandboxSpec, meanwhile: Meanwhile | None = None) -> Sandbox:
        if not self._pod_cidr:
            raise NetworkUnavailable(f"network of node {self.owner.node_name} is not ready: no pod CIDR yet")
        network_of = await self._namespace.ensure() if spec.host_network else ""
        name, node = sandbox_name(self.owner, spec), self.owner.node_name
        ports = host_ports(spec)
        endpoint = None if spec.host_network else self._network.endpoint(name, node_name=node, host_ports=ports)
        config = sandbox_config(
            self.owner,
            spec,
            network_of=network_of,
            endpoint=endpoint,
            shares_shim=self._engine.passes_annotations,
        )
        container_id = await self._create(name, config)
        if endpoint is not None:
            self._network.claim(name, container_id)
        try:
            if meanwhile is None:
                return await self._start_sandbox(container_id, spec)
            self._starting[container_id] = sandbox_context(container_id, config["HostConfig"])
            try:
                return await self._start_sandbox_and(container_id, spec, meanwhile)
            finally:
                del self._starting[container_id]
        except asyncio.CancelledError:
            raise  # found again by its name, or removed by its labels
        except BaseException as error:
            try:
                await self.remove_sandbox(container_id)
            except RuntimeFailure as failure:
                self._log.warning("a failed sandbox is left behind", container=container_id, reason=str(failure))
            if isinstance(error, EngineError):
                raise RuntimeFailure(f"starting the sandbox: {error}") from error
            raise

    async def _start_sandbox_and(self, container_id: str, spec: SandboxSpec, meanwhile: Meanwhile) -> Sandbox:
        """Start a sandbox and do something else at the same time; neither goes on when this ends."""
        if spec.host_network:
            address = self._node_ip
        else:
            address = self._network.reserve(
                node_name=self.owner.node_name, sandbox_id=container_id, host_ports=host_ports(spec)
            )
        expected = Sandbox(
            id=container_id,
            namespace=spec.namespace,
            name=spec.name,
            uid=spec.uid,
            attempt=spec.attempt,
            ready=False,
            ips=(address,) if address else (),
            created_at=self._clock.now(),
        )
        # The Engine would finish a create that is given up here: wait for both, whatever happens to one.
        return await together(self._start_sandbox(container_id, spec), meanwhile(expected))

    async def _start_sandbox(self, container_id: str, spec: SandboxSpec) -> Sandbox:
        inspected = await self._start_pause(container_id)
        if spec.host_network:
            return self._sandbox_now(inspected)
        pid = inspected.context.pid
        _, network_sysctls = split_sysctls(spec.sysctls)
        await self._network.attach(
            node_name=self.owner.node_name,
            sandbox_id=container_id,
            pid=pid,
            host_ports=host_ports(spec),
            sysctls=network_sysctls,
        )
        return self._sandbox_now(inspected)

    async def _start_pause(self, container_id: str) -> Inspected:
        inspected = await self._start(container_id)
        if inspected is None or not inspected.is_running:
            raise RuntimeFailure("the sandbox ended as soon as it was started")
        self._check_local(inspected.context.pid, container_id)
        if self._limits is None:
            self._limits = shim_limits(inspected.context.pid)
        return inspected

    async def _run_pause(self, name: str, config: dict[str, Any]) -> Inspected:
        """A running pause container."""
        return await self._start_pause(await self._create(name, config))

    def _check_local(self, pid: int, container_id: str) -> None:
        if not is_process_of(pid, container_id):
            raise NetworkUnavailable(
                f"process {pid} of the sandbox is not on this machine: the pod network needs a Docker Engine "
                "that runs here, in the same PID namespace"
            )
        if self._network.enters_namespaces and namespace_inode(pid) == namespace_inode():
            raise NetworkUnavailable("the Engine gave the sandbox the machine's own network namespace")

    async def stop_sandbox(self, sandbox_id: str) -> None:
        await self._network.detach(sandbox_id)
        await self._kill(sandbox_id, "SIGKILL")
        await self._wait_dead(sandbox_id)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._network.detach(sandbox_id)
        await self._remove(sandbox_id)

    # ------------------------------------------------------------ containers

    async def create_container(self, sandbox: Sandbox, spec: ContainerSpec) -> str:
        context = await self._context_of(sandbox.id)
        for mount in spec.mounts:
            if mount.kind is MountKind.VOLUME and not await has_volume(self._engine, mount.source):
                raise RuntimeFailure(f"the Engine has no volume {mount.source}")
        if spec.security.apparmor and not await asyncio.to_thread(is_loaded, spec.security.apparmor):
            raise RuntimeFailure(f"apparmor profile not found {spec.security.apparmor}")
        limits = EngineLimits()
        if spec.security.privileged or spec.security.capabilities_add or spec.resources.oom_score_adj < 0:
            limits = self._engine_limits(context)
            if spec.security.privileged and limits.missing_capabilities:
                self._log.warning(
                    "privileged without all capabilities: the Engine itself lacks some",
                    container=spec.name,
                    missing=sorted(limits.missing_capabilities),
                )
        config = container_config(self.owner, sandbox, context, spec, limits, self._log_rotation)
        try:
            return await self._create(container_name(self.owner, sandbox, spec), config)
        except EngineError as error:
            raise RuntimeFailure(str(error)) from error

    async def _create(self, name: str, config: Mapping[str, Any]) -> str:
        """The id of a new container, or of the one that has this name already."""
        pause_seconds = 0.005
        deadline = self._clock.monotonic() + NAME_SECONDS_MAX
        while self._clock.monotonic() < deadline:
            try:
                answer = await self._engine.call(
                    "POST", "containers/create", params={"name": name}, body=json.dumps(config)
                )
                container_id = str(answer["Id"])
                self._turns[container_id] = config["Labels"].get(POD_NAMESPACE_LABEL, "")
                return container_id
            except EngineError as error:
                if error.status == 404 and config["Image"] == PAUSE_IMAGE:
                    await self._images.ensure_pause()  # somebody pruned images
                    continue
                if error.status != 409:
                    raise
            existing = await self._inspections.inspect(name)
            if existing is None:
                # Removed since, or still being made for a request that was cancelled: the Engine takes the
                # name before anybody can see the container.
                await self._clock.sleep(pause_seconds)
                pause_seconds = min(pause_seconds * 2, 0.5)
                continue
            is_dead_sandbox = existing.kind == SANDBOX_KIND and existing.phase is ContainerPhase.EXITED
            is_of_another = existing.labels.get(SANDBOX_LABEL) != config["Labels"].get(SANDBOX_LABEL)
            if not is_dead_sandbox and not is_of_another and existing.is_settled:
                return existing.id
            if existing.kind == SANDBOX_KIND:
                await self._network.detach(existing.id)
            await self._remove(existing.id)
        raise RuntimeFailure(f"the container name {name} is in use and does not become free")

    async def _context_of(self, sandbox_id: str) -> SandboxContext:
        context = self._starting.get(sandbox_id)  # the Engine answers no inspection while it starts a container
        if context is not None:
            return context
        inspected = await self._inspections.lookup(sandbox_id)
        if inspected is None:
            raise RuntimeFailure(f"sandbox {sandbox_id} is gone")
        return inspected.context

    def _engine_limits(self, sandbox: SandboxContext) -> EngineLimits:
        """What containers can never have here, read from the process that starts them: the sandbox's shim."""
        if self._limits is None:
            if not sandbox.pid:
                raise SandboxNotReady(f"sandbox {sandbox.id} is not running yet")
            self._limits = shim_limits(sandbox.pid)
        return self._limits or EngineLimits()

    async def start_container(self, container_id: str) -> Container | None:
        try:
            inspected = await self._start(container_id)
        except EngineError as error:
            self._inspections.forget(container_id)
            inspected = await self._inspections.inspect(container_id)
            code = inspected.container.exit_code if inspected is not None and inspected.container is not None else 0
            raise ContainerStartError(str(error), exit_code=code or start_failure_exit_code(str(error))) from error
        root = unified_root()
        if root is not None and inspected is not None and inspected.is_running:
            await asyncio.to_thread(end_together, root, inspected.context.pid)
        return inspected.container if inspected is not None else None

    async def _start(self, container_id: str) -> Inspected | None:
        """Start a container and look at it, which makes the event of its start no news."""
        with self._inspections.starting(container_id):
            async with self._engine.changes(self._turns.get(container_id, "")):
                await self._engine.call("POST", f"containers/{container_id}/start")
            return await self._inspections.inspect(container_id)

    async def stop_container(self, container_id: str, grace_seconds: float, signal: str = "") -> None:
        inspected = await self._inspections.inspect(container_id)
        if inspected is None or not inspected.is_running:
            return
        if grace_seconds > 0:
            await self._kill(container_id, signal or inspected.stop_signal)
            if await self._is_dead_within(container_id, grace_seconds):
                return
        await self._kill(container_id, "SIGKILL")
        await self._wait_dead(container_id)

    async def _kill(self, container_id: str, signal: str) -> None:
        try:
            await self._engine.call("POST", f"containers/{container_id}/kill", params={"signal": signal})
        except EngineError as error:
            if error.status not in (404, 409):  # gone, or not running
                raise RuntimeFailure(f"sending {signal}: {error}") from error

    async def _wait_dead(self, container_id: str) -> None:
        if not await self._is_dead_within(container_id, KILL_SECONDS_MAX):
            raise RuntimeFailure(f"container {container_id} does not die of SIGKILL")

    async def _is_dead_within(self, container_id: str, seconds: float) -> bool:
        try:
            async with time_limit(self._clock, seconds):
                await streams.wait_container(self._engine, container_id)
        except TimeoutError:
            return False
        finally:
            self._inspections.forget(container_id)
        return True

    async def remove_container(self, container_id: str) -> None:
        await self._remove(container_id)

    async def _remove(self, container_id: str) -> None:
        try:
            async with self._engine.changes(self._turns.get(container_id, "")):
                await self._engine.call("DELETE", f"containers/{container_id}", params={"force": "1", "v": "1"})
        except EngineError as error:
            if error.status == 409 and "in progress" in str(error):
                await self._wait_removed(container_id)
            elif error.status != 404:
                raise RuntimeFailure(f"removing container {container_id}: {error}") from error
        finally:
            self._inspections.forget(container_id)

    async def _wait_removed(self, container_id: str) -> None:
        """Wait for a removal that is under way; one that has failed never ends this, so the caller tries again."""
        try:
            async with time_limit(self._clock, REMOVAL_SECONDS_MAX):
                await self._engine.call(
                    "POST", f"containers/{container_id}/wait", params={"condition": "removed"}, seconds_max=None
                )
        except TimeoutError:
            raise RuntimeFailure(
                f"container {container_id} is not removed after {REMOVAL_SECONDS_MAX:g} s"
            ) from None  # fmt: skip
        except EngineError as error:
            if error.status != 404:
                raise RuntimeFailure(f"removing container {container_id}: {error}") from error

    async def update_container(self, container_id: str, resources: Resources) -> None:
        try:
            await self._engine.call(
                "POST", f"containers/{container_id}/update", body=json.dumps(update_settings(resources))
            )
        except EngineError as error:
            raise RuntimeFailure(str(error)) from error

    async def container_stats(self) -> Sequence[ContainerStats]:
        running = [item for item in await self._inspections.listed(await self._inspections.list()) if item.is_running]
        pids = [(item.id, item.context.pid) for item in running if item.container is not None]
        return await asyncio.to_thread(read_all_stats, pids)

    async def container_disks(self) -> Mapping[str, tuple[DiskUsage, DiskUsage]]:
        running = [item for item in await self._inspections.listed(await self._inspections.list()) if item.is_running]
        places = [
            (item.id, item.upper_dir, item.context.pid, item.log_path) for item in running if item.container is not None
        ]
        return await asyncio.to_thread(measure_disks, places)

    # ------------------------------------------------------------ images

    async def image_status(self, reference: str) -> Image | None:
        return await self._images.status(reference)

    async def image_layers(self, image: Image) -> tuple[str, ...]:
        return await self._layers.of(image)

    async def list_images(self) -> list[Image]:
        return await self._images.list()

    async def pull_image(self, reference: str, auth: Mapping[str, Any] | None = None) -> Image:
        return await self._images.pull(reference, auth)

    async def remove_image(self, image_id: str) -> None:
        await self._images.remove(image_id)

    # ------------------------------------------------------------ streams

    def logs(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        return self._streams.logs(container_id, options)

    async def exec(
        self,
        container_id: str,
        command: Sequence[str],
        *,
        stdin: bool,
        tty: bool,
        stdout: bool = True,
        stderr: bool = True,
    ) -> streams.EngineStreamSession:
        return await self._streams.exec(container_id, command, stdin=stdin, tty=tty, stdout=stdout, stderr=stderr)

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> tuple[int, bytes]:
        return await self._streams.exec_sync(container_id, command, timeout_seconds)

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> streams.EngineStreamSession:
        return await self._streams.attach(container_id, stdin=stdin, tty=tty)

    async def dial(self, sandbox_id: str, port: int) -> SocketStream:
        inspected = await self._inspections.lookup(sandbox_id)
        if inspected is None or not inspected.is_running:
            raise RuntimeFailure(f"sandbox {sandbox_id} is not running")
        context = inspected.context
        dialled = self._network.dial(
            sandbox_id, port, node_name=self.owner.node_name, pid=context.pid, is_host_network=context.host_network
        )
        return await streams.over(dialled, port)


def _disk_bytes(directory: str) -> int:
    """The size of the file system under a directory; 0 when it is not on this machine."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return 0
    return disk.f_blocks * disk.f_frsize


def _nothing() -> None:
    return None
