"""Stops containers: preStop hooks, signals, grace periods, in the order that their pod asks for.

Mirrors kuberuntime's `killContainer` and `killPodWithSyncResult`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from orchestrator.aiokit.clock import Clock
from orchestrator.aiokit.time_limit import within
from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.kubelet.ghosts import is_ghost
from orchestrator.kubelet.parts import HookFailed, Hooks, Probes
from orchestrator.kubelet.plan import Kill, plan_termination
from orchestrator.kubelet.pod import describe_pod, find_container, grace_seconds_of
from orchestrator.kubelet.record import FORCED_GRACE_SECONDS, PodRecord
from orchestrator.kubelet.runtime import Container, ContainerPhase, ContainerRuntime, RuntimeFailure, RuntimePod
from orchestrator.kubelet.status.reporter import PodReporter
from orchestrator.logs import get_logger

GRACE_AFTER_PRE_STOP_SECONDS = 2.0
"""What a container gets at least once its preStop hook used up the grace period."""
QUICK_END_SECONDS = 1.0
"""A deletion that takes longer is told before it is done."""


class PodStopper:
    """Stops the containers and sandboxes of one node."""

    def __init__(
        self,
        *,
        clock: Clock,
        runtime: ContainerRuntime,
        hooks: Hooks,
        probes: Probes,
        reporter: PodReporter,
        node_name: str,
    ) -> None:
        self._clock = clock
        self._runtime = runtime
        self._hooks = hooks
        self._probes = probes
        self._reporter = reporter
        self._node_name = node_name
        self._log = get_logger("kubelet", node=node_name)

    async def kill(self, record: PodRecord, kills: Iterable[Kill]) -> None:
        """Stop single containers of a pod that goes on, side by side; Interrupted when it has to end sooner."""
        with record.interruptibly():
            await self._gather(self._kill(record, kill) for kill in kills)

    async def stop_orphan(self, observed: RuntimePod) -> None:
        """Stop a pod that the API does not know."""
        for wave in plan_termination(None, observed):
            await self._gather(self._runtime.stop_container(container.id, FORCED_GRACE_SECONDS) for container in wave)
        await self.stop_sandboxes(observed)

    async def kill_failed(self, record: PodRecord, container_id: str, name: str, why: str) -> None:
        """Stop a container that has just been started, and failed: what becomes of it is for the next plan to say."""
        self._reporter.event(record.pod, "Normal", "Killing", why, container=name)
        record.killing.add(container_id)
        with record.interruptibly():
            await self._end(record, container_id, name, self._clock.monotonic() + grace_seconds_of(record.pod))

    async def _gather(self, steps: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Run steps side by side; the first failure is raised as itself."""
        waiting = [*steps]
        if len(waiting) == 1:
            await waiting[0]
            return
        try:
            async with asyncio.TaskGroup() as group:
                for number, step in enumerate(waiting):
                    group.create_task(step, name=f"kubelet/{self._node_name}/step/{number}")
        except BaseExceptionGroup as many:
            raise many.exceptions[0] from None

    async def _kill(self, record: PodRecord, kill: Kill) -> None:
        container = kill.container
        grace = grace_seconds_of(record.pod) if kill.grace_seconds is None else kill.grace_seconds
        self._reporter.event(record.pod, "Normal", "Killing", kill.message, container=container.name)
        record.killing.add(container.id)
        await self._stop(record, container, self._clock.monotonic() + grace)

    async def stop_in_waves(self, record: PodRecord, observed: RuntimePod) -> None:
        """Stop the containers of a terminating pod within what is left of its grace period."""
        now = self._clock.monotonic()
        deadline = now + record.grace_left(now)
        for wave in plan_termination(record.pod, observed):
            with record.interruptibly():
                await self._gather(self._stop(record, container, deadline) for container in wave)

    async def stop_all(self, record: PodRecord, observed: RuntimePod, grace_seconds: int) -> None:
        """Stop the containers of a pod, then its sandboxes."""
        deadline = self._clock.monotonic() + grace_seconds
        for wave in plan_termination(record.pod, observed):
            with record.interruptibly():
                await self._gather(self._stop(record, container, deadline) for container in wave)
        await self.stop_sandboxes(observed)

    async def _stop(self, record: PodRecord, container: Container, deadline: float) -> None:
        if container.phase is not ContainerPhase.RUNNING:
            return
        name = container.name
        if container.id not in record.killing:
            record.killing.add(container.id)
            self._reporter.event(record.pod, "Normal", "Killing", f"Stopping container {name}", container=name)
        await self._end(record, container.id, name, deadline)

    async def _end(self, record: PodRecord, container_id: str, name: str, deadline: float) -> None:
        """preStop hook, stop signal, the rest of the grace period, SIGKILL."""
        found = find_container(record.pod, name)
        definition = found[1] if found else {}
        lifecycle = definition.get("lifecycle") or {}
        least = 0.0
        hook = lifecycle.get("preStop")
        marker = f"{container_id}/preStop"
        if hook and marker not in record.killing and deadline > self._clock.monotonic():
            record.killing.add(marker)
            least = GRACE_AFTER_PRE_STOP_SECONDS
            await self._pre_stop(record, container_id, definition, hook, deadline)
        grace = max(deadline - self._clock.monotonic(), least)
        await self._runtime.stop_container(container_id, grace, lifecycle.get("stopSignal") or "")
        record.killing.discard(container_id)
        record.killing.discard(marker)
        if record.news is not None:
            record.news.set()

    async def _pre_stop(
        self, record: PodRecord, container_id: str, definition: Object, hook: Object, deadline: float
    ) -> None:
        seconds = deadline - self._clock.monotonic()
        ips = tuple(entry["ip"] for entry in record.known_status.get("podIPs") or ())
        name = definition["name"]
        try:
            await within(self._clock, seconds, self._hooks.run(record.pod, definition, container_id, hook, ips))
        except TimeoutError:
            self._log.info("pod.pre_stop_late", pod=describe_pod(record.pod), container=name)
        except HookFailed as error:
            # What a hook answers may be a secret: it goes to the log and not into the event.
            self._log.info("pod.pre_stop_failed", pod=describe_pod(record.pod), container=name, error=str(error))
            self._reporter.event(record.pod, "Warning", "FailedPreStopHook", "PreStopHook failed", container=name)

    async def stop_sandboxes(self, observed: RuntimePod) -> None:
        """Stop sandboxes whose containers have ended."""
        for sandbox in observed.sandboxes:
            if sandbox.ready:
                await self._runtime.stop_sandbox(sandbox.id)

    async def remove_everything(self, observed: RuntimePod | None) -> None:
        """Remove what has been stopped from the runtime."""
        if observed is None:
            return
        for container in observed.containers:
            if not is_ghost(container):
                await self._runtime.remove_container(container.id)
        for sandbox in observed.sandboxes:
            await self._runtime.remove_sandbox(sandbox.id)

    @asynccontextmanager
    async def reporting(self, record: PodRecord) -> AsyncIterator[None]:
        """While inside, the status follows what happens to the containers: some may take long to stop."""
        record.news = asyncio.Event()
        name = f"kubelet/{self._node_name}/stopping/{record.uid}"
        reporter = asyncio.create_task(self._report_news(record, record.news), name=name)
        try:
            yield
        finally:
            record.news = None
            reporter.cancel()
            await asyncio.gather(reporter, return_exceptions=True)

    async def _report_news(self, record: PodRecord, news: asyncio.Event) -> None:
        # Who ends at once is told once; of the others it is shown that their deletion was seen.
        with suppress(TimeoutError):
            await within(self._clock, QUICK_END_SECONDS, news.wait())
        while True:
            news.clear()
            try:
                observed = await self._reporter.observe(record)
                # Without a running container the final status is next: a pod is not shown as running without any.
                if _is_any_running(observed):
                    self._reporter.follow_probes(record, observed)
                    self._probes.only_readiness(record.uid)
                    verdicts = self._probes.verdicts(record.uid)
                    await self._reporter.report(record, observed, self._reporter.inputs(record, verdicts=verdicts))
            except (errors.ApiError, RuntimeFailure) as error:
                # The final status comes from the one who stops the containers.
                self._log.info("pod.news_not_told", pod=describe_pod(record.pod), error=str(error))
            await news.wait()


def _is_any_running(observed: RuntimePod | None) -> bool:
    return observed is not None and any(c.phase is ContainerPhase.RUNNING for c in observed.containers)
