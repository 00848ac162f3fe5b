"""Work in threads that cannot be stopped half-way."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def to_its_end(work: asyncio.Future[T]) -> T:
    """The result of work in a thread; a caller that is cancelled waits for its end first.

    Without it the thread would still be at it when whoever comes next, who removes what it makes for example, is done.
    """
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
