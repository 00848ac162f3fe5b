"""Work in threads that outlives the task that asked for it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from orchestrator.aiokit.threads import to_its_end


async def test_a_cancelled_caller_waits_for_the_thread() -> None:
    may_end, has_begun, ended = threading.Event(), asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(has_begun.set)
        may_end.wait(10)
        ended.append(True)

    task = asyncio.create_task(to_its_end(loop.run_in_executor(None, work)))
    await has_begun.wait()
    task.cancel()
    assert (await asyncio.wait([task], timeout=0))[1] == {task}
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


async def test_results_and_errors_come_through() -> None:
    loop = asyncio.get_running_loop()
    assert await to_its_end(loop.run_in_executor(None, lambda: 1)) == 1
    with pytest.raises(ZeroDivisionError):
        await to_its_end(loop.run_in_executor(None, lambda: 1 // 0))
