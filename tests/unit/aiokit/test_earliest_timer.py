"""One timer for many moments."""

from __future__ import annotations

from orchestrator.aiokit.earliest_timer import EarliestTimer
from orchestrator.testing import ManualClock


async def test_it_fires_at_the_first_moment_and_forgets_the_others() -> None:
    clock = ManualClock()
    fired: list[float] = []
    timer = EarliestTimer(clock, lambda: fired.append(clock.monotonic()))
    start = clock.monotonic()
    for seconds in (5.0, 2.0, 3.0):
        timer.set(start + seconds)
    await clock.run(10.0)
    assert fired == [start + 2.0]

    timer.set(start)  # past: at once
    await clock.run(1.0)
    assert fired[1:] == [start + 10.0]

    timer.set(clock.monotonic() + 1.0)
    timer.cancel()
    timer.cancel()
    await clock.run(5.0)
    assert len(fired) == 2
