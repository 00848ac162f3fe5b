"""The runtime's view of built-in components: each is a pod with one container that somebody else starts.

Owns their identities and the count of their starts, processes before this one included. Never starts or stops
anything: the supervisor of the process does.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import NoReturn

from msgspec import Struct

from orchestrator.api.objects import Object, name_of, namespace_of, uid_of
from orchestrator.component.built_in import BuiltIn, ComponentState
from orchestrator.kubelet.pod import app_containers_of
from orchestrator.kubelet.runtime import (
    Container,
    ContainerPhase,
    LogOptions,
    PortStream,
    RuntimeFailure,
    RuntimePod,
    Sandbox,
    StreamSession,
)

NAME = "orchestrator"
"""The scheme of their container ids."""


class Shown(Struct):
    """A component on one node, and the static pod that shows it there."""

    component: BuiltIn
    pod: Object
    earlier: int = 0
    """How often earlier processes have started it."""
    is_counted: bool = False
    """Whether it was found out how often they did."""


class BuiltInRuntime:
    """Implements `runtime.ShowsContainers`."""

    def __init__(self, shown: Mapping[str, Shown]) -> None:
        """`shown` by the uid of the pod."""
        self._shown = shown

    async def list_pods(self) -> list[RuntimePod]:
        return [observe(one) for one in self._shown.values()]

    async def get_pod(self, uid: str) -> RuntimePod | None:
        shown = self._shown.get(uid)
        return observe(shown) if shown is not None else None

    async def logs(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        """What the component logged between this start and the next; nothing goes to stdout."""
        if options.stream == "Stdout":
            return
        shown, container = self._find(container_id)
        # What the process logged on its way to the first start belongs to that.
        since = container.started_at if container.attempt > shown.earlier else None
        if options.since is not None:
            since = max(since, options.since) if since is not None else options.since
        lines = shown.component.log.read(
            since=since,
            until=_started_again_at(shown.component.state(), container),
            tail_lines=options.tail_lines,
            timestamps=options.timestamps,
            follow=partial(_is_running, shown, container_id) if options.follow else None,
        )
        left = options.limit_bytes
        async for line in lines:
            if left is None:
                yield line
                continue
            yield line[:left]
            left -= len(line)
            if left <= 0:
                return

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
        self._refuse(container_id)

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> StreamSession:
        self._refuse(container_id)

    async def dial(self, sandbox_id: str, port: int) -> PortStream:
        shown, _ = self._find(sandbox_id)
        if shown.component.dial is None:
            raise RuntimeFailure(f"{shown.component.name} listens on no port of its own")
        try:
            return await shown.component.dial(port)
        except OSError as error:
            raise RuntimeFailure(f"failed to connect to localhost:{port}: {error}") from error

    def _refuse(self, container_id: str) -> NoReturn:
        shown, _ = self._find(container_id)
        raise RuntimeFailure(f"{shown.component.name} is a part of the orchestrator's process and has no container")

    def _find(self, identifier: str) -> tuple[Shown, Container]:
        """By the id of a container or of a sandbox, whose container is the last one."""
        for shown in self._shown.values():
            pod = observe(shown)
            for container in reversed(pod.containers):
                if identifier in (container.id, container.sandbox_id):
                    return shown, container
        raise RuntimeFailure(f"No such container: {identifier}")


def observe(shown: Shown) -> RuntimePod:
    """What there is of a component as the runtime would tell it, the start before this one first."""
    state = shown.component.state()
    uid = uid_of(shown.pod)
    # While it is down, the container that is shown is the one that ended; its place is taken by the next start.
    attempt = shown.earlier + state.restarts
    containers = []
    if state.last_failure is not None:
        ended = _container(shown, state, attempt if not state.is_running else attempt - 1, has_ended=True)
        containers.append(ended)
    if state.is_running:
        containers.append(_container(shown, state, attempt, has_ended=False))
    sandbox = Sandbox(
        id=_identifier(uid, "", 0),
        namespace=namespace_of(shown.pod),
        name=name_of(shown.pod),
        uid=uid,
        attempt=0,
        ready=True,
        ips=(),
        created_at=state.started_at,
    )
    return RuntimePod(namespace_of(shown.pod), name_of(shown.pod), uid, (sandbox,), tuple(containers))


def _container(shown: Shown, state: ComponentState, attempt: int, *, has_ended: bool) -> Container:
    (spec,) = app_containers_of(shown.pod)
    uid = uid_of(shown.pod)
    failure = state.last_failure if has_ended else None
    started_at = failure.started_at if failure is not None else state.started_at
    return Container(
        id=_identifier(uid, spec["name"], attempt),
        name=spec["name"],
        attempt=attempt,
        pod_uid=uid,
        sandbox_id=_identifier(uid, "", 0),
        image=spec["image"],
        image_id=spec["image"],
        phase=ContainerPhase.EXITED if failure is not None else ContainerPhase.RUNNING,
        created_at=started_at,
        started_at=started_at,
        finished_at=failure.finished_at if failure is not None else None,
        exit_code=1 if failure is not None else 0,
        message=failure.message if failure is not None else "",
    )


def _started_again_at(state: ComponentState, container: Container) -> datetime | None:
    """When the component went on after this container; None if it is the last one."""
    is_last = container.phase is ContainerPhase.RUNNING or not state.is_running
    return None if is_last else state.started_at


def _is_running(shown: Shown, container_id: str) -> bool:
    last = observe(shown).containers[-1]
    return last.id == container_id and last.phase is ContainerPhase.RUNNING


def _identifier(uid: str, name: str, attempt: int) -> str:
    return hashlib.blake2b(f"{uid}/{name}/{attempt}".encode(), digest_size=32).hexdigest()
