"""Keeps components running: an escaped exception is logged, counted and answered with a restart.

Never takes the process down for one component: the API stays up, `/readyz` tells which component
is not well (DESIGN, "Failure is the normal case").
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.clock import Clock
from orchestrator.component import metrics
from orchestrator.logs import get_logger

Run = Callable[[], Awaitable[None]]

STABLE_SECONDS = 60.0
"""A component that ran this long is forgiven its earlier failures."""


class Supervisor:
    """Runs named components, each in its own task, and restarts those that fall over."""

    def __init__(self, *, clock: Clock, counted_as: str = "") -> None:
        """`counted_as`: the one name of many like components in metrics; without it, each has its own."""
        self._clock = clock
        self._counted_as = counted_as
        self._components: dict[str, Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failing: dict[str, str] = {}
        self._backoff = ItemBackoff(base_seconds=0.1, max_seconds=30.0)
        self._group: asyncio.TaskGroup | None = None
        self._healthy = asyncio.Event()
        self._healthy.set()
        self._log = get_logger("supervisor")

    def add(self, name: str, run: Run) -> None:
        """Supervise a component from now on; `run` is called anew for every restart."""
        if name in self._components:
            raise ValueError(f"component {name} is supervised already")
        self._components[name] = run
        if self._group is not None:
            self._start(name)

    async def remove(self, name: str) -> None:
        """Stop a component for good; nothing happens when it is not supervised."""
        self._components.pop(name, None)
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._well_again(name)
        self._backoff.forget(name)

    def failing(self) -> dict[str, str]:
        """The components that are down now, with what took them down."""
        return dict(self._failing)

    async def wait_healthy(self) -> None:
        """Return as soon as no component is down."""
        await self._healthy.wait()

    async def run(self) -> None:
        """Run all components; ends only by cancellation."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for name in self._components:
                    self._start(name)
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None

    def _start(self, name: str) -> None:
        assert self._group is not None
        self._tasks[name] = self._group.create_task(self._supervise(name, self._components[name]), name=name)

    async def _supervise(self, name: str, run: Run) -> None:
        counted_as = self._counted_as or name
        running = metrics.COMPONENT_UP.labels(counted_as)
        while True:
            started = self._clock.monotonic()
            running.inc()
            try:
                await run()
                raise RuntimeError("the component returned, which it must not")
            except Exception as error:
                self._failing[name] = f"{type(error).__name__}: {error}"
                self._healthy.clear()
                self._log.exception("component.failed", failed=name)
            finally:
                running.dec()
            metrics.COMPONENT_RESTARTS.labels(counted_as).inc()
            if self._clock.monotonic() - started > STABLE_SECONDS:
                self._backoff.forget(name)
            await self._clock.sleep(self._backoff.next_delay(name))
            self._well_again(name)

    def _well_again(self, name: str) -> None:
        self._failing.pop(name, None)
        if not self._failing:
            self._healthy.set()
