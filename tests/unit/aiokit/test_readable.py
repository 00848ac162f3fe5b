"""Waiting for something to read."""

from __future__ import annotations

import asyncio
import socket

from orchestrator.aiokit.readable import until_readable


async def test_it_returns_with_the_first_byte_and_reads_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        waiting = asyncio.ensure_future(until_readable(ours.fileno()))
        await asyncio.sleep(0)
        assert not waiting.done()
        theirs.send(b"x")
        await waiting
        assert ours.recv(2) == b"x"


async def test_the_end_counts_and_a_wait_that_is_given_up_leaves_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        waiting = asyncio.ensure_future(until_readable(ours.fileno()))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert not asyncio.get_running_loop().remove_reader(ours.fileno())
        theirs.close()
        await until_readable(ours.fileno())
