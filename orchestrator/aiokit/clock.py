"""Injected time: everything that waits or stamps goes through one `Clock`.

Owns the difference between wall time (stamps that users see) and monotonic time (durations), and
all waiting. Production uses `SystemClock`; a test harness may hand in a clock whose time it moves.
Mirrors k8s.io/utils/clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol


class TimerHandle(Protocol):
    """A callback that was scheduled and can still be cancelled."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The time source of a cluster."""

    def now(self) -> datetime:
        """The wall time, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for this time on this clock."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> TimerHandle:
        """Run a plain function on the event loop after this time on this clock."""
        ...


class SystemClock:
    """The machine's own time and the running event loop's timers."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback)


def format_time(moment: datetime) -> str:
    """`metav1.Time`: RFC 3339 in UTC with whole seconds, e.g. `2026-01-02T03:04:05Z`."""
    return _text_of_second((moment - _EPOCH) // _SECOND)


_EPOCH, _SECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(seconds=1)


@lru_cache(maxsize=256)  # a busy cluster stamps the same second thousands of times
def _text_of_second(seconds: int) -> str:
    return (_EPOCH + seconds * _SECOND).isoformat()[:19] + "Z"


def format_micro_time(moment: datetime) -> str:
    """`metav1.MicroTime`: RFC 3339 in UTC with six fractional digits (Lease, Event)."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[:26] + "Z"


def parse_time(text: str) -> datetime:
    """The moment that an RFC 3339 text names; raises ValueError on anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment
