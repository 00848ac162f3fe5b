"""Time-outs that run on the injected clock."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.aiokit.clock import Clock


@contextmanager
def time_limit(clock: Clock, seconds: float) -> Iterator[asyncio.Timeout]:
    """A time-out of so many seconds of the clock: `with time_limit(...) as scope: async with scope: ...`."""
    scope = asyncio.timeout(None)
    loop = asyncio.get_running_loop()
    timer = clock.call_later(seconds, lambda: None if scope.expired() else scope.reschedule(loop.time()))
    try:
        yield scope
    finally:
        timer.cancel()
