"""What a listener tells of requests that end badly."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiohttp import web

from orchestrator.httpkit.connections import Connections


async def _ask(connections: Connections) -> bytes:
    """The answer to one request, until the server closes the connection."""
    server = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)
    try:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer
    finally:
        server.close()
        await connections.shutdown()


@pytest.mark.parametrize(
    ("failure", "logged"), [(ConnectionResetError("the client is gone"), []), (RuntimeError("ours"), ["ERROR"])]
)
async def test_a_client_that_goes_is_no_failure_of_ours(
    failure: Exception, logged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks_off(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"half")
        raise failure

    with caplog.at_level(logging.INFO):
        answer = await _ask(Connections(breaks_off))
    assert answer.endswith(b"half\r\n"), "the end of the body must be missing"
    assert [record.levelname for record in caplog.records] == logged
