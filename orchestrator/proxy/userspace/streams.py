"""Carries TCP connections: one to the client, one to an endpoint, bytes from each to the other.

A side that ends its half ends it on the other side too; a side that breaks breaks the other. Who reads slowly slows
down who writes: what is on its way is bounded. Mirrors kube-proxy's former `tcpProxySocket`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import cast

from orchestrator.proxy.topology import Target
from orchestrator.proxy.userspace.choice import Chooser
from orchestrator.proxy.userspace.plan import Route

BUFFER_BYTES_MAX = 256 << 10
"""What a side may have to take yet before the other one is read no further."""
ATTEMPTS_MAX = 4
"""Endpoints that are tried for a client: one may have died a moment ago."""
CONNECT_SECONDS_MAX = 5.0
CONNECTIONS_MAX = 16_384
BACKLOG = 1024
_ABRUPTLY = struct.pack("ii", 1, 0)
"""SO_LINGER: the kernel answers with a reset when the socket is closed."""


class Connections:
    """The connections of one proxy, which outlive the listeners that they came through."""

    def __init__(self, chooser: Chooser) -> None:
        self.chooser = chooser
        self.open: set[_Side] = set()
        """The clients' sides."""
        self.tasks: set[asyncio.Task[None]] = set()

    def abort_all(self) -> None:
        """Cut everything."""
        for task in [*self.tasks]:
            task.cancel()
        for side in [*self.open]:
            side.abort()


class StreamCarrier:
    """The connections that come through one listening socket."""

    def __init__(self, route: Route, connections: Connections) -> None:
        self.route = route
        self.connections = connections
        self._server: asyncio.Server | None = None
        self._mine: set[_Side] = set()

    async def open(self, listening: socket.socket) -> None:
        """Accept connections on a bound socket, which is ours from now on; OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Side(self), sock=listening, backlog=BACKLOG)

    def follow(self, route: Route) -> None:
        self.route = route

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def abort(self) -> None:
        self.close()
        for side in [*self._mine]:
            side.abort()

    def came(self, side: _Side) -> None:
        """A client is there."""
        if len(self.connections.open) >= CONNECTIONS_MAX:
            side.abort()
            return
        self.connections.open.add(side)
        self._mine.add(side)
        task = asyncio.get_running_loop().create_task(self._lead(side), name="proxy/connect")
        self.connections.tasks.add(task)
        task.add_done_callback(self.connections.tasks.discard)

    def left(self, side: _Side) -> None:
        """A client is gone."""
        self.connections.open.discard(side)
        self._mine.discard(side)

    async def _lead(self, side: _Side) -> None:
        route, chooser = self.route, self.connections.chooser
        for target in chooser.candidates(route, side.client)[:ATTEMPTS_MAX]:
            other = _Side()
            try:
                async with asyncio.timeout(CONNECT_SECONDS_MAX):
                    await asyncio.get_running_loop().create_connection(lambda other=other: other, *target)  # type: ignore[misc]
            except (OSError, TimeoutError):
                continue
            if side.is_lost:
                other.abort()
                return
            chooser.remember(route, side.client, target)
            side.join(other)
            return
        side.abort()


class _Side(asyncio.Protocol):
    """One of the two connections."""

    def __init__(self, carrier: StreamCarrier | None = None) -> None:
        self.is_lost = False
        self.client = ""
        self._carrier = carrier
        self._transport: asyncio.Transport | None = None
        self._peer: _Side | None = None
        self._has_ended = False
        self._early: list[bytes] = []
        """What came before there was a peer: uvloop may read once although it was told to pause."""

    def join(self, peer: _Side) -> None:
        """Begin to carry."""
        self._peer, peer._peer = peer, self
        for side in (self, peer):
            assert side._transport is not None
            side._transport.resume_reading()
            early, side._early = side._early, []
            for data in early:
                side.data_received(data)
            if side._has_ended:
                side.eof_received()

    def abort(self) -> None:
        """Break the connection, with a reset."""
        if self._transport is not None and not self.is_lost:
            with contextlib.suppress(OSError):
                connection = cast(socket.socket, self._transport.get_extra_info("socket"))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABRUPTLY)
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()
        self._transport.set_write_buffer_limits(high=BUFFER_BYTES_MAX)
        with contextlib.suppress(OSError):  # it is gone already
            connection = cast(socket.socket, transport.get_extra_info("socket"))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._carrier is not None:
            peer: Target | None = transport.get_extra_info("peername")
            self.client = peer[0] if peer else "0.0.0.0"
            self._carrier.came(self)

    def data_received(self, data: bytes) -> None:
        if self._peer is not None and self._peer._transport is not None:
            self._peer._transport.write(data)
        elif self._transport is not None:
            self._early.append(data)
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._has_ended = True
        peer = self._peer
        if peer is None or peer._transport is None:
            return not self.is_lost  # it may still want to hear an answer
        if peer._has_ended:
            peer._transport.close()  # both halves have ended; what is left is sent first
            return False
        peer._transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self._peer is not None and self._peer._transport is not None and not self._peer.is_lost:
            self._peer._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._peer is not None and self._peer._transport is not None and not self._peer.is_lost:
            self._peer._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._carrier is not None:
            self._carrier.left(self)
        peer, self._peer = self._peer, None
        if peer is None or peer.is_lost or peer._transport is None:
            return
        if exc is not None or not self._has_ended:
            peer.abort()
        else:
            peer._transport.close()
