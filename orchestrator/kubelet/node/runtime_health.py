"""Whether the runtime of a node answers; starts it anew, again and again, when it does not.

Owns that knowledge and the one task that brings a runtime up. Mirrors the kubelet's `updateRuntimeUp`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.clock import Clock
from orchestrator.aiokit.time_limit import within
from orchestrator.kubelet.runtime import ContainerRuntime, RuntimeFailure, RuntimeInfo
from orchestrator.logs import get_logger

CHECK_SECONDS = 10.0
"""How long the runtime is waited for with each heartbeat."""
SILENT_SECONDS_MAX = 30.0
"""A runtime that has not answered for so long is down (the kubelet's `maxWaitForContainerRuntime`)."""
RETRY_BASE_SECONDS = 0.5
RETRY_MAX_SECONDS = 10.0


class RuntimeHealth:
    """The runtime of one node; use `recover` at the start, `check` with each heartbeat and `lost` on what it raised."""

    def __init__(
        self,
        *,
        runtime: ContainerRuntime,
        clock: Clock,
        node_name: str,
        spawn: Callable[[Coroutine[None, None, None], str], object],
        prepare: Callable[[RuntimeInfo], Awaitable[None]],
        came_up: Callable[[], Awaitable[None]],
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        """`prepare` is awaited before the runtime counts as up, `came_up` after that.

        `changed` is awaited when a runtime that was up goes and comes back.
        """
        self.info: RuntimeInfo | None = None
        """What the runtime last said of itself; None until it was up once."""
        self.is_up = asyncio.Event()
        self.why_not_ready = "container runtime status check may not have completed yet"
        """What the node says for it; empty while it is ready."""
        self._runtime = runtime
        self._clock = clock
        self._spawn = spawn
        self._prepare = prepare
        self._came_up = came_up
        self._changed = changed
        self._answered_at = clock.monotonic()
        self._recovering = False
        self._log = get_logger("kubelet", node=node_name)

    def reset(self) -> None:
        """Nothing is known of the runtime, as at the start."""
        self._recovering = False
        self.is_up.clear()

    def lost(self, why: str) -> None:
        """The runtime does not answer: the node is not ready until it does."""
        if self._recovering:
            return
        self._log.warning("runtime.lost", error=why)
        self.why_not_ready = f"container runtime is down: {why}"
        self.is_up.clear()
        self.recover()

    def recover(self) -> None:
        """Bring the runtime up, in a task of its own."""
        self._recovering = True
        self._spawn(self._bring_up(), "runtime")

    async def check(self) -> None:
        """Ask it, if it is up; silence for a while is a loss."""
        if not self.is_up.is_set():
            return
        try:
            await within(self._clock, CHECK_SECONDS, self._runtime.info())
        except TimeoutError:
            self._log.info("runtime.late", seconds=CHECK_SECONDS)
            if self._clock.monotonic() - self._answered_at >= SILENT_SECONDS_MAX:
                self.lost(f"no answer within {SILENT_SECONDS_MAX:g} s")
        except RuntimeFailure as error:
            self.lost(str(error))
        else:
            self._answered_at = self._clock.monotonic()

    async def _bring_up(self) -> None:
        backoff = ItemBackoff(base_seconds=RETRY_BASE_SECONDS, max_seconds=RETRY_MAX_SECONDS, items_max=1)
        was_up = self.info is not None
        if was_up:
            await self._changed()
        while True:
            try:
                await self._runtime.start()
                info = await self._runtime.info()
                break
            except RuntimeFailure as error:
                self.why_not_ready = f"container runtime is down: {error}"
                await self._clock.sleep(backoff.next_delay(""))
        self.info = info
        self._answered_at = self._clock.monotonic()
        await self._prepare(info)
        self._recovering = False
        self.why_not_ready = ""
        self.is_up.set()
        await self._came_up()
        if was_up:
            self._log.info("runtime.back")
            await self._changed()
