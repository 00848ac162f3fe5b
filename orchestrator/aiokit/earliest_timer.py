"""One timer for many moments: it is set for the first of them only."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.aiokit.clock import Clock, TimerHandle


class EarliestTimer:
    """Calls a function at the earliest moment that it was set for since the last call, and then forgets all of them."""

    __slots__ = ("_callback", "_clock", "_due", "_handle")

    def __init__(self, clock: Clock, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._callback = callback
        self._handle: TimerHandle | None = None
        self._due = 0.0

    def set(self, due: float) -> None:
        """Call at this moment of the monotonic clock, or at once if it is past; a later one than before is ignored."""
        if self._handle is not None:
            if self._due <= due:
                return
            self._handle.cancel()
        self._due = due
        self._handle = self._clock.call_later(max(0.0, due - self._clock.monotonic()), self._fire)

    def cancel(self) -> None:
        """Forget all moments; idempotent."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        self._callback()
