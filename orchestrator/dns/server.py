"""Listens for questions over UDP and TCP, and answers them from the zone or through upstream.

Owns the sockets and every limit on what clients can make it hold. Questions about the cluster are answered at
once, without a task; others wait in tasks for the machine's resolvers.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from typing import cast

from msgspec import Struct

from orchestrator.dns.message import (
    CLASS_IN,
    TCP_BYTES_MAX,
    MalformedMessage,
    Query,
    Rcode,
    Type,
    build_response,
    error_response,
    parse_query,
)
from orchestrator.dns.upstream import Upstream, UpstreamUnavailable
from orchestrator.dns.zone import Answer, Zone
from orchestrator.logs import get_logger

PORT = 53
_KINDS = (socket.SOCK_DGRAM, socket.SOCK_STREAM)
IP_FREEBIND = 15
TCP_CONNECTIONS_MAX = 256
TCP_IDLE_SECONDS = 10.0
FORWARDED_MAX = 1024
"""Questions of clients that wait for upstream; those beyond are answered SERVFAIL."""
UDP_BUFFER_BYTES = 4 << 20


class Ports(Struct, frozen=True):
    """Where the server listens."""

    udp: int
    tcp: int


class DnsServer:
    """Serves one zone on one address; use `open`, then `run`."""

    def __init__(self, *, zone: Zone, upstream: Upstream, address: str, port: int = PORT) -> None:
        self._zone = zone
        self._upstream = upstream
        self._address = address
        self._port = port
        self._group: asyncio.TaskGroup | None = None
        self._waiting = 0
        self._connections = 0
        self._sockets: list[socket.socket] = []
        self._log = get_logger("dns")

    def open(self) -> Ports:
        """Take the port, or any free one when another program has it; OSError."""
        flags = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        return self.open_on(*[socket.socket(socket.AF_INET, kind | flags) for kind in _KINDS])

    def open_on(self, udp: socket.socket, tcp: socket.socket) -> Ports:
        """The same with sockets that are not bound yet, and ours from now on; OSError."""
        try:
            self._bind(udp)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER_BYTES)
            self._bind(tcp)
        except BaseException:
            udp.close()
            tcp.close()
            raise
        return Ports(udp=udp.getsockname()[1], tcp=tcp.getsockname()[1])

    def _bind(self, listener: socket.socket) -> None:
        self._sockets.append(listener)
        # The address may be given to the interface only later, or be taken from it for a moment.
        listener.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        if listener.type == socket.SOCK_STREAM:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._address, self._port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            listener.bind((self._address, 0))

    def close(self) -> None:
        """Close the sockets that `run` has not taken over."""
        while self._sockets:
            self._sockets.pop().close()

    async def run(self) -> None:
        """Serve until cancelled."""
        udp, tcp = self._sockets
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _UdpListener(self), sock=udp)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                server = await asyncio.start_server(self._serve_connection, sock=tcp, limit=1 << 16)
                async with server:
                    await server.serve_forever()
        finally:
            self._group = None
            transport.close()
            self._sockets.clear()

    # One question.

    def answer_now(self, data: bytes, *, over_tcp: bool) -> tuple[bytes | None, Query | None, Answer | None]:
        """(answer, None, None) when the zone knows; (None, query, ...) when upstream must be asked.

        All None: not even an error is due. The third is what the zone knows already, for aliases.
        """
        try:
            query = parse_query(data)
        except MalformedMessage as error:
            return (None if error.rcode is None else error_response(data, error.rcode)), None, None
        bytes_max = TCP_BYTES_MAX if over_tcp else query.udp_bytes
        if query.edns_version:
            return build_response(query, Rcode.BADVERS, bytes_max=bytes_max), None, None
        if query.qclass != CLASS_IN or query.type in (Type.AXFR, Type.IXFR):
            return build_response(query, Rcode.REFUSED, bytes_max=bytes_max), None, None
        if not self._zone.is_ours(query.name):
            return None, query, None
        answer = self._zone.answer(query.name, query.type)
        if answer.alias:
            return None, query, answer
        return self._built(query, answer, bytes_max), None, None

    def _built(self, query: Query, answer: Answer, bytes_max: int) -> bytes:
        return build_response(
            query, answer.rcode, answer.answers, answer.authorities, answer.additionals, bytes_max=bytes_max
        )

    async def answer_later(self, data: bytes, query: Query, known: Answer | None, *, over_tcp: bool) -> bytes:
        """The answer to a question that leads out of the cluster."""
        bytes_max = TCP_BYTES_MAX if over_tcp else query.udp_bytes
        if self._waiting >= FORWARDED_MAX:
            return build_response(query, Rcode.SERVFAIL, bytes_max=bytes_max, is_authoritative=False)
        self._waiting += 1
        try:
            if known is None:
                return await self._upstream.forward(data, query.name, over_tcp=over_tcp)
            further = await self._upstream.resolve(known.alias, query.type)
            answer = Answer(known.rcode, [*known.answers, *further])
            return self._built(query, answer, bytes_max)
        except (UpstreamUnavailable, MalformedMessage) as error:
            self._log.debug("upstream.failed", name=query.name, error=str(error))
            answers = known.answers if known is not None else ()
            return build_response(query, Rcode.SERVFAIL, answers, bytes_max=bytes_max, is_authoritative=False)
        finally:
            self._waiting -= 1

    def later(self, transport: asyncio.DatagramTransport, address: object, data: bytes, query: Query,
              known: Answer | None) -> None:  # fmt: skip
        """Answer a datagram when upstream has answered."""
        if self._group is None:
            return

        async def answer() -> None:
            text = await self.answer_later(data, query, known, over_tcp=False)
            if not transport.is_closing():
                transport.sendto(text, address)  # type: ignore[arg-type]

        self._group.create_task(answer(), name=f"dns/forward/{query.name}")

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= TCP_CONNECTIONS_MAX:
            writer.close()
            return
        self._connections += 1
        try:
            while True:
                async with asyncio.timeout(TCP_IDLE_SECONDS):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(length)
                answer, query, known = self.answer_now(data, over_tcp=True)
                if query is not None:
                    answer = await self.answer_later(data, query, known, over_tcp=True)
                if answer is None:
                    return
                async with asyncio.timeout(TCP_IDLE_SECONDS):
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            return  # the client is done, or gone
        finally:
            self._connections -= 1
            writer.close()


class _UdpListener(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        assert self._transport is not None
        answer, query, known = self._server.answer_now(data, over_tcp=False)
        if answer is not None:
            self._transport.sendto(answer, addr)
        elif query is not None:
            self._server.later(self._transport, addr, data, query, known)
