"""The streaming side of a kubelet: logs, exec, attach, port-forward of its containers.

Owns finding the container that a request means, and the kubelet's answers when there is none. The
bytes come from the runtime. Mirrors pkg/kubelet/server and kuberuntime's `GetContainerLogs`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

from orchestrator.aiokit.clock import Clock, parse_time
from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.client.informer import Informer
from orchestrator.component.kubelet_api import PodLogOptions, PortStream, StreamSession
from orchestrator.component.usage import NodeUsage
from orchestrator.kubelet.built_in.pods import BuiltInPods
from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.pod import find_container, runtime_uid_of
from orchestrator.kubelet.runtime import (
    Container,
    ContainerPhase,
    ContainerRuntime,
    LogOptions,
    RuntimeFailure,
    RuntimePod,
    ShowsContainers,
)
from orchestrator.kubelet.runtime_pods import current_sandbox, newest_containers
from orchestrator.kubelet.server.pages import KubeletPages


class KubeletServer:
    """Implements `component.kubelet_api.KubeletApi` for one node."""

    def __init__(
        self,
        *,
        runtime: ContainerRuntime,
        pods: Informer,
        clock: Clock,
        options: NodeOptions,
        usage: Callable[[], Awaitable[NodeUsage]],
        built_in: BuiltInPods | None = None,
    ) -> None:
        self._runtime = runtime
        self._built_in = built_in
        self._pods = pods
        self._clock = clock
        self._usage = usage
        self._pages = KubeletPages(options=options, pods=pods, usage=usage, running=self._running_pods)

    async def logs(self, namespace: str, pod: str, options: PodLogOptions) -> AsyncGenerator[bytes, None]:
        """The log of a container as chunks; BadRequest when the container has not started or has no predecessor."""
        obj, runtime_pod = await self._find(namespace, pod)
        container = _container_for_logs(obj, runtime_pod, options)
        since = parse_time(options.since_time) if options.since_time else None
        if options.since_seconds is not None:
            since = self._clock.now() - timedelta(seconds=options.since_seconds)
        chosen = LogOptions(
            follow=options.follow and not options.previous,
            since=since,
            timestamps=options.timestamps,
            tail_lines=options.tail_lines,
            limit_bytes=options.limit_bytes,
            stream=options.stream,
        )
        return self._read_logs(self._runtime_of(obj), container.id, chosen)

    async def _read_logs(
        self, runtime: ShowsContainers, container_id: str, options: LogOptions
    ) -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in runtime.logs(container_id, options):
                yield chunk
        except RuntimeFailure as error:
            raise errors.InternalError(str(error)) from error

    async def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        tty: bool,
    ) -> StreamSession:
        """Start a process in a running container."""
        runtime, found = await self._running(namespace, pod, container)
        try:
            session = await runtime.exec(found.id, command, stdin=stdin, tty=tty, stdout=stdout, stderr=stderr)
            return _Session(session)
        except RuntimeFailure as error:
            raise errors.InternalError.because(f"error executing command in container: {error}") from error

    async def attach(
        self, namespace: str, pod: str, container: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> StreamSession:
        """Connect to the main process of a running container."""
        runtime, found = await self._running(namespace, pod, container)
        # Whether there is a terminal is the container's to say: it decides how its output is framed.
        spec = find_container(self._pods.get(f"{namespace}/{pod}") or {"spec": {}}, container)
        has_terminal = bool(spec and spec[1].get("tty"))
        try:
            session = await runtime.attach(found.id, stdin=stdin, tty=has_terminal)
            return _Session(session)
        except RuntimeFailure as error:
            raise errors.InternalError.because(f"error attaching to container: {error}") from error

    async def port_forward(self, namespace: str, pod: str, port: int) -> PortStream:
        """A connection to a port of the pod, made from inside its network."""
        obj, runtime_pod = await self._find(namespace, pod)
        sandbox = current_sandbox(runtime_pod)
        if sandbox is None or not sandbox.ready:
            raise errors.BadRequest(f"pod {pod}_{namespace} is not running")
        try:
            return await self._runtime_of(obj).dial(sandbox.id, port)
        except RuntimeFailure as error:
            raise errors.InternalError(str(error)) from error

    async def page(self, path: str, query: Mapping[str, str]) -> tuple[str, bytes] | None:
        """A page of the kubelet's own; None when there is none by this path."""
        try:
            return await self._pages.page(path, query)
        except RuntimeFailure as error:
            raise errors.ServiceUnavailable(f"container runtime is down: {error}") from error

    async def usage(self) -> NodeUsage:
        """What the node and its pods use now."""
        try:
            return await self._usage()
        except RuntimeFailure as error:
            raise errors.ServiceUnavailable(f"container runtime is down: {error}") from error

    async def _running_pods(self) -> list[Object]:
        """What the runtime has, as `/runningpods` shows it."""
        pods = await self._runtime.list_pods()
        if self._built_in is not None:
            pods += await self._built_in.runtime.list_pods()
        return [_running_pod(pod) for pod in pods if _is_running(pod)]

    def _runtime_of(self, pod: Object) -> ShowsContainers:
        """Who knows the containers of a pod."""
        built_in = self._built_in
        return built_in.runtime if built_in is not None and runtime_uid_of(pod) in built_in else self._runtime

    async def _find(self, namespace: str, pod: str) -> tuple[Object, RuntimePod | None]:
        obj = self._pods.get(f"{namespace}/{pod}")
        if obj is None:
            raise errors.NotFound(f'pods "{pod}" not found', kind="pods", name=pod)
        try:
            return obj, await self._runtime_of(obj).get_pod(runtime_uid_of(obj))
        except RuntimeFailure as error:
            raise errors.ServiceUnavailable(f"container runtime is down: {error}") from error

    async def _running(self, namespace: str, pod: str, container: str) -> tuple[ShowsContainers, Container]:
        obj, runtime_pod = await self._find(namespace, pod)
        if find_container(obj, container) is None:
            raise errors.BadRequest(f"container {container} is not valid for pod {pod}")
        found = newest_containers(runtime_pod).get(container)
        if found is None:
            raise errors.NotFound(f'container not found ("{container}")')
        if found.phase is not ContainerPhase.RUNNING:
            raise errors.InternalError(f"cannot exec in a stopped state: container {container} is not running")
        return self._runtime_of(obj), found


def _is_running(pod: RuntimePod) -> bool:
    return any(container.phase is ContainerPhase.RUNNING for container in pod.containers)


def _running_pod(pod: RuntimePod) -> Object:
    containers = [
        {"name": one.name, "image": one.image, "resources": {}}
        for one in pod.containers
        if one.phase is ContainerPhase.RUNNING
    ]
    metadata = {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid, "creationTimestamp": None}
    return {"metadata": metadata, "spec": {"containers": containers}, "status": {}}


def _container_for_logs(pod: Object, runtime_pod: RuntimePod | None, options: PodLogOptions) -> Container:
    name = options.container
    pod_name = pod["metadata"]["name"]
    if find_container(pod, name) is None:
        raise errors.BadRequest(f"container {name} is not valid for pod {pod_name}")
    own = sorted(
        (c for c in (runtime_pod.containers if runtime_pod else ()) if c.name == name),
        key=lambda c: (c.attempt, c.created_at),
    )
    if options.previous:
        dead = [c for c in own[:-1] if c.phase is ContainerPhase.EXITED]
        # In crash back-off the newest one is dead already: it is what the status calls the last state.
        if own and own[-1].phase is ContainerPhase.EXITED and _waits(pod, name):
            return own[-1]
        if not dead:
            raise errors.BadRequest(f'previous terminated container "{name}" in pod "{pod_name}" not found')
        return dead[-1]
    started = [c for c in own if c.phase is not ContainerPhase.CREATED]
    if not started:
        waiting = _waiting_reason(pod, name)
        if waiting in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"):
            raise errors.BadRequest(
                f'container "{name}" in pod "{pod_name}" is waiting to start: trying and failing to pull image'
                if waiting in ("ErrImagePull", "ImagePullBackOff")
                else f'container "{name}" in pod "{pod_name}" is waiting to start: {waiting}'
            )
        raise errors.BadRequest(
            f'container "{name}" in pod "{pod_name}" is waiting to start: {waiting or "ContainerCreating"}'
        )
    return started[-1]


def _state_of(pod: Object, name: str) -> Object:
    status = pod.get("status") or {}
    for section in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for entry in status.get(section) or ():
            if entry.get("name") == name:
                state: Object = entry.get("state") or {}
                return state
    return {}


def _waits(pod: Object, name: str) -> bool:
    return "waiting" in _state_of(pod, name)


def _waiting_reason(pod: Object, name: str) -> str:
    return str((_state_of(pod, name).get("waiting") or {}).get("reason") or "")


class _Session:
    """A runtime's session that fails in the API's words: a program that is not there shows only when it ends."""

    def __init__(self, session: StreamSession) -> None:
        self._session = session
        self.read = session.read
        self.write = session.write
        self.close_stdin = session.close_stdin
        self.close = session.close

    async def resize(self, width: int, height: int) -> None:
        """Set the terminal's size; Conflict when the process is not (or no more) there to take it."""
        try:
            await self._session.resize(width, height)
        except RuntimeFailure as error:
            raise errors.Conflict(str(error)) from error

    async def wait(self) -> int:
        """The exit code; InternalError when the process could not be started."""
        try:
            return await self._session.wait()
        except RuntimeFailure as error:
            raise errors.InternalError.because(f"error executing command in container: {error}") from error
