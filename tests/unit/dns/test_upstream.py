"""Asking other servers: the right one, once, and not again while the answer holds. Real sockets on the loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.aiokit.clock import SystemClock
from orchestrator.dns.forwarding import Forwarding
from orchestrator.dns.message import (
    Rcode,
    Record,
    Type,
    address_data,
    build_query,
    build_response,
    parse_query,
    parse_response,
)
from orchestrator.dns.upstream import Upstream, UpstreamUnavailable


class Server(asyncio.DatagramProtocol):
    """Answers every question with one address; counts them."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[str] = []
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        query = parse_query(data)
        self.asked.append(query.name)
        answer = [Record(query.name, Type.A, 30, address_data(self.address))]
        self.transport.sendto(  # type: ignore[attr-defined]
            build_response(query, Rcode.NOERROR, answer, bytes_max=512), addr
        )


@pytest.fixture
async def servers() -> AsyncIterator[list[Server]]:
    loop = asyncio.get_running_loop()
    started = [Server("192.0.2.1"), Server("192.0.2.2")]
    transports = [
        (await loop.create_datagram_endpoint(lambda one=one: one, local_addr=("127.0.0.1", 0)))[0]  # type: ignore[misc]
        for one in started
    ]
    yield started
    for transport in transports:
        transport.close()


@pytest.fixture
def upstream(servers: list[Server], tmp_path: Path) -> Upstream:
    """The first server is the machine's, the second that of a stub domain."""
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.0.0.1\n")
    one = Upstream(clock=SystemClock(), resolver_file=file, port=servers[0].port)
    one.configure(Forwarding({"acme.local": (("127.0.0.1", servers[1].port),)}))
    return one


async def address(upstream: Upstream, name: str) -> str:
    (record,) = await upstream.resolve(name, Type.A)
    return ".".join(map(str, record.data))


async def test_each_name_goes_to_who_knows_it(upstream: Upstream, servers: list[Server]) -> None:
    assert await address(upstream, "example.com") == "192.0.2.1"
    assert await address(upstream, "www.acme.local") == "192.0.2.2"
    assert [one.asked for one in servers] == [["example.com"], ["www.acme.local"]]


async def test_an_answer_is_remembered_and_forgotten_with_the_configuration(
    upstream: Upstream, servers: list[Server]
) -> None:
    for _ in range(3):
        await address(upstream, "example.com")
    assert len(servers[0].asked) == 1
    upstream.configure(Forwarding(upstream=(("127.0.0.1", servers[1].port),)))
    assert await address(upstream, "example.com") == "192.0.2.2"


async def test_the_same_question_is_asked_once(upstream: Upstream, servers: list[Server]) -> None:
    await asyncio.gather(*(address(upstream, "example.com") for _ in range(20)))
    assert len(servers[0].asked) == 1


async def test_every_asker_gets_an_answer_with_its_own_identifier(upstream: Upstream) -> None:
    async def ask(identifier: int) -> int:
        answer = await upstream.forward(build_query(identifier, "example.com", Type.A), "example.com", over_tcp=False)
        return parse_response(answer).identifier

    assert await asyncio.gather(*map(ask, range(5))) == [*range(5)]


async def test_own_addresses_are_never_asked(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 10.96.0.10\n")
    upstream = Upstream(clock=SystemClock(), own_addresses=("10.96.0.10",), resolver_file=file)
    with pytest.raises(UpstreamUnavailable, match="names no resolver"):
        await upstream.resolve("example.com", Type.A)
