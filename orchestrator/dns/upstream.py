"""Asks the machine's resolvers what the cluster does not know, and remembers their answers for a while.

Mirrors CoreDNS' forward and cache plug-ins. Everything is bounded: questions on their way, tries, time, what is
remembered. A question that is on its way is not asked twice.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import cast

from msgspec import Struct

from orchestrator.aiokit.clock import Clock
from orchestrator.dns.forwarding import PORT, SERVERS_MAX, Forwarding, Server
from orchestrator.dns.message import (
    MalformedMessage,
    Rcode,
    Record,
    Response,
    Type,
    build_query,
    parse_response,
    with_age,
)

OUTSTANDING_MAX = 256
ANSWERS_MAX = 10_000
ANSWER_BYTES_MAX = 4096
"""Longer answers are not remembered."""
REMEMBER_SECONDS_MAX = 30
TRY_SECONDS = 2.0
ROUNDS = 2
RESOLVER_FILE = Path("/etc/resolv.conf")
RESOLVER_BYTES_MAX = 1 << 16

Exchange = Callable[[Server, bytes], Awaitable[bytes]]


class UpstreamUnavailable(Exception):
    """Nobody answered, or too many questions are on their way."""


class _Remembered(Struct):
    data: bytes
    response: Response
    since: float
    until: float


class Upstream:
    """The machine's resolvers, with a memory."""

    def __init__(
        self,
        *,
        clock: Clock,
        own_addresses: Sequence[str] = (),
        resolver_file: Path = RESOLVER_FILE,
        port: int = PORT,
    ) -> None:
        """`own_addresses` are never asked, so that no question goes round in a circle."""
        self._clock = clock
        self._own = frozenset(own_addresses)
        self._file = resolver_file
        self._port = port
        self._forwarding = Forwarding()
        self._servers: list[str] = []
        self._stamp: tuple[int, int] | None = None
        self._memory: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._asking: dict[tuple[bytes, bool], asyncio.Future[bytes]] = {}

    def configure(self, forwarding: Forwarding) -> None:
        """Ask these servers from now on."""
        if forwarding != self._forwarding:
            self._forwarding = forwarding
            self._memory.clear()

    async def forward(self, message: bytes, name: str, *, over_tcp: bool) -> bytes:
        """The answer to a query as it came; UpstreamUnavailable."""
        key = message[2:]
        (identifier,) = struct.unpack_from("!H", message)
        known = self._recall(key)
        if known is not None:
            age = int(self._clock.monotonic() - known.since)
            return with_age(known.data, identifier, known.response, age)
        asking = self._asking.get((key, over_tcp))
        if asking is None:
            asking = self._begin(key, over_tcp)
            try:
                asking.set_result(await self._ask(message, name, over_tcp))
            except UpstreamUnavailable as error:
                asking.set_exception(error)
            except BaseException:
                asking.set_exception(UpstreamUnavailable("the question was given up"))
                raise
            finally:
                asking.exception()  # retrieved: there may be nobody else waiting
                del self._asking[key, over_tcp]
        answer = await asyncio.shield(asking)
        return struct.pack("!H", identifier) + answer[2:]

    def _begin(self, key: bytes, over_tcp: bool) -> asyncio.Future[bytes]:
        if len(self._asking) >= OUTSTANDING_MAX:
            raise UpstreamUnavailable(f"{OUTSTANDING_MAX} questions are on their way already")
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asking[key, over_tcp] = future
        return future

    async def resolve(self, name: str, qtype: int) -> list[Record]:
        """The addresses and aliases that a name outside of the cluster leads to; UpstreamUnavailable."""
        try:
            query = build_query(0, name, qtype)
        except ValueError as error:
            raise UpstreamUnavailable(str(error)) from None
        data = await self.forward(query, name, over_tcp=False)
        response = parse_response(data)
        if response.is_truncated:
            response = parse_response(await self.forward(query, name, over_tcp=True))
        if response.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
            raise UpstreamUnavailable(f"the answer about {name} was code {response.rcode}")
        return [r for r in response.answers if r.type in (Type.CNAME, qtype)]

    async def _ask(self, message: bytes, name: str, over_tcp: bool) -> bytes:
        servers = self._servers_for(name)
        if not servers:
            raise UpstreamUnavailable(f"{self._file} names no resolver")
        exchange: Exchange = self._over_tcp if over_tcp else self._over_udp
        # An identifier of our own: guessing it must not become easier because a client chose a bad one.
        question = struct.pack("!H", secrets.randbits(16)) + message[2:]
        last = ""
        for _ in range(ROUNDS):
            for server in servers:
                try:
                    async with asyncio.timeout(TRY_SECONDS):
                        data = await exchange(server, question)
                    response = parse_response(data)
                except TimeoutError:
                    last = f"{server[0]} does not answer"
                except (OSError, MalformedMessage, asyncio.IncompleteReadError) as error:
                    last = f"{server[0]}: {error}"
                else:
                    self._remember(message[2:], data, response)
                    return data
        raise UpstreamUnavailable(last)

    async def _over_udp(self, server: Server, question: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(lambda: _Asker(question), remote_addr=server)
        try:
            return await protocol.answer
        finally:
            transport.close()

    async def _over_tcp(self, server: Server, question: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*server)
        try:
            writer.write(struct.pack("!H", len(question)) + question)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            data = await reader.readexactly(length)
        finally:
            writer.close()
        if not _is_answer(question, data):
            raise MalformedMessage("an answer to another question", None)
        return data

    def _servers_for(self, name: str) -> list[Server]:
        configured = [server for server in self._forwarding.servers_for(name) if server[0] not in self._own]
        return configured or [(server, self._port) for server in self._current_servers()]

    def _current_servers(self) -> list[str]:
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                with self._file.open("rb") as stream:
                    text = stream.read(RESOLVER_BYTES_MAX).decode(errors="replace")
                self._servers, self._stamp = self._named(text), stamp
        except OSError:
            self._servers, self._stamp = [], None
        return self._servers

    def _named(self, text: str) -> list[str]:
        words = [line.split() for line in text.splitlines()]
        servers = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
        return [server for server in servers if server not in self._own][:SERVERS_MAX]

    # Memory.

    def _recall(self, key: bytes) -> _Remembered | None:
        known = self._memory.get(key)
        if known is None:
            return None
        if known.until <= self._clock.monotonic():
            del self._memory[key]
            return None
        self._memory.move_to_end(key)
        return known

    def _remember(self, key: bytes, data: bytes, response: Response) -> None:
        seconds = seconds_to_remember(response)
        if not seconds or len(data) > ANSWER_BYTES_MAX:
            return
        now = self._clock.monotonic()
        self._memory[key] = _Remembered(data, response, now, now + seconds)
        while len(self._memory) > ANSWERS_MAX:
            self._memory.popitem(last=False)


def seconds_to_remember(response: Response) -> int:
    """How long an answer holds: the shortest time to live, for "nothing" what the SOA record says (RFC 2308)."""
    if response.is_truncated or response.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return 0
    if response.answers:
        return min(REMEMBER_SECONDS_MAX, *(record.ttl for record in response.answers))
    for record in response.authorities:
        if record.type == Type.SOA and len(record.data) >= 20:
            minimum = int.from_bytes(record.data[-4:])
            return min(REMEMBER_SECONDS_MAX, record.ttl, minimum)
    return 0


def _is_answer(question: bytes, data: bytes) -> bool:
    """Whether data answers this very question: identifier and question are the same."""
    if len(data) < 12 or data[:2] != question[:2] or not data[2] & 0x80:
        return False
    end = 12
    while end < len(question) and question[end]:
        end += 1 + question[end]
    end += 5
    return data[12:end].lower() == question[12:end].lower()


class _Asker(asyncio.DatagramProtocol):
    """One question from a port of its own; everything but the answer to it is ignored."""

    def __init__(self, question: bytes) -> None:
        self._question = question
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self._question)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        if not self.answer.done() and _is_answer(self._question, data):
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc or ConnectionResetError("the socket was closed"))
            self.answer.exception()
