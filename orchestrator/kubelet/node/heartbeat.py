"""The heartbeat of a node: registers it, renews its lease, and looks with each turn how it is.

Owns the times. What is looked at besides the runtime (usage, pressure) is told by the kubelet, and `reporter` writes.
Mirrors the loops of pkg/kubelet's `syncNodeStatus` and the node lease controller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.kubelet.node.plan import NodeHealth, heartbeat_delay_seconds
from orchestrator.kubelet.node.reporter import NodeReporter
from orchestrator.kubelet.node.runtime_health import RuntimeHealth
from orchestrator.kubelet.runtime import ContainerRuntime, Image, RuntimeFailure
from orchestrator.logs import get_logger

LEASE_RENEW_SECONDS = 10.0
REGISTER_BASE_SECONDS = 0.2
REGISTER_MAX_SECONDS = 7.0


class Heartbeat:
    """The heartbeat of one node."""

    def __init__(
        self,
        *,
        reporter: NodeReporter,
        health: RuntimeHealth,
        runtime: ContainerRuntime,
        clock: Clock,
        node_name: str,
        shows_images: bool,
        spawn: Callable[[Coroutine[None, None, None], str], asyncio.Task[None] | None],
        before: Callable[[], Awaitable[None]],
        registered: Callable[[], Awaitable[None]],
        look: Callable[[], Awaitable[None]],
        pressure: Callable[[], Collection[str]],
        seen: Callable[[], Object | None],
    ) -> None:
        """`before` is awaited before the first registration, `look` with each turn.

        `registered` is awaited when the Node is there, and whenever it may be another one.

        `pressure` are the conditions of that kind that hold, `seen` is the Node as others have it now.
        """
        self._reporter = reporter
        self._health = health
        self._runtime = runtime
        self._clock = clock
        self._node_name = node_name
        self._shows_images = shows_images
        self._spawn = spawn
        self._before = before
        self._registered = registered
        self._look_at_more = look
        self._pressure = pressure
        self._seen = seen
        self._known_images: list[Image] = []
        self._log = get_logger("kubelet", node=node_name)

    async def run(self) -> None:
        """Register the node; then a lease every 10 s, and the status when it changed or became old."""
        await self._health.is_up.wait()
        await self._before()
        await self._register()
        look: asyncio.Task[None] | None = None
        while True:
            now = self._clock.monotonic()
            await self._clock.sleep(heartbeat_delay_seconds(self._node_name, now, LEASE_RENEW_SECONDS))
            try:
                await self._reporter.renew_lease()
            except (errors.ApiError, OSError) as error:
                self._log.info("lease.failed", error=str(error))
            if look is None or look.done():
                look = self._spawn(self._look(), "look")

    async def _register(self) -> None:
        backoff = ItemBackoff(base_seconds=REGISTER_BASE_SECONDS, max_seconds=REGISTER_MAX_SECONDS, items_max=1)
        while True:
            try:
                assert self._health.info is not None
                await self._reporter.register(self._health.info, self._conditions(), await self._images())
                await self._reporter.renew_lease()
                await self._registered()
                return
            except (errors.ApiError, OSError, RuntimeFailure) as error:
                self._log.info("node.register_failed", error=str(error))
                await self._clock.sleep(backoff.next_delay(""))

    async def _look(self) -> None:
        """See how the runtime and the node are, and tell it: on a busy machine this may take long, the lease not."""
        await self._health.check()
        await self._look_at_more()
        await self.report()

    async def report(self) -> None:
        """Write the Node's status if it calls for that."""
        if self._health.info is None or self._reporter.node is None:
            return
        try:
            await self._reporter.report(self._health.info, self._conditions(), await self._images(), seen=self._seen())
            await self._registered()
        except (errors.ApiError, OSError, RuntimeFailure) as error:
            self._log.info("node.status_failed", error=str(error))

    def _conditions(self) -> NodeHealth:
        conditions = self._pressure()
        return NodeHealth(
            not_ready=self._health.why_not_ready,
            memory_pressure="MemoryPressure" in conditions,
            disk_pressure="DiskPressure" in conditions,
            pid_pressure="PIDPressure" in conditions,
        )

    async def _images(self) -> list[Image]:
        """What the Node shows: the last that was known while the runtime is down, none on a hollow node."""
        if self._shows_images and self._health.is_up.is_set():
            try:
                self._known_images = await self._runtime.list_images()
            except RuntimeFailure as error:
                self._log.info("node.images_unknown", error=str(error))
        return self._known_images
