"""Lifecycle hooks against real sockets on the loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orchestrator.aiokit.clock import SystemClock
from orchestrator.api.objects import Object
from orchestrator.kubelet.containers.hooks import RealHooks
from orchestrator.kubelet.hollow import HollowRuntime
from orchestrator.kubelet.parts import HookFailed
from tests.unit.kubelet.pods import pod

TLS_HANDSHAKE = b"\x16"


@asynccontextmanager
async def http_server(status: str, asked: list[str]) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.read(1)
        if head == TLS_HANDSHAKE:
            status_line = "HTTP/1.0 400 Bad Request"
        else:
            asked.append((head + await reader.readuntil(b"\r\n\r\n")).decode())
            status_line = f"HTTP/1.1 {status}"
        writer.write(f"{status_line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def run(handler: Object) -> list[tuple[Any, ...]]:
    """Run a hook; returns the events that it wrote."""
    events: list[tuple[Any, ...]] = []
    clock = SystemClock()
    hooks = RealHooks(runtime=HollowRuntime(clock=clock), clock=clock, tell=lambda _, *what: events.append(what))
    await hooks.run(pod(), {"name": "a"}, "c", handler, ("127.0.0.1",))
    return events


def get(port: int, **more: Any) -> Object:
    return {"httpGet": {"path": "/hook", "port": port, **more}}


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "500 Internal Server Error"])
async def test_any_answer_will_do(status: str) -> None:
    asked: list[str] = []
    async with http_server(status, asked) as port:
        assert await run(get(port)) == []
    assert asked[0].startswith("GET /hook HTTP/1.1")
    assert "User-Agent: kube-lifecycle/1.36" in asked[0]


async def test_nobody_answers() -> None:
    async with http_server("200 OK", []) as port:
        pass
    with pytest.raises(HookFailed, match=f'Get "http://127.0.0.1:{port}/hook"'):
        await run(get(port))


async def test_https_falls_back_to_http_without_credentials() -> None:
    asked: list[str] = []
    headers = [{"name": "Authorization", "value": "secret"}, {"name": "X", "value": "1"}]
    async with http_server("200 OK", asked) as port:
        events = await run(get(port, scheme="HTTPS", httpHeaders=headers))
    assert len(asked) == 1
    assert "X: 1" in asked[0]
    assert "Authorization" not in asked[0]
    message = f"request to HTTPS lifecycle hook 127.0.0.1:{port} got HTTP response, retry with HTTP succeeded"
    assert events == [("Warning", "LifecycleHTTPFallback", message)]


async def test_handlers_that_hooks_do_not_have() -> None:
    with pytest.raises(HookFailed, match="invalid handler: tcpSocket"):
        await run({"tcpSocket": {"port": 80}})


async def test_sleep() -> None:
    assert await run({"sleep": {"seconds": 0}}) == []
