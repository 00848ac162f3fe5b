"""Waiting with a limit on the injected clock (asyncio's own time-outs follow the event loop's time)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from orchestrator.aiokit.clock import Clock, TimerHandle

T = TypeVar("T")


async def within(clock: Clock, seconds: float, work: Awaitable[T]) -> T:
    """The result of `work`, or TimeoutError after this time; `work` is cancelled then."""
    task = asyncio.current_task()
    assert task is not None
    expired = False
    timers: list[TimerHandle] = []

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    def begin() -> None:
        timers.append(clock.call_later(max(0.0, seconds), expire))

    # Work that waits for nothing, as that of a thousand hollow nodes, takes no timer.
    waiting = asyncio.get_running_loop().call_soon(begin)
    try:
        return await work
    except asyncio.CancelledError:
        if expired and task.uncancel() == 0:
            raise TimeoutError(f"not done within {seconds:g} seconds") from None
        raise
    finally:
        waiting.cancel()
        for timer in timers:
            timer.cancel()
