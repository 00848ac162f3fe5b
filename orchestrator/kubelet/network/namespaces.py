"""Work inside the network namespace of another process, in a thread that lives for one call.

A thread that entered a namespace is never used again, so nothing can go on in the wrong one.
Mirrors github.com/containernetworking/plugins `ns.WithNetNSPath`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

from orchestrator.aiokit.libc import last_error, libc

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
DIAL_SECONDS_MAX = 10.0


def namespace_inode(pid: int | str = "self") -> int:
    """The inode that identifies a process' network namespace; OSError when the process is gone."""
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def enter_network_namespace(pid: int) -> None:
    """Move the calling thread, which must be a throw-away one, into the network namespace of a process."""
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc().setns(descriptor, CLONE_NEWNET) != 0:
            raise last_error(f"entering the network namespace of process {pid}")
    finally:
        os.close(descriptor)


async def in_network_namespace(pid: int, function: Callable[[], T]) -> T:
    """The result of a plain, blocking function that is called inside the network namespace of `pid`."""

    def enter_and_call() -> T:
        enter_network_namespace(pid)
        return function()

    return await in_thread(enter_and_call, name=f"netns-{pid}")


def connect_to_loopback(port: int) -> socket.socket:
    """A connection to a port of the calling thread's loopback, IPv4 first as `localhost` says. Blocking; OSError."""
    failure: OSError | None = None
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            connection = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            failure = failure or error
            continue
        try:
            connection.settimeout(DIAL_SECONDS_MAX)
            connection.connect((address, port))
            connection.setblocking(False)
        except OSError as error:
            connection.close()
            failure = failure or error
        else:
            return connection
    raise failure or OSError("no address family")


async def in_thread(function: Callable[[], T], *, name: str) -> T:
    """The result of a blocking function, called in a thread of its own."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: BaseException | None) -> None:
        if future.done():  # the caller was cancelled
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        try:
            result, error = function(), None
        except Exception as failure:
            result, error = None, failure
        try:
            loop.call_soon_threadsafe(deliver, result, error)
        except RuntimeError:  # the loop was closed meanwhile; nobody waits any more
            return

    threading.Thread(target=work, name=name, daemon=True).start()
    return await future
