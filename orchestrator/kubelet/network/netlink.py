"""Route netlink, thin: one socket on a thread with an event loop of its own.

The loop of the process may be uvloop, which knows no netlink sockets; and the answers to dumps are parsed in
Python, which is better done beside the loop that serves the API. Owns the thread and the socket, decides nothing.
"""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import logging
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any


def skip_package_imports() -> None:
    """Make `pyroute2` a package whose own module was not run; before anything of it is imported.

    That module imports every netlink family there is: 6 MiB and 40 ms of each start. Its parts do without.
    """
    if "pyroute2" in sys.modules:
        return
    spec = importlib.util.find_spec("pyroute2")
    if spec is not None:
        sys.modules["pyroute2"] = importlib.util.module_from_spec(spec)


class Netlink:
    """The calls of pyroute2's `AsyncIPRoute` that the pod network uses; made by `open`, ended by `close`.

    Each raises NetlinkError as there; `netlink_code` tells which.
    """

    def __init__(self) -> None:
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="netlink", daemon=True)
        self._ipr: Any = None

    @classmethod
    async def open(cls) -> Netlink:
        """A connected socket; OSError."""
        netlink = cls()
        netlink._thread.start()
        try:
            await netlink._run(netlink._connect)
        except BaseException:
            await netlink._end_thread()
            raise
        return netlink

    async def _connect(self) -> None:
        skip_package_imports()
        from pyroute2.iproute.linux import AsyncIPRoute  # type: ignore[import-untyped]

        # It tells every message at debug level, which here is about the cluster.
        logging.getLogger("pyroute2").setLevel(logging.INFO)
        self._ipr = await AsyncIPRoute().__aenter__()

    async def link(self, verb: str, **parameters: Any) -> Any:
        """Add, set, get or delete an interface."""
        return await self._run(self._call, "link", verb, **parameters)

    async def addr(self, verb: str, **parameters: Any) -> Any:
        """Add or delete an address of an interface."""
        return await self._run(self._call, "addr", verb, **parameters)

    async def route(self, verb: str, **parameters: Any) -> Any:
        """Add or delete a route."""
        return await self._run(self._call, "route", verb, **parameters)

    async def brport(self, verb: str, **parameters: Any) -> Any:
        """Set a parameter of an interface as a port of its bridge."""
        return await self._run(self._call, "brport", verb, **parameters)

    async def get_links(self) -> list[Any]:
        """All interfaces."""
        return list(await self._run(self._call, "get_links"))

    async def get_routes(self, **parameters: Any) -> list[Any]:
        """All routes that match."""
        return list(await self._run(self._call, "get_routes", **parameters))

    async def _call(self, name: str, *arguments: Any, **parameters: Any) -> Any:
        answer = await getattr(self._ipr, name)(*arguments, **parameters)
        return [message async for message in answer] if hasattr(answer, "__aiter__") else answer

    async def _run(self, work: Any, *arguments: Any, **parameters: Any) -> Any:
        future = asyncio.run_coroutine_threadsafe(work(*arguments, **parameters), self._loop)
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """Close the socket and end the thread; safe to call twice."""
        if self._loop.is_closed():
            return
        ipr, self._ipr = self._ipr, None
        if ipr is not None:
            await self._run(ipr.__aexit__, None, None, None)
        await self._end_thread()

    async def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()


@asynccontextmanager
async def netlink() -> AsyncIterator[Netlink]:
    """A socket for a few calls."""
    opened = await Netlink.open()
    try:
        yield opened
    finally:
        await opened.close()


def netlink_code(error: BaseException) -> int | None:
    """The errno of a refused call; None for any other error."""
    from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

    return int(error.code) if isinstance(error, NetlinkError) else None


@contextmanager
def accepting(code: int) -> Iterator[None]:
    """Ignore one netlink error code that means: it is so already."""
    try:
        yield
    except Exception as error:
        if netlink_code(error) != code:
            raise


async def find_link(ipr: Netlink, name: str) -> Any | None:
    """An interface by its name, or None."""
    try:
        answer = await ipr.link("get", ifname=name)
    except Exception as error:
        if netlink_code(error) == errno.ENODEV:
            return None
        raise
    return answer[0] if answer else None
