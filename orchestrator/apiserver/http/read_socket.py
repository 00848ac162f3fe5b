"""A stream that is only read, over a WebSocket: logs and watches for clients that cannot stream an HTTP answer.

Owns the framing: what is sent of a log is a message, whole or in base64, and so is each event of a watch; what the
client says is ignored. Mirrors k8s.io/apimachinery/pkg/util/httpstream/wsstream (`Reader`) and the WebSocket half of
the watch handler.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterable, Coroutine, Sequence
from typing import Any

from aiohttp import web

from orchestrator.apiserver.http.remote_command import (
    close_in_order,
    negotiate_protocol,
    no_common_protocol,
    offered_protocols,
    upgrade_to_websocket,
)
from orchestrator.apiserver.http.request import HttpRequest

BINARY, BASE64 = "binary.k8s.io", "base64.binary.k8s.io"
PROTOCOLS = (BINARY, BASE64)


async def serve(request: HttpRequest, first: bytes | None, chunks: AsyncIterable[bytes]) -> web.StreamResponse:
    """Send the chunks, `first` before the others, until they end or the client is gone."""
    offered = offered_protocols(request)
    if negotiate_protocol(offered, PROTOCOLS) is None:
        return no_common_protocol(offered, PROTOCOLS)
    socket = await upgrade_to_websocket(request, PROTOCOLS)
    await send_until_closed(socket, _send_all(socket, first, chunks))
    return socket


async def serve_watch(
    request: HttpRequest, frames: AsyncIterable[Sequence[bytes]], *, is_text: bool
) -> web.StreamResponse:
    """Send each event of a watch as one message, until the watch ends or the client is gone."""
    socket = await upgrade_to_websocket(request, ())

    async def send() -> None:
        async for several in frames:
            for frame in several:
                await (socket.send_str(frame.decode()) if is_text else socket.send_bytes(frame))

    await send_until_closed(socket, send())
    return socket


async def send_until_closed(socket: web.WebSocketResponse, send: Coroutine[Any, Any, None]) -> None:
    """Run the sender to its end and close, but stop as soon as the client does."""
    sending = asyncio.create_task(send, name="stream/send")
    listening = asyncio.create_task(_until_closed(socket), name="stream/client")
    try:
        await asyncio.wait((sending, listening), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
            await close_in_order(socket, listening)
    except ConnectionError:
        pass  # the client is gone
    finally:
        for task in (sending, listening):
            task.cancel()
        await asyncio.gather(sending, listening, return_exceptions=True)


async def _send_all(socket: web.WebSocketResponse, first: bytes | None, chunks: AsyncIterable[bytes]) -> None:
    await _send(socket, b"")  # the connection stands
    if first is not None:
        await _send(socket, first)
    async for chunk in chunks:
        await _send(socket, chunk)


async def _send(socket: web.WebSocketResponse, data: bytes) -> None:
    if socket.ws_protocol == BASE64:
        await socket.send_str(base64.b64encode(data).decode())
    else:
        await socket.send_bytes(data)


async def _until_closed(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        pass
