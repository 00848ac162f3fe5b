"""exec and attach as clients speak them: SPDY/3.1 with a stream each, or WebSocket with numbered channels.

Owns the negotiation of the protocol's version, and moves bytes between a client and a `StreamSession`
with back-pressure both ways. Never decides who may do so. Mirrors the kubelet's remote command server
(`remotecommand` v1 to v5, KEP-4006).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

import orjson
from aiohttp import WSMsgType, web
from msgspec import Struct

from orchestrator.aiokit.clock import Clock
from orchestrator.aiokit.time_limit import time_limit
from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.apiserver.http.request import HttpRequest
from orchestrator.apiserver.http.spdy.connection import SpdyConnection, SpdyStream
from orchestrator.apiserver.request import is_true
from orchestrator.component.kubelet_api import StreamSession
from orchestrator.httpkit.byte_connection import UpgradedConnection
from orchestrator.httpkit.connections import ClientGone

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
SPDY_PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
WEBSOCKET_PROTOCOLS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
)
PROTOCOL_HEADER = "X-Stream-Protocol-Version"
ACCEPTED_HEADER = "X-Accepted-Stream-Protocol-Versions"
MESSAGE_BYTES_MAX = 32 * 1024 * 1024
"""Of one WebSocket message, as kube-apiserver's library lets them be; the C# client sends 15 MiB at a time."""
OUTPUT_CHUNK = 32 * 1024
RESIZE_BYTES_MAX = 4 * 1024
STREAMS_SECONDS_MAX = 30.0
"""How long a client may take to open all of its streams."""


class Wanted(Struct, frozen=True):
    """Which streams a client wants (`PodExecOptions`, `PodAttachOptions`)."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    @classmethod
    def of(cls, request: HttpRequest) -> Wanted:
        """From the URL; a terminal has no stderr of its own. BadRequest when nothing is wanted."""
        query = request.query
        tty = is_true(query.get("tty"))
        wanted = cls(
            stdin=is_true(query.get("stdin")),
            stdout=is_true(query.get("stdout")),
            stderr=is_true(query.get("stderr")) and not tty,
            tty=tty,
        )
        if not (wanted.stdin or wanted.stdout or wanted.stderr):
            raise errors.BadRequest("you must specify at least 1 of stdin, stdout, stderr")
        return wanted


# Negotiation.


def is_websocket(request: HttpRequest) -> bool:
    """Whether the client asks to upgrade to WebSocket."""
    return _asks_upgrade(request) and request.header("Upgrade").strip().lower() == "websocket"


def is_spdy(request: HttpRequest) -> bool:
    """Whether the client asks to upgrade to SPDY/3.1."""
    return _asks_upgrade(request) and request.header("Upgrade").strip().lower() == "spdy/3.1"


def _asks_upgrade(request: HttpRequest) -> bool:
    return "upgrade" in request.header("Connection").lower()


def offered_protocols(request: HttpRequest) -> list[str]:
    """The client's sub-protocols in its order of preference; both ways of repeating a header are accepted."""
    name = "Sec-WebSocket-Protocol" if is_websocket(request) else PROTOCOL_HEADER
    values = request.raw.headers.getall(name, [])
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def negotiate_protocol(offered: Sequence[str], served: Sequence[str]) -> str | None:
    """The first that both know; empty when the client named none, None when they have none in common."""
    if not offered:
        return ""
    return next((protocol for protocol in offered if protocol in served), None)


def no_common_protocol(offered: Sequence[str], served: Sequence[str]) -> web.Response:
    """403: client and server have no version in common."""
    text = (
        f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(offered)}], "
        f"server accepts [{' '.join(served)}]\n"
    )
    response = web.Response(status=403, text=text, content_type="text/plain")
    for protocol in served:
        response.headers.add(ACCEPTED_HEADER, protocol)
    return response


async def upgrade_to_spdy(request: HttpRequest, protocol: str) -> UpgradedConnection:
    """Answer 101 to a SPDY upgrade."""
    headers = {PROTOCOL_HEADER: protocol} if protocol else {}
    return await UpgradedConnection.accept(request.raw, "SPDY/3.1", headers)


async def upgrade_to_websocket(request: HttpRequest, served: Sequence[str]) -> web.WebSocketResponse:
    """Answer 101 to a WebSocket upgrade."""
    socket = web.WebSocketResponse(protocols=served, max_msg_size=MESSAGE_BYTES_MAX, compress=False, timeout=5.0)
    try:
        await socket.prepare(request.raw)
    except web.HTTPException as error:
        raise errors.BadRequest(f"unable to upgrade: {error.text}") from error
    return socket


async def close_in_order(socket: web.WebSocketResponse, reading: asyncio.Task[Any]) -> None:
    """Close a WebSocket from which this task reads, and wait for the client's own close.

    aiohttp waits for it only while nobody else reads; without, the client sees a connection that broke off.
    """
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    if not socket.closed:
        await socket.close()


class SessionOpener(Protocol):
    """Starts the process or connects to it, once the client has been understood."""

    def __call__(self) -> Coroutine[Any, Any, StreamSession]: ...


async def serve(
    request: HttpRequest, wanted: Wanted, opener: SessionOpener, *, clock: Clock, has_exit_code: bool
) -> web.StreamResponse:
    """Serve one exec or attach from the upgrade to its end."""
    by_websocket = is_websocket(request)
    if not by_websocket and not is_spdy(request):
        raise errors.BadRequest("Upgrade request required")
    served = WEBSOCKET_PROTOCOLS if by_websocket else SPDY_PROTOCOLS
    offered = offered_protocols(request)
    protocol = negotiate_protocol(offered, served)
    if protocol is None:
        return no_common_protocol(offered, served)
    # Opened before the upgrade, so that what cannot be opened is still an ordinary Status.
    session = await opener()
    try:
        if by_websocket:
            return await _serve_websocket(request, wanted, session, has_exit_code=has_exit_code)
        connection = await upgrade_to_spdy(request, protocol)
        await _serve_spdy(connection, wanted, session, protocol, clock, has_exit_code=has_exit_code)
        return connection.response
    finally:
        await session.close()


async def _serve_websocket(
    request: HttpRequest, wanted: Wanted, session: StreamSession, *, has_exit_code: bool
) -> web.StreamResponse:
    socket = await upgrade_to_websocket(request, WEBSOCKET_PROTOCOLS)
    client = WebSocketClient(socket, wanted, socket.ws_protocol or "")
    try:
        await client.greet()
        await _run(client, session, wanted, has_exit_code=has_exit_code)
    except ConnectionError:
        pass  # the client is gone; the process goes on, as it does behind a kubelet
    return socket


async def _serve_spdy(
    connection: UpgradedConnection,
    wanted: Wanted,
    session: StreamSession,
    protocol: str,
    clock: Clock,
    *,
    has_exit_code: bool,
) -> None:
    try:
        async with SpdyConnection(connection, clock=clock) as spdy:
            async with time_limit(clock, STREAMS_SECONDS_MAX):
                streams = await collect_streams(spdy, expected_streams(wanted, protocol))
            await _run(SpdyClient(spdy, streams, protocol), session, wanted, has_exit_code=has_exit_code)
    except (ConnectionError, TimeoutError):
        pass  # the client is gone, or never opened its streams


# The pump.


class CommandClient(Protocol):
    """The client's side of a session."""

    async def send(self, channel: int, data: bytes) -> None:
        """Output of the process, STDOUT or STDERR; waits while the client is slow."""
        ...

    async def feed(self, session: StreamSession) -> None:
        """Hand stdin and terminal sizes to the session for ever; raises ClientGone at the end of the connection."""
        ...

    async def finish(self, status: Object) -> None:
        """Send the end of all output and the status."""
        ...


async def _run(client: CommandClient, session: StreamSession, wanted: Wanted, *, has_exit_code: bool) -> None:
    feeding = asyncio.create_task(client.feed(session), name="stream/input")
    pumping = asyncio.create_task(_pump_output(client, session, wanted, has_exit_code), name="stream/output")
    try:
        await asyncio.wait((feeding, pumping), return_when=asyncio.FIRST_COMPLETED)
        if pumping.done():
            feeding.cancel()  # see `close_in_order`
            await asyncio.gather(feeding, return_exceptions=True)
            await client.finish(pumping.result())
        else:
            feeding.result()
            raise ClientGone("the client is gone")
    finally:
        feeding.cancel()
        pumping.cancel()
        await asyncio.gather(feeding, pumping, return_exceptions=True)


async def _pump_output(client: CommandClient, session: StreamSession, wanted: Wanted, has_exit_code: bool) -> Object:
    while (output := await session.read()) is not None:
        channel, data = output
        if wanted.stdout if channel == STDOUT else wanted.stderr:
            await client.send(channel, data)
    if not has_exit_code:
        return exit_status(0)
    try:
        return exit_status(await session.wait())
    except errors.ApiError as error:
        status = error.to_status()
        return {name: status[name] for name in status if name not in ("kind", "apiVersion")}  # as in `exit_status`


def exit_status(code: int) -> Object:
    """What the error channel says at the end: Success, or the exit code (v4 of the remote command protocol)."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: error executing command, exit code {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def encode_status(status: Object, protocol: str) -> bytes:
    """The status for this version: an object from v4 on, before that a message, and nothing at all for success."""
    if protocol.startswith(("v4.", "v5.")):
        return orjson.dumps(status)
    return b"" if status["status"] == "Success" else str(status.get("message", "")).encode()


async def _resize(session: StreamSession, payload: bytes) -> None:
    size = terminal_size(payload)
    if size is None:
        return
    with contextlib.suppress(errors.ApiError):  # the process has just ended: its exit code tells the client
        await session.resize(*size)


def terminal_size(payload: bytes) -> tuple[int, int] | None:
    """Width and height of a `TerminalSize`; None for anything else."""
    try:
        size = orjson.loads(payload)
        width, height = int(size["Width"]), int(size["Height"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
    return (width, height) if 0 < width < 65536 and 0 < height < 65536 else None


# WebSocket.


class WebSocketClient:
    """Channels by the first byte of each message; in the base64 versions by the first character."""

    def __init__(self, socket: web.WebSocketResponse, wanted: Wanted, protocol: str) -> None:
        self._socket = socket
        self._wanted = wanted
        self._protocol = protocol
        self._is_base64 = "base64" in protocol

    async def send(self, channel: int, data: bytes) -> None:
        for start in range(0, len(data), OUTPUT_CHUNK):
            await self._send_message(channel, data[start : start + OUTPUT_CHUNK])

    async def greet(self) -> None:
        """An empty message on the first channel that is written to: the connection stands.

        Not from v5 on: client-go, which alone speaks it, may read before it knows its channels, and then complains.
        """
        if self._protocol.startswith("v5."):
            return
        await self._send_message(STDOUT if self._wanted.stdout else STDERR if self._wanted.stderr else ERROR, b"")

    async def _send_message(self, channel: int, data: bytes) -> None:
        if self._is_base64:
            await self._socket.send_str(f"{channel}{base64.b64encode(data).decode()}")
        else:
            await self._socket.send_bytes(bytes([channel]) + data)

    async def feed(self, session: StreamSession) -> None:
        wanted = self._wanted
        async for message in self._socket:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY) or not message.data:
                continue
            channel, payload = decode_message(message.data, is_base64=self._is_base64)
            if channel == STDIN and wanted.stdin:
                await session.write(payload)
            elif channel == RESIZE and wanted.tty:
                await _resize(session, payload)
            elif channel == CLOSE and self._protocol.startswith("v5") and payload[:1] == bytes([STDIN]):
                await session.close_stdin()
        if wanted.stdin:
            await session.close_stdin()

    async def finish(self, status: Object) -> None:
        if self._socket.closed:
            return
        encoded = encode_status(status, self._protocol)
        if encoded:
            await self._send_message(ERROR, encoded)
        await self._socket.close()


def decode_message(message: bytes | str, *, is_base64: bool) -> tuple[int, bytes]:
    """Channel and payload of a WebSocket message; channel -1 when it makes no sense."""
    data = message.encode() if isinstance(message, str) else message
    if not is_base64:
        return data[0], bytes(data[1:])
    try:
        return data[0] - ord("0"), base64.b64decode(data[1:], validate=True)
    except binascii.Error:
        return -1, b""


# SPDY.


def expected_streams(wanted: Wanted, protocol: str) -> frozenset[str]:
    """The `streamtype`s that the client is going to open; terminal sizes came with v3."""
    names = {"error"}
    for name in ("stdin", "stdout", "stderr"):
        if getattr(wanted, name):
            names.add(name)
    if wanted.tty and protocol.startswith(("v3.", "v4.")):
        names.add("resize")
    return frozenset(names)


async def collect_streams(spdy: SpdyConnection, expected: frozenset[str]) -> dict[str, SpdyStream]:
    """Accept streams until all are there; ClientGone when the connection ends before."""
    streams: dict[str, SpdyStream] = {}
    while not expected <= streams.keys():
        stream = await spdy.next_stream()
        if stream is None:
            raise ClientGone("the client left before it had opened its streams")
        kind = stream.headers.get("streamtype", "")
        if kind not in expected or kind in streams:
            stream.reset()
            continue
        stream.accept()
        streams[kind] = stream
    return streams


class SpdyClient:
    """A stream each for stdin, stdout, stderr, error and resize."""

    def __init__(self, spdy: SpdyConnection, streams: dict[str, SpdyStream], protocol: str) -> None:
        self._spdy = spdy
        self._streams = streams
        self._protocol = protocol

    async def send(self, channel: int, data: bytes) -> None:
        stream = self._streams["stdout" if channel == STDOUT else "stderr"]
        try:
            await stream.write(data)
        except ConnectionResetError:
            if self._spdy.is_closed:
                raise
            # This stream alone was given up by the client: the process may go on writing.

    async def feed(self, session: StreamSession) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = []
            if "stdin" in self._streams:
                tasks.append(group.create_task(self._feed_stdin(session), name="stream/stdin"))
            if "resize" in self._streams:
                tasks.append(group.create_task(self._feed_sizes(session), name="stream/resize"))
            await self._spdy.wait_closed()
            for task in tasks:
                task.cancel()

    async def _feed_stdin(self, session: StreamSession) -> None:
        stream = self._streams["stdin"]
        while data := await stream.read():
            await session.write(data)
        await session.close_stdin()

    async def _feed_sizes(self, session: StreamSession) -> None:
        stream, buffer = self._streams["resize"], b""
        while data := await stream.read():
            *lines, buffer = (buffer + data).split(b"\n")
            if len(buffer) > RESIZE_BYTES_MAX:
                return
            for line in lines:
                await _resize(session, line)

    async def finish(self, status: Object) -> None:
        for name in ("stdin", "resize"):
            if name in self._streams:
                self._streams[name].discard()
        for name in ("stdout", "stderr"):
            if name in self._streams:
                self._streams[name].close_write()
        error = self._streams["error"]
        encoded = encode_status(status, self._protocol)
        if encoded:
            await error.write(encoded)
        error.close_write()
