"""The proxy without a packet filter, on a running cluster: what clients of its listeners meet."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import uvloop

from orchestrator.api.objects import Object
from orchestrator.api.resources import ENDPOINT_SLICES, NODES, SERVICES
from orchestrator.client.client import Client
from orchestrator.client.informer import Informers
from orchestrator.cluster.users import PROXY
from orchestrator.component import places
from orchestrator.component.places import Listener, PlaceLost
from orchestrator.proxy.topology import endpoints_of
from orchestrator.proxy.userspace.datagrams import ONE_WAY_SECONDS
from orchestrator.proxy.userspace.proxy import RETRY_SECONDS, UserspaceProxy
from orchestrator.testing import ManualClock, running_cluster

IP = "10.96.7.7"
WEB = Listener(places.SERVICES, IP, "tcp", 80)
TIME = Listener(places.SERVICES, IP, "udp", 123)
BIG = 3_000_000


class LoopbackPlaces:
    """Every place is the loopback of this machine; a socket gets any port, which is remembered."""

    def __init__(self) -> None:
        self.ports: dict[Listener, int] = {}
        self.changed = asyncio.Event()
        self.gone = asyncio.Event()
        self.taken: set[int] = set()
        self.refused = asyncio.Event()

    async def make_socket(self, place: str, kind: socket.SocketKind) -> socket.socket:
        return _Placed(self, place, kind)

    async def ready(self, place: str) -> None:
        """At once."""

    async def lost(self) -> None:
        await self.gone.wait()

    async def port(self, listener: Listener) -> tuple[str, int]:
        while listener not in self.ports:
            self.changed.clear()
            await self.changed.wait()
        return "127.0.0.1", self.ports[listener]

    async def closed(self, listener: Listener) -> None:
        while listener in self.ports:
            self.changed.clear()
            await self.changed.wait()


class _Placed(socket.socket):
    def __init__(self, owner: LoopbackPlaces, place: str, kind: socket.SocketKind) -> None:
        super().__init__(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
        self._owner, self._place = owner, place
        self._listener: Listener | None = None

    def bind(self, address: Any) -> None:
        if address[1] in self._owner.taken:
            self._owner.refused.set()
            raise OSError(errno.EADDRINUSE, "Address already in use")
        super().bind(("127.0.0.1", 0))
        protocol = "udp" if self.type == socket.SOCK_DGRAM else "tcp"
        self._listener = Listener(self._place, address[0], protocol, address[1])
        self._owner.ports[self._listener] = self.getsockname()[1]
        self._owner.changed.set()

    def close(self) -> None:
        super().close()
        self._forget()

    def detach(self) -> int:
        """How uvloop closes it."""
        self._forget()
        return super().detach()

    def _forget(self) -> None:
        if self._listener is not None:
            self._owner.ports.pop(self._listener, None)
            self._owner.changed.set()


class HostPorts:
    def __init__(self) -> None:
        self.found: dict[Listener, tuple[str, int]] = {}
        self.call: Callable[[], None] = lambda: None

    def forwards(self) -> Mapping[Listener, tuple[str, int]]:
        return self.found

    def on_change(self, call: Callable[[], None]) -> None:
        self.call = call


class Stage:
    """The proxy, and what it works with."""

    def __init__(self, client: Client, clock: ManualClock) -> None:
        self.client, self.clock = client, clock
        self.places, self.host_ports = LoopbackPlaces(), HostPorts()
        self.run: asyncio.Future[None] = asyncio.Future()

    async def serve(self, *targets: tuple[str, int], protocol: str = "TCP", port: int = 80, **spec: Any) -> None:
        """Make the Service `web` lead to these."""
        ports = [{"port": port, "protocol": protocol}]
        one = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"clusterIP": IP, "ports": ports, **spec},
        }
        await self.client.create(SERVICES, one)
        await self.lead(*targets, protocol=protocol)

    async def lead(self, *targets: tuple[str, int], protocol: str = "TCP") -> None:
        with contextlib.suppress(Exception):
            await self.client.delete(ENDPOINT_SLICES, "web-1", "default")
        for number, (address, port) in enumerate(targets, 1):
            await self.client.create(ENDPOINT_SLICES, _slice(number, address, port, protocol))


def _slice(number: int, address: str, port: int, protocol: str) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"web-{number}",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": port, "protocol": protocol}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
    }


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with running_stage() as one:
        yield one


@contextlib.asynccontextmanager
async def running_stage() -> AsyncIterator[Stage]:
    clock = ManualClock()
    async with running_cluster(nodes=0, controllers=(), scheduler=False, clock=clock) as cluster:
        informers = Informers(cluster.client(PROXY, ()), clock=clock)
        one = Stage(cluster.client(), clock)
        proxy = UserspaceProxy(informers=informers, places=one.places, clock=clock, host_ports=one.host_ports)
        one.run = asyncio.create_task(proxy.run())
        tasks = [asyncio.create_task(informers.run()), one.run]
        yield one
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(autouse=True)
def loopback_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API refuses slices with addresses of the loopback, which real endpoints never have."""

    def on_loopback(*arguments: Any) -> Any:
        found = endpoints_of(*arguments)
        return [type(one)(("127.0.0.1", one.target[1]), one.node) for one in found]

    monkeypatch.setattr("orchestrator.proxy.userspace.plan.endpoints_of", on_loopback)


@contextlib.asynccontextmanager
async def server(handle: Any) -> AsyncIterator[tuple[str, int]]:
    running = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield "192.0.2.9", running.sockets[0].getsockname()[1]
    finally:
        running.close()


async def echo_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers what it was sent, once that has ended."""
    data = await reader.read()
    writer.write(b"got " + data)
    await writer.drain()
    writer.close()


async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello\n")
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1000):
            writer.write(data)
    writer.close()


def refusing_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def test_bytes_go_both_ways_and_one_half_may_end_first(stage: Stage) -> None:
    async with server(echo_at_the_end) as target:
        await stage.serve(target)
        reader, writer = await asyncio.open_connection(*await stage.places.port(WEB))
        data = bytes(range(256)) * (BIG // 256)
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == b"got " + data
        writer.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_what_clients_send_at_once_is_not_lost(run: Callable[[Any], Any]) -> None:
    """The loop of `up` is uvloop's; the two differ in when they read."""

    async def talk(address: tuple[str, int], text: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(text)
        writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()

    async def all_talk() -> None:
        async with running_stage() as stage, server(echo_at_the_end) as target:
            await stage.serve(target)
            address = await stage.places.port(WEB)
            texts = [b"client %d" % number for number in range(50)]
            answers = await asyncio.gather(*[talk(address, text) for text in texts])
            assert answers == [b"got " + text for text in texts]

    run(all_talk())


async def test_who_reads_slowly_slows_down_who_writes(stage: Stage) -> None:
    written = 0
    is_full = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 65536)
                try:
                    async with asyncio.timeout(0.3):
                        await writer.drain()
                except TimeoutError:
                    is_full.set()
                    await writer.drain()
                written += 65536

    async with server(flood) as target:
        await stage.serve(target)
        _, writer = await asyncio.open_connection(*await stage.places.port(WEB), limit=1024)
        await asyncio.wait_for(is_full.wait(), 20)
        assert written < 64 << 20
        writer.transport.abort()


async def test_an_endpoint_that_refuses_is_passed_over(stage: Stage) -> None:
    async with server(hello) as target:
        await stage.serve(("192.0.2.8", refusing_port()), target)
        for _ in range(6):
            reader, writer = await asyncio.open_connection(*await stage.places.port(WEB))
            assert await reader.readline() == b"hello\n"
            writer.close()


async def test_a_client_that_nobody_serves_is_reset(stage: Stage) -> None:
    await stage.serve(("192.0.2.8", refusing_port()))
    reader, _ = await asyncio.open_connection(*await stage.places.port(WEB))
    with pytest.raises(ConnectionResetError):
        await reader.read()


async def test_without_endpoints_nobody_listens_but_connections_live_on(stage: Stage) -> None:
    async with server(hello) as target:
        await stage.serve(target)
        address = await stage.places.port(WEB)
        reader, writer = await asyncio.open_connection(*address)
        assert await reader.readline() == b"hello\n"
        await stage.lead()
        await stage.places.closed(WEB)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        writer.write(b"still here\n")
        assert await reader.readline() == b"still here\n"
        writer.close()


async def test_a_break_on_one_side_breaks_the_other(stage: Stage) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with server(break_off) as target:
        await stage.serve(target)
        reader, writer = await asyncio.open_connection(*await stage.places.port(WEB))
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()


class UdpEcho(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.clients: set[Any] = set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.clients.add(addr)
        self.transport.sendto(b"echo " + data, addr)


@contextlib.asynccontextmanager
async def udp_server() -> AsyncIterator[tuple[tuple[str, int], UdpEcho]]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        UdpEcho, local_addr=("127.0.0.1", 0)
    )
    try:
        yield ("192.0.2.9", transport.get_extra_info("sockname")[1]), protocol
    finally:
        transport.close()


async def ask(client: socket.socket, address: tuple[str, int], data: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    client.sendto(data, address)
    return await asyncio.wait_for(loop.sock_recv(client, 1000), 5)


async def test_udp_conversations_keep_their_endpoint_and_end_by_time(stage: Stage) -> None:
    async with udp_server() as (target, backend):
        await stage.serve(target, protocol="UDP", port=123)
        address = await stage.places.port(TIME)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as client:
            assert await ask(client, address, b"one") == b"echo one"
            assert await ask(client, address, b"two") == b"echo two"
            assert len(backend.clients) == 1
            await stage.clock.run(5 * ONE_WAY_SECONDS)
            assert await ask(client, address, b"three") == b"echo three"
            assert len(backend.clients) == 2


async def test_udp_conversations_end_with_their_endpoint(stage: Stage) -> None:
    async with udp_server() as (first, _), udp_server() as (second, backend):
        await stage.serve(first, protocol="UDP", port=123)
        address = await stage.places.port(TIME)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as client:
            assert await ask(client, address, b"one") == b"echo one"
            await stage.lead()
            await stage.places.closed(TIME)
            await stage.lead(second, protocol="UDP")
            assert await ask(client, await stage.places.port(TIME), b"two") == b"echo two"
            assert backend.clients


async def test_a_port_that_somebody_has_is_tried_again(stage: Stage) -> None:
    stage.places.taken.add(80)
    async with server(hello) as target:
        await stage.serve(target)
        await stage.places.refused.wait()
        stage.places.taken.clear()
        await stage.clock.run(RETRY_SECONDS)
        reader, writer = await asyncio.open_connection(*await stage.places.port(WEB))
        assert await reader.readline() == b"hello\n"
        writer.close()


async def test_host_ports_are_carried_too(stage: Stage) -> None:
    listener = Listener("node-1", "0.0.0.0", "tcp", 8080)
    async with server(hello) as (_, port):
        stage.host_ports.found = {listener: ("127.0.0.1", port)}
        stage.host_ports.call()
        reader, writer = await asyncio.open_connection(*await stage.places.port(listener))
        assert await reader.readline() == b"hello\n"
        writer.close()


async def test_the_proxys_own_pages_are_on_each_node(stage: Stage) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}
    status = {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}
    await stage.client.create(NODES, {**node, "status": status})
    health = await stage.places.port(Listener("node-1", "0.0.0.0", "tcp", 10256))
    assert await get(health, "/healthz") == "200 OK"
    assert await get(health, "/nothing") == "404 Not Found"
    status_page = await stage.places.port(Listener("node-1", "127.0.0.1", "tcp", 10249))
    assert await get(status_page, "/proxyMode", body=True) == "userspace"


async def get(address: tuple[str, int], path: str, *, body: bool = False) -> str:
    """The status of a page, or what it says."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, text = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return text if body else head.partition("\r\n")[0].partition(" ")[2]


async def test_a_lost_place_ends_the_proxy(stage: Stage) -> None:
    stage.places.gone.set()
    with pytest.raises(PlaceLost):
        await stage.run
