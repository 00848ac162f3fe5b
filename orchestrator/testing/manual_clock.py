"""A clock that stands still until a test moves it.

Owns the timers of everything that was built on it. Never looks at the machine's time, so hours of
back-off, deadlines and schedules pass in milliseconds and always in the same order.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
SETTLE_ROUNDS_MAX = 100_000
"""A cluster that still works after so many turns of the event loop will not come to rest."""


class _Timer:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """Implements `aiokit.clock.Clock`; time moves only by `advance` and `run`."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed = 0.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._count = 0

    def now(self) -> datetime:
        """The wall time, in UTC."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved so far; zero seconds only let others run."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: None if done.done() else done.set_result(None))
        try:
            await done
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> _Timer:
        """Run a plain function when the clock was moved so far."""
        timer = _Timer(callback)
        self._count += 1
        heapq.heappush(self._timers, (self._elapsed + max(0.0, seconds), self._count, timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Move time, running what falls due in its order; what that starts runs when the caller awaits."""
        end = self._elapsed + seconds
        while (due := self._next_due()) is not None and due <= end:
            self._fire(due)
        self._elapsed = end

    async def run(self, seconds: float) -> None:
        """Move time from timer to timer, and let everything come to rest between two of them."""
        end = self._elapsed + seconds
        await settle()
        while (due := self._next_due()) is not None and due <= end:
            while self._next_due() == due:
                self._fire(due)
            await settle()
        self._elapsed = end

    def _next_due(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _fire(self, due: float) -> None:
        _, _, timer = heapq.heappop(self._timers)
        self._elapsed = max(self._elapsed, due)
        callback, timer.callback = timer.callback, None
        if callback is not None:
            callback()


async def settle() -> None:
    """Let every task of this event loop run until all of them wait for time or for the outside world.

    Raises RuntimeError on an event loop that does not tell what is ready to run.
    """
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_ready"):
        raise RuntimeError(f"time moves on asyncio's own event loop only, not on {type(loop).__module__}'s")
    for _ in range(SETTLE_ROUNDS_MAX):
        await asyncio.sleep(0)
        # While this task runs, the loop's own list holds exactly what else is ready. There is no public way to ask.
        if not loop._ready:
            return
    raise AssertionError(f"the event loop did not come to rest in {SETTLE_ROUNDS_MAX} turns")
