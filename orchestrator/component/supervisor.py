"""Keeps components running: an escaped exception is logged, counted and answered with a restart.

Never takes the process down for one component: the API stays up, `/readyz` tells which component
is not well (DESIGN, "Failure is the normal case").
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from msgspec import Struct

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.clock import Clock
from orchestrator.component import metrics
from orchestrator.logs import get_logger

Run = Callable[[], Awaitable[None]]

STABLE_SECONDS = 60.0
"""A component that ran this long is forgiven its earlier failures."""


class Supervised(Struct):
    """What there is to know of one component."""

    started_at: datetime
    restarts: int = 0
    is_failing: bool = False
    """Whether it is down now, and waits to be started again."""
    failure: str = ""
    """What took it down last."""
    failed_at: datetime | None = None
    failed_run_started_at: datetime | None = None


class Supervisor:
    """Runs named components, each in its own task, and restarts those that fall over."""

    def __init__(self, *, clock: Clock, counted_as: str = "") -> None:
        """`counted_as`: the one name of many like components in metrics; without it, each has its own."""
        self._clock = clock
        self._counted_as = counted_as
        self._components: dict[str, Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._states: dict[str, Supervised] = {}
        self._changed: Callable[[str], None] | None = None
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
        self._states.pop(name, None)
        self._look_at_health()
        self._backoff.forget(name)

    def failing(self) -> dict[str, str]:
        """The components that are down now, with what took them down."""
        return {name: state.failure for name, state in self._states.items() if state.is_failing}

    def states(self) -> dict[str, Supervised]:
        """All components that have been started, by name."""
        return self._states

    def on_change(self, changed: Callable[[str], None]) -> None:
        """Call this with the name of each component that goes down, and of each that is started again."""
        self._changed = changed

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
        state = self._states[name] = Supervised(self._clock.now())
        while True:
            started = self._clock.monotonic()
            running.inc()
            try:
                await run()
                raise RuntimeError("the component returned, which it must not")
            except Exception as error:
                state.failure = f"{type(error).__name__}: {error}"
                state.failed_at, state.failed_run_started_at = self._clock.now(), state.started_at
                state.is_failing = True
                self._healthy.clear()
                self._log.exception("component.failed", failed=name)
                if _is_cancelled():
                    # It was to end and failed on the way: what it raised stands in the cancellation's place.
                    raise asyncio.CancelledError from error
            finally:
                running.dec()
            metrics.COMPONENT_RESTARTS.labels(counted_as).inc()
            self._tell(name)
            if self._clock.monotonic() - started > STABLE_SECONDS:
                self._backoff.forget(name)
            await self._clock.sleep(self._backoff.next_delay(name))
            state.is_failing = False
            state.restarts += 1
            state.started_at = self._clock.now()
            self._look_at_health()
            self._tell(name)

    def _tell(self, name: str) -> None:
        if self._changed is not None:
            self._changed(name)

    def _look_at_health(self) -> None:
        if not any(state.is_failing for state in self._states.values()):
            self._healthy.set()


def _is_cancelled() -> bool:
    """Whether the current task was told to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
