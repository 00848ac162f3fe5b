"""Time-outs that run on the injected clock (asyncio's own follow the event loop's time)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from orchestrator.aiokit.clock import Clock, TimerHandle

T = TypeVar("T")


@asynccontextmanager
async def time_limit(clock: Clock, seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """TimeoutError after so many seconds of the clock; what is inside is cancelled then."""
    loop = asyncio.get_running_loop()
    timers: list[TimerHandle] = []

    def begin() -> None:
        timers.append(clock.call_later(max(0.0, seconds), expire))

    def expire() -> None:
        if not scope.expired():
            scope.reschedule(loop.time())

    # What waits for nothing, as that of a thousand hollow nodes, takes no timer.
    waiting = loop.call_soon(begin)
    try:
        async with asyncio.timeout(None) as scope:
            yield scope
    finally:
        waiting.cancel()
        for timer in timers:
            timer.cancel()


async def within(clock: Clock, seconds: float, work: Awaitable[T]) -> T:
    """The result of `work`, or TimeoutError after this time; `work` is cancelled then."""
    async with time_limit(clock, seconds):
        return await work
