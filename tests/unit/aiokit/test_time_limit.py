"""Time-outs on a clock that the test moves."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.aiokit.time_limit import time_limit, within
from orchestrator.testing import ManualClock


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_what_takes_longer_is_ended_at_its_time() -> None:
    clock = ManualClock()
    task = asyncio.ensure_future(within(clock, 10, forever()))
    await clock.run(9)
    assert not task.done()
    await clock.run(1)
    with pytest.raises(TimeoutError):
        await task


async def test_what_ends_in_time_leaves_no_timer() -> None:
    clock = ManualClock()

    async def quick() -> int:
        await asyncio.sleep(0)
        return 7

    async with time_limit(clock, 10) as scope:
        assert await quick() == 7
    await clock.run(20)
    assert not scope.expired()


async def test_a_cancelled_caller_is_cancelled_and_not_late() -> None:
    clock = ManualClock()
    task = asyncio.ensure_future(within(clock, 10, forever()))
    await clock.run(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
