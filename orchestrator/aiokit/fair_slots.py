"""A few slots for many who wait: those of different keys take turns, so that a crowd of one key delays no other.

Like a semaphore within each key (first come, first served). The idea is that of fair queuing: one flow for each key,
a slot for each in turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairSlots:
    """At most so many are inside at once."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"{count} slots let nobody in")
        self._free = count
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By key, in the order of their turns; no key without somebody who waits."""

    @asynccontextmanager
    async def take(self, key: str = "") -> AsyncIterator[None]:
        """Be inside, once it is this key's turn."""
        await self._enter(key)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, key: str) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(key, turn)
            else:  # the slot was given in the same moment
                self._leave()
            raise

    def _leave(self) -> None:
        """Give the slot to who is next, of the key whose turn it is."""
        while self._waiting:
            key, line = next(iter(self._waiting.items()))
            turn = line.popleft()
            del self._waiting[key]
            if line:
                self._waiting[key] = line  # behind all other keys
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _forget(self, key: str, turn: asyncio.Future[None]) -> None:
        line = self._waiting.get(key)
        if line is not None and turn in line:
            line.remove(turn)
            if not line:
                del self._waiting[key]
