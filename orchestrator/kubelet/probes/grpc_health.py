"""One call of `grpc.health.v1.Health/Check`, for gRPC probes.

Owns just enough of HTTP/2 for one unary call on one connection: no flow control beyond a few hundred
bytes, no header decoding (a served answer is recognized by its message). Mirrors pkg/probe/grpc.
"""

from __future__ import annotations

import asyncio
import struct

from orchestrator.api.protobuf.wire import chunk

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_ACK = 1
_END_STREAM, _END_HEADERS, _PADDED = 1, 4, 8
_FRAME_BYTES_MAX = 1 << 14
_ANSWER_BYTES_MAX = 4096
_SERVICE = b"\x0a"
"""The tag of `HealthCheckRequest.service`."""
_SERVING = 1
_STATUS_NAMES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


async def check(host: str, port: int, service: str, seconds: float) -> tuple[bool, str]:
    """(whether the service says SERVING, why not)."""
    address = f"{host}:{port}"
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return await _call(reader, writer, address, service)
            finally:
                writer.close()
    except TimeoutError:
        return False, f'timeout: failed to connect service "{address}" within {seconds:g}s: context deadline exceeded'
    except (OSError, asyncio.IncompleteReadError) as error:
        return False, f"error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {error}"


async def _call(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str, service: str
) -> tuple[bool, str]:
    message = chunk(_SERVICE, service.encode()) if service else b""
    headers = b"".join(
        _header(key, value)
        for key, value in (
            (":method", "POST"), (":scheme", "http"), (":path", "/grpc.health.v1.Health/Check"),
            (":authority", address), ("content-type", "application/grpc"), ("te", "trailers"),
            ("user-agent", "kube-probe/1.36"),
        )
    )  # fmt: skip
    body = b"\x00" + struct.pack(">I", len(message)) + message
    writer.write(
        _PREFACE
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, headers)
        + _frame(_DATA, _END_STREAM, 1, body)
    )
    await writer.drain()
    answer = b""
    while True:
        kind, flags, stream, payload = await _read_frame(reader)
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            writer.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _DATA and stream == 1:
            answer += payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload
            if len(answer) > _ANSWER_BYTES_MAX:
                return False, "error: health rpc failed: answer too large"
        elif kind in (_RST_STREAM, _GOAWAY):
            return False, "error: health rpc failed: the server ended the stream"
        if kind in (_DATA, _HEADERS) and stream == 1 and flags & _END_STREAM:
            break
    status = _status_of(answer)
    if status is None:
        return False, "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
    if status == _SERVING:
        return True, ""
    return False, f'service unhealthy (responded with "{_STATUS_NAMES.get(status, status)}")'


def _status_of(answer: bytes) -> int | None:
    """`HealthCheckResponse.status` of a length-prefixed message; None when there is no message."""
    if len(answer) < 5:
        return None
    message = answer[5 : 5 + struct.unpack(">I", answer[1:5])[0]]
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0


def _header(name: str, value: str) -> bytes:
    """A literal header field without indexing (RFC 7541, 6.2.2); all of ours are short."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    head = await reader.readexactly(9)
    length = int.from_bytes(head[:3], "big")
    if length > _FRAME_BYTES_MAX:
        raise OSError("frame too large")
    return head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF, await reader.readexactly(length)
