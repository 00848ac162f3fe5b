"""Two things at once that both have to come to an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def together(first: Awaitable[T], second: Awaitable[object]) -> T:
    """Wait for both, whatever happens to one of them: neither goes on when this ends.

    The result is the first one's, which stays in the caller's task. Its error is raised before one of the second;
    both are cancelled with the caller.
    """
    beside = asyncio.ensure_future(second)
    try:
        result = await first
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError):
            beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)
        raise
    await beside
    return result
