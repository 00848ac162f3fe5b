"""The listener of the proxy's own pages on a loopback port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator.proxy import listener
from orchestrator.proxy.listener import Asked, NodeListener, Response, parse_request

NODE = ("172.30.0.2", 10256)


def answer(asked: Asked) -> Response | None:
    return Response(f"{asked.listener[0]} {asked.path}".encode()) if asked.path != "/nobody" else None


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, int]]:
    served = NodeListener("127.0.0.1", answer, destination=lambda _: NODE)
    yield await served.open()
    served.close()


async def ask(address: tuple[str, int], head: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(head)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_a_request_is_answered_for_whom_it_was_meant(address: tuple[str, int]) -> None:
    said = await ask(address, b"GET /healthz?x=1 HTTP/1.1\r\nHost: n\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert said.endswith(b"\r\n\r\n172.30.0.2 /healthz")
    assert (await ask(address, b"HEAD /healthz HTTP/1.1\r\n\r\n")).endswith(b"Connection: close\r\n\r\n")
    assert await ask(address, b"GET /nobody HTTP/1.1\r\n\r\n") == b""


async def test_only_so_many_connections_are_held(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "CONNECTIONS_MAX", 1)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /healthz HTTP/1.1\r\n")  # its end does not come
    await writer.drain()
    assert await ask(address, b"") == b""
    writer.write(b"\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    assert (await ask(address, b"GET /healthz HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(("head", "expected"), [(b"GET /a?b HTTP/1.1\r\n", ("GET", "/a")), (b"\r\n", ("", ""))])
def test_method_and_path(head: bytes, expected: tuple[str, str]) -> None:
    assert parse_request(head) == expected
