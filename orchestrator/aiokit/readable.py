"""Waiting for a descriptor to have something to read: input, a connection to accept, an event of the kernel's."""

from __future__ import annotations

import asyncio


async def until_readable(descriptor: int) -> None:
    """Return once it can be read without waiting, or is at its end; nothing is read. For one waiter at a time."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
