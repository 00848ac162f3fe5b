"""Probe actions against real sockets on the loopback."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from orchestrator.aiokit.clock import SystemClock
from orchestrator.api.objects import Object
from orchestrator.kubelet.hollow import HollowRuntime
from orchestrator.kubelet.probes.actions import Outcome, RealActions, port_number
from orchestrator.kubelet.probes.grpc_health import check

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def probe(handler: Object, seconds: float = 5.0) -> tuple[Outcome, str]:
    clock = SystemClock()
    actions = RealActions(runtime=HollowRuntime(clock=clock), clock=clock)
    container = {"name": "a", "ports": [{"name": "web", "containerPort": 8080}]}
    return await actions.run({"metadata": {}, "spec": {}}, container, "c", handler, ("127.0.0.1",), seconds)


def http_server(status: str) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".encode())
        await writer.drain()

    return serve


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("200 OK", (Outcome.SUCCESS, "ok")),
        ("302 Found", (Outcome.WARNING, "Probe terminated redirects, Response body: ok")),
        ("404 Not Found", (Outcome.FAILURE, "HTTP probe failed with statuscode: 404")),
    ],
)
async def test_http(status: str, expected: tuple[Outcome, str]) -> None:
    async with serving(http_server(status)) as port:
        assert await probe({"httpGet": {"path": "/x", "port": port}}) == expected


def redirecting(target: str, asked: list[str]) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head)
        answer = "404 Not Found" if head.startswith("GET /end") else f"302 Found\r\nLocation: {target}"
        writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()

    return serve


@pytest.mark.parametrize(
    ("target", "outcome", "requests"),
    [
        ("/end", Outcome.FAILURE, 2),
        ("http://elsewhere.example/", Outcome.WARNING, 1),
        ("/again", Outcome.FAILURE, 10),
    ],
)
async def test_http_redirects_are_followed_on_the_same_host(target: str, outcome: Outcome, requests: int) -> None:
    asked: list[str] = []
    async with serving(redirecting(target, asked)) as port:
        assert (await probe({"httpGet": {"path": "/x", "port": port}}))[0] is outcome
    assert len(asked) == requests


async def test_http_headers_can_repeat_and_be_emptied() -> None:
    asked: list[str] = []
    headers = [{"name": "X", "value": "1"}, {"name": "X", "value": "2"}, {"name": "User-Agent", "value": ""}]
    async with serving(redirecting("http://elsewhere.example/", asked)) as port:
        await probe({"httpGet": {"path": "/x", "port": port, "httpHeaders": headers}})
    assert "X: 1\r\nX: 2\r\n" in asked[0]
    assert "User-Agent" not in asked[0]
    assert "Accept: */*" in asked[0]


async def test_http_that_does_not_answer_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as port:
        outcome, why = await probe({"httpGet": {"path": "/", "port": port}}, seconds=0.05)
    assert outcome is Outcome.FAILURE
    assert "context deadline exceeded" in why


async def test_tcp() -> None:
    async with serving(http_server("200 OK")) as port:
        assert await probe({"tcpSocket": {"port": port}}) == (Outcome.SUCCESS, "")
    outcome, why = await probe({"tcpSocket": {"port": port}})
    assert outcome is Outcome.FAILURE
    assert why == f"dial tcp 127.0.0.1:{port}: connect: connection refused"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def grpc_server(status: int | None, asked: list[bytes] | None = None) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(24)
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == 0 and head[4] & 1:
                break
        if asked is not None:
            asked.append(payload)
        writer.write(frame(4, 0, 0))
        if status is not None:
            writer.write(frame(1, 4, 1, b"\x88") + frame(0, 0, 1, b"\0" + struct.pack(">I", 2) + bytes([8, status])))
        writer.write(frame(1, 5, 1, b"\x88"))
        await writer.drain()
        await reader.read()

    return serve


@pytest.mark.parametrize(
    ("status", "succeeded", "why"),
    [(1, True, ""), (2, False, 'responded with "NOT_SERVING"'), (None, False, "does not implement the grpc health")],
)
async def test_grpc(status: int | None, succeeded: bool, why: str) -> None:
    async with serving(grpc_server(status)) as port:
        found = await check("127.0.0.1", port, "svc", 5.0)
    assert found[0] == succeeded
    assert why in found[1]


async def test_grpc_services_may_have_long_names() -> None:
    asked: list[bytes] = []
    async with serving(grpc_server(1, asked)) as port:
        assert await check("127.0.0.1", port, "s" * 300, 5.0) == (True, "")
    message = b"\x0a\xac\x02" + b"s" * 300
    assert asked == [b"\0" + struct.pack(">I", len(message)) + message]


@pytest.mark.parametrize(("port", "number"), [(80, 80), ("web", 8080), ("81", 81), ("no", 0)])
def test_port_numbers(port: object, number: int) -> None:
    assert port_number({"ports": [{"name": "web", "containerPort": 8080}]}, port) == number
