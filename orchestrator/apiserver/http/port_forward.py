"""Port-forwarding as clients speak it: SPDY/3.1, SPDY tunnelled through WebSocket, and WebSocket channels.

Owns the pairing of data and error streams and moves bytes between a client and a `PortStream`. Mirrors
the kubelet's port-forward server (`portforward.k8s.io`, KEP-4006).
"""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web
from msgspec import Struct, field

from orchestrator.aiokit.clock import Clock, TimerHandle
from orchestrator.api import errors
from orchestrator.apiserver.http.remote_command import (
    close_in_order,
    decode_message,
    is_spdy,
    is_websocket,
    negotiate_protocol,
    no_common_protocol,
    offered_protocols,
    upgrade_to_spdy,
    upgrade_to_websocket,
)
from orchestrator.apiserver.http.request import HttpRequest
from orchestrator.apiserver.http.spdy.connection import SpdyConnection, SpdyStream
from orchestrator.apiserver.http.spdy.framing import ResetStatus
from orchestrator.component.kubelet_api import PortStream
from orchestrator.httpkit.byte_connection import ByteConnection, WebSocketConnection

SPDY_PROTOCOLS = ("portforward.k8s.io",)
TUNNEL_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
WEBSOCKET_PROTOCOLS = (TUNNEL_PROTOCOL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io")
PAIR_SECONDS_MAX = 30.0
"""How long the second stream of a pair may take."""
PAIRS_WAITING_MAX = 1000
PORTS_MAX = 127
"""Channels of a WebSocket are numbered by a byte, and a port takes two."""

Dial = Callable[[int], Awaitable[PortStream]]
"""Connects to a port of the pod; raises ApiError."""


async def serve(request: HttpRequest, dial: Dial, *, target: str, clock: Clock) -> web.StreamResponse:
    """Serve one connection that forwards ports of a pod; `target` names the pod in messages."""
    by_websocket = is_websocket(request)
    if not by_websocket and not is_spdy(request):
        raise errors.BadRequest("Upgrade request required")
    served = WEBSOCKET_PROTOCOLS if by_websocket else SPDY_PROTOCOLS
    offered = offered_protocols(request)
    protocol = negotiate_protocol(offered, served)
    if protocol is None:
        return no_common_protocol(offered, served)
    if not by_websocket:
        connection = await upgrade_to_spdy(request, protocol or SPDY_PROTOCOLS[0])
        await _serve_spdy(connection, dial, target, clock)
        return connection.response
    ports = [] if protocol == TUNNEL_PROTOCOL else parse_ports(request)
    socket = await upgrade_to_websocket(request, served)
    if protocol == TUNNEL_PROTOCOL:
        await _serve_spdy(WebSocketConnection(socket), dial, target, clock)
    else:
        await ChannelForwarder(socket, ports, dial, target, is_base64="base64" in protocol).run()
    return socket


def parse_ports(request: HttpRequest) -> list[int]:
    """The ports of the URL (`ports=80&ports=81` or `ports=80,81`); BadRequest when there are none."""
    texts = [value for name, value in request.query_pairs if name in ("ports", "port")]
    if not texts:
        raise errors.BadRequest('query parameter "port" is required')
    ports = []
    for text in ",".join(texts).split(","):
        try:
            ports.append(_port(text))
        except ValueError as error:
            raise errors.BadRequest(str(error)) from None
    if len(ports) > PORTS_MAX:
        raise errors.BadRequest(f"at most {PORTS_MAX} ports can be forwarded over one connection")
    return ports


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ValueError(f'unable to parse "{text}" as a port: strconv.ParseUint: parsing "{text}": invalid syntax')
    port = int(text)
    if port < 1:
        raise ValueError(f'port "{text}" must be > 0')
    return port


def failure_message(port: int, target: str, error: Exception) -> str:
    """What the error stream says when a port cannot be reached."""
    return f"error forwarding port {port} to pod {target}: {error}"


# SPDY, plain or tunnelled.


class _Pair(Struct):
    request_id: str
    port: int
    streams: dict[str, SpdyStream] = field(default_factory=dict)
    timer: TimerHandle | None = None


async def _serve_spdy(transport: ByteConnection, dial: Dial, target: str, clock: Clock) -> None:
    async with SpdyConnection(transport, clock=clock) as spdy, asyncio.TaskGroup() as group:
        forwarder = _SpdyForwarder(dial, target, clock, group)
        tasks: set[asyncio.Task[None]] = set()
        try:
            while (stream := await spdy.next_stream()) is not None:
                pair = forwarder.add(stream)
                if pair is not None:
                    task = group.create_task(forwarder.forward(pair), name=f"port-forward/{pair.port}")
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
        finally:
            forwarder.close()
            for task in tasks:
                task.cancel()


class _SpdyForwarder:
    def __init__(self, dial: Dial, target: str, clock: Clock, group: asyncio.TaskGroup) -> None:
        self._dial = dial
        self._target = target
        self._clock = clock
        self._group = group
        self._waiting: dict[str, _Pair] = {}

    def add(self, stream: SpdyStream) -> _Pair | None:
        """A pair that is complete with this stream."""
        kind = stream.headers.get("streamtype", "")
        try:
            port = _port(stream.headers.get("port", ""))
        except ValueError:
            port = 0
        if not port or kind not in ("data", "error"):
            stream.reset(ResetStatus.REFUSED_STREAM)
            return None
        request_id = stream.headers.get("requestid", "")
        if not request_id:
            # The first clients sent none: the data stream is opened right after the error stream.
            request_id = str(stream.stream_id if kind == "error" else stream.stream_id - 2)
        pair = self._waiting.get(request_id)
        if pair is None:
            if len(self._waiting) >= PAIRS_WAITING_MAX:
                stream.reset(ResetStatus.REFUSED_STREAM)
                return None
            pair = self._waiting[request_id] = _Pair(request_id, port)
            waiting = pair
            pair.timer = self._clock.call_later(PAIR_SECONDS_MAX, lambda: self._expire(waiting))
        if kind in pair.streams or port != pair.port:
            stream.reset(ResetStatus.PROTOCOL_ERROR)
            return None
        stream.accept()
        pair.streams[kind] = stream
        if len(pair.streams) < 2:
            return None
        self._forget(pair)
        return pair

    def _forget(self, pair: _Pair) -> None:
        self._waiting.pop(pair.request_id, None)
        if pair.timer is not None:
            pair.timer.cancel()

    def _expire(self, pair: _Pair) -> None:
        self._forget(pair)
        for stream in pair.streams.values():
            stream.discard()
            stream.reset()

    def close(self) -> None:
        """The connection is over."""
        for pair in [*self._waiting.values()]:
            self._forget(pair)

    async def forward(self, pair: _Pair) -> None:
        """One forwarded connection, from dialling to its end."""
        data, error = pair.streams["data"], pair.streams["error"]
        error.discard()
        try:
            try:
                connection = await self._dial(pair.port)
            except errors.ApiError as failure:
                await error.write(failure_message(pair.port, self._target, failure).encode())
                return
            try:
                await self._pump(pair, connection)
            finally:
                await connection.close()
        except OSError:
            data.reset()  # either end broke off
        finally:
            data.discard()
            data.close_write()
            error.close_write()

    async def _pump(self, pair: _Pair, connection: PortStream) -> None:
        data, error = pair.streams["data"], pair.streams["error"]

        async def upload() -> None:
            while chunk := await data.read():
                await connection.write(chunk)
            if data.was_reset:
                raise ConnectionResetError("the client gave the connection up")
            await connection.close_write()

        uploading = asyncio.create_task(upload(), name=f"port-forward/{pair.port}/upload")
        downloading = asyncio.create_task(_download(connection, data.write), name=f"port-forward/{pair.port}/download")
        try:
            await asyncio.wait((uploading, downloading), return_when=asyncio.FIRST_COMPLETED)
            if uploading.done():
                uploading.result()
            await downloading
            # Not later: client-go waits for both of these before it closes its own side.
            data.close_write()
            error.close_write()
            await uploading
        finally:
            uploading.cancel()
            downloading.cancel()
            await asyncio.gather(uploading, downloading, return_exceptions=True)


async def _download(connection: PortStream, send: Callable[[bytes], Awaitable[None]]) -> None:
    while chunk := await connection.read():
        await send(chunk)


# WebSocket channels.


class ChannelForwarder:
    """Two channels a port, data and error; each begins with the port in two bytes, little endian."""

    def __init__(
        self, socket: web.WebSocketResponse, ports: list[int], dial: Dial, target: str, *, is_base64: bool
    ) -> None:
        self._socket = socket
        self._ports = ports
        self._dial = dial
        self._target = target
        self._is_base64 = is_base64
        self._connections: dict[int, PortStream] = {}

    async def run(self) -> None:
        """Until all ports are done or the client is gone."""
        reading: asyncio.Task[None] | None = None
        try:
            for index, port in enumerate(self._ports):
                for channel in (2 * index, 2 * index + 1):
                    await self._send(channel, struct.pack("<H", port))
            for index, port in enumerate(self._ports):
                try:
                    self._connections[index] = await self._dial(port)
                except errors.ApiError as failure:
                    await self._send(2 * index + 1, failure_message(port, self._target, failure).encode())
            reading = asyncio.create_task(self._read(), name="port-forward/websocket")
            downloads = [
                asyncio.create_task(self._serve_port(index), name=f"port-forward/{self._ports[index]}")
                for index in self._connections
            ]
            everything = asyncio.gather(*downloads, return_exceptions=True)
            try:
                await asyncio.wait((reading, everything), return_when=asyncio.FIRST_COMPLETED)
                await close_in_order(self._socket, reading)
            finally:
                for task in downloads:
                    task.cancel()
                await asyncio.gather(*downloads, return_exceptions=True)
        except ConnectionError:
            pass  # the client is gone
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            for connection in self._connections.values():
                await connection.close()

    async def _serve_port(self, index: int) -> None:
        connection = self._connections[index]
        while chunk := await connection.read():
            await self._send(2 * index, chunk)

    async def _send(self, channel: int, data: bytes) -> None:
        if self._is_base64:
            await self._socket.send_str(chr(ord("0") + channel) + base64.b64encode(data).decode())
        else:
            await self._socket.send_bytes(bytes([channel]) + data)

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY) or not message.data:
                continue
            channel, payload = decode_message(message.data, is_base64=self._is_base64)
            connection = self._connections.get(channel // 2) if channel >= 0 and channel % 2 == 0 else None
            if connection is not None and payload:
                try:
                    await connection.write(payload)
                except OSError:
                    del self._connections[channel // 2]
                    await connection.close()
