"""A route netlink socket whose calls are awaited: each is made in one thread, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Concatenate, ParamSpec, Self, TypeVar

from orchestrator.aiokit.netlink_socket import NetlinkError
from orchestrator.kubelet.network.rtnetlink import RouteSocket

P = ParamSpec("P")
T = TypeVar("T")


class Netlink:
    """The machine's own namespace; made by `open`, ended by `close`."""

    def __init__(self, socket: RouteSocket) -> None:
        self._socket = socket
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netlink")
        self._closed = False

    @classmethod
    def open(cls) -> Self:
        """A bound socket; OSError."""
        return cls(RouteSocket())

    async def call(self, work: Callable[Concatenate[RouteSocket, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work`, which gets the socket first: `await netlink.call(RouteSocket.links)`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: work(self._socket, *args, **kwargs))

    async def close(self) -> None:
        """Close the socket, after what it is at; safe to call twice."""
        if not self._closed:
            self._closed = True
            self._thread.submit(self._socket.close)
            self._thread.shutdown(wait=False)


@asynccontextmanager
async def netlink() -> AsyncIterator[Netlink]:
    """A socket for a few calls."""
    opened = Netlink.open()
    try:
        yield opened
    finally:
        await opened.close()


@contextmanager
def accepting(code: int) -> Iterator[None]:
    """Ignore one error of the kernel that means: it is so already."""
    try:
        yield
    except NetlinkError as error:
        if error.errno != code:
            raise
