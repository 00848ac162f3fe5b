"""A queue of keys in which a key waits at most once and is processed by one worker at a time.

Mirrors client-go's workqueue: a key that is added while it is being processed is processed again
afterwards; nothing is ever processed twice at the same time. Its size is bounded by the number of
distinct keys, which the objects of the cluster bound.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.clock import Clock, TimerHandle

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Keys to process; `get` and `done` bracket the processing of one key.

    States of a key: *waiting* (in the queue), *processing* (between `get` and `done`), *dirty while
    processing* (added again; goes back into the queue at `done`), *delayed* (a timer will add it).
    """

    def __init__(self, *, clock: Clock, backoff: ItemBackoff | None = None) -> None:
        self._clock = clock
        self._backoff = backoff or ItemBackoff()
        self._queue: deque[K] = deque()
        self._dirty: dict[K, float] = {}
        """Since when each key is in need of processing."""
        self._processing: dict[K, tuple[float, float]] = {}
        """Since when each key is processed, and how long it waited for that."""
        self._timers: dict[K, tuple[float, TimerHandle]] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self.added_total = 0
        self.retries_total = 0

    def __len__(self) -> int:
        return len(self._queue)

    def processing_seconds(self) -> list[float]:
        """How long each key that is being processed has been so."""
        now = self._clock.monotonic()
        return [now - since for since, _ in self._processing.values()]

    def waited_seconds(self, key: K) -> float:
        """How long a key that is being processed waited for that."""
        return self._processing[key][1]

    @property
    def is_idle(self) -> bool:
        """Whether no key waits and none is being processed (delayed keys do not count)."""
        return not self._queue and not self._processing

    def add(self, key: K) -> None:
        """Mark the key as in need of processing."""
        if key in self._dirty:
            return
        self._dirty[key] = self._clock.monotonic()
        self.added_total += 1
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Add the key after a delay; of several delays of one key the earliest wins."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + seconds
        pending = self._timers.get(key)
        if pending is not None:
            if pending[0] <= due:
                return
            pending[1].cancel()
        self._timers[key] = (due, self._clock.call_later(seconds, lambda: self._fire(key)))

    def add_rate_limited(self, key: K) -> None:
        """Add the key after its back-off, which grows with each call until `forget`."""
        self.retries_total += 1
        self.add_after(key, self._backoff.next_delay(key))

    def forget(self, key: K) -> None:
        """Reset the key's back-off after a success."""
        self._backoff.forget(key)

    def failures(self, key: K) -> int:
        """How often the key was rate limited since it was last forgotten."""
        return self._backoff.failures(key)

    async def get(self) -> K:
        """Wait for a key and mark it as being processed; call `done` when finished."""
        while not self._queue:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()  # the wake-up was ours and must not be lost
                elif waiter in self._getters:  # a wake-up may have passed over it since it was cancelled
                    self._getters.remove(waiter)
                raise
        key = self._queue.popleft()
        now = self._clock.monotonic()
        self._processing[key] = now, now - self._dirty.pop(key)
        return key

    def done(self, key: K) -> None:
        """Processing of this key ended; it goes back into the queue if it was added meanwhile."""
        self._processing.pop(key, None)
        if key in self._dirty:
            self._push(key)

    def close(self) -> None:
        """Cancel all timers; for the end of a component."""
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _push(self, key: K) -> None:
        self._queue.append(key)
        self._wake_one()

    def _wake_one(self) -> None:
        while self._getters:
            waiter = self._getters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _fire(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)
