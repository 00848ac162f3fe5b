"""The connections of a listener: aiohttp's server with the limits and the manners of Go's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

HEADER_BYTES_MAX = 1024 * 1024
"""Of the request line and of each header, as much as Go's server lets all of them have: selectors can be long."""


class ClientGone(ConnectionResetError):
    """The client closed its connection before it had its answer."""


class _LogOfRequests(logging.LoggerAdapter[logging.Logger]):
    """Tells of failures of ours; clients that send something else than HTTP, or go, are worth a line for debugging."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **kwargs: Any) -> None:
        """Log a failed request at the level it deserves."""
        if isinstance(exc_info, HttpProcessingError) and exc_info.code < 500:
            self.debug("%s: %s", msg, exc_info.message)
        elif isinstance(exc_info, ConnectionError):  # a follower of a log or a watch that was ended, for example
            self.debug("a request ended with its connection: %s", exc_info)
        else:
            super().exception(msg, *args, exc_info=exc_info, **kwargs)


class _Request(web.BaseRequest):
    """A request whose answer does not say what program wrote it: Go's server sends no Server header."""

    @classmethod
    def make(cls, message: Any, payload: Any, protocol: Any, writer: Any, task: asyncio.Task[None]) -> _Request:
        return cls(message, payload, protocol, writer, task, asyncio.get_running_loop())

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.popall("Server", None)


class Connections(web.Server):
    """aiohttp's server, which also tells when a client is gone."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        super().__init__(
            handler,
            request_factory=_Request.make,
            access_log=None,
            handler_cancellation=False,
            logger=_LogOfRequests(logging.getLogger("aiohttp.server")),
            # A body is what was sent: Go's server unpacks none, and proxies hand it on.
            auto_decompress=False,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )
        self.when_lost: dict[object, Callable[[], object]] = {}
        """By the protocol of a connection, what to do once its client is gone. For requests that wait for a long time
        before they write, which is when aiohttp would notice."""

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        if (tell := self.when_lost.pop(handler, None)) is not None:
            tell()
        super().connection_lost(handler, exc)
