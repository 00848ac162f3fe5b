"""A connection that left HTTP: bytes in both directions, whatever carries them.

Owns the `101 Switching Protocols` answer and back-pressure on the bytes that come in; knows no
protocol above them. Mirrors apimachinery's `httpstream` upgrade and client-go's tunnelling connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from aiohttp import WSMsgType, web

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from aiohttp.base_protocol import BaseProtocol

READ_BUFFER_BYTES_MAX = 256 * 1024
"""What may have come in and is not read yet before the peer is made to wait."""


class ByteConnection(Protocol):
    """What `spdy.connection` needs of a transport. One task reads, one task writes."""

    async def read(self) -> bytes:
        """The next bytes; empty once the peer is gone."""
        ...

    async def write(self, data: bytes) -> None:
        """Send, and wait while the peer is slow; ConnectionError once it is gone."""
        ...

    async def close(self) -> None:
        """Close after what was written has been sent."""
        ...


class _TransportConnection:
    """A `ByteConnection` that has aiohttp feed it what comes in, as it feeds its own WebSocket parser."""

    def __init__(self, protocol: BaseProtocol) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._buffer: deque[bytes] = deque()
        self._buffered = 0
        self._is_paused = False
        self._has_ended = False
        self._waiter: asyncio.Future[None] | None = None

    # Called by aiohttp.

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Bytes from the peer."""
        self._buffer.append(bytes(data))
        self._buffered += len(data)
        if self._buffered > READ_BUFFER_BYTES_MAX and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()
        return False, b""

    def feed_eof(self) -> None:
        """The connection is lost."""
        self._has_ended = True
        self._wake()

    def set_exception(self, error: BaseException, cause: BaseException | None = None) -> None:
        """The connection is lost; how does not matter to those above."""
        self.feed_eof()

    def is_eof(self) -> bool:
        """Whether nothing more will come."""
        return self._has_ended

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ByteConnection

    async def read(self) -> bytes:
        while not self._buffer:
            if self._has_ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = b"".join(self._buffer)
        self._buffer.clear()
        self._buffered = 0
        if self._is_paused and self._transport is not None and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        if self._transport is None or self._has_ended or self._transport.is_closing():
            raise ConnectionResetError("the peer is gone")
        self._transport.write(data)
        await self._protocol._drain_helper()

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class UpgradedConnection(_TransportConnection):
    """A client's HTTP connection after the upgrade; made by `accept`."""

    def __init__(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        super().__init__(request.protocol)
        self.response = response
        """The 101 answer, which the handler returns when it is done."""

    @classmethod
    async def accept(
        cls, request: web.BaseRequest, upgrade: str, headers: Mapping[str, str] | None = None
    ) -> UpgradedConnection:
        """Answer 101 and take the connection over; ConnectionResetError when the client is gone."""
        response = web.StreamResponse(
            status=101, headers={"Connection": "Upgrade", "Upgrade": upgrade, **(headers or {})}
        )
        response.force_close()
        connection = cls(request, response)
        # Taken over before the answer goes out: what the client sends at once must not be read as HTTP.
        request.protocol.set_parser(cast(Any, connection))
        request.protocol.keep_alive(False)
        await response.prepare(request)
        return connection


class BackendConnection(_TransportConnection):
    """The connection of a response 101 that a server gave to us."""

    def __init__(self, response: ClientResponse) -> None:
        connection = response.connection
        if connection is None or connection.protocol is None:
            raise ConnectionResetError("the server closed the connection that it upgraded")
        super().__init__(connection.protocol)
        self._response = response
        connection.protocol.set_parser(self, self)

    async def close(self) -> None:
        self._response.close()


class WebSocketConnection:
    """Bytes in the binary messages of a WebSocket, as KEP-4006 tunnels SPDY."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.BINARY:
                if message.data:
                    return bytes(message.data)
            elif message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                return b""

    async def write(self, data: bytes) -> None:
        await self._socket.send_bytes(data)

    async def close(self) -> None:
        await self._socket.close()
