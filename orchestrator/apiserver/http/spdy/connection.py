"""Streams over one SPDY/3.1 connection, the side of the server.

Owns the streams that the client opens, what is buffered of each, flow control, pings and the end of
the connection. Knows nothing of HTTP or of what the streams carry. Mirrors apimachinery's
`httpstream/spdy`, whose own implementation takes no part in flow control: a window is therefore
respected only once the client has shown that it keeps one, and TCP's own back-pressure holds in any case.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from orchestrator.aiokit.clock import Clock
from orchestrator.apiserver.http.spdy.framing import (
    SETTINGS_INITIAL_WINDOW_SIZE,
    Data,
    Decoder,
    Encoder,
    Frame,
    FramingError,
    GoAway,
    GoAwayStatus,
    Headers,
    Ping,
    ResetStatus,
    RstStream,
    Settings,
    SynReply,
    SynStream,
    WindowUpdate,
)
from orchestrator.httpkit.byte_connection import ByteConnection
from orchestrator.logs import get_logger

INITIAL_WINDOW_BYTES = 64 * 1024
WINDOW_BYTES_MAX = 0x7FFF_FFFF
STREAMS_MAX = 4096
"""Open at once on one connection; a further one is refused."""
BUFFER_BYTES_MAX = 4 * 1024 * 1024
"""Received on all streams of a connection and not read yet; beyond it the connection is not read."""
OUTGOING_BYTES_MAX = 256 * 1024
"""Waiting to be sent before a writer has to wait."""
REPLIES_BYTES_MAX = 1024 * 1024
"""The same for frames that nobody waits for (pings); beyond it the client is one that never reads."""
DATA_FRAME_BYTES = 32 * 1024
LINGER_SECONDS_MAX = 30.0
"""How long the client may take to read the rest before its connection is closed."""


class SpdyStream:
    """One stream that the client opened. It must be accepted before anything is written to it."""

    def __init__(self, connection: SpdyConnection, stream_id: int, headers: Mapping[str, str], window: int) -> None:
        self.stream_id = stream_id
        self.headers = headers
        """Names in lower case."""
        self.was_reset = False
        self._connection = connection
        self._buffer: deque[bytes] = deque()
        self._remote_closed = False
        self._local_closed = False
        self._discards = False
        self._window = window
        self._consumed = 0
        self._changed = asyncio.Event()

    def accept(self) -> None:
        """Tell the client that the stream is served."""
        self._connection._send_soon(SynReply(self.stream_id))

    async def read(self) -> bytes:
        """The next bytes; empty at the end, be it the client's or the connection's."""
        while not self._buffer:
            if self._remote_closed:
                return b""
            self._changed.clear()
            await self._changed.wait()
        data = self._buffer.popleft()
        self._give_back(len(data))
        return data

    def discard(self) -> None:
        """Nobody reads this stream any more: drop what it still brings."""
        self._discards = True
        size = sum(map(len, self._buffer))
        self._buffer.clear()
        self._give_back(size)

    def _give_back(self, size: int) -> None:
        if not size:
            return
        self._connection._release(size)
        self._consumed += size
        if self._consumed >= INITIAL_WINDOW_BYTES // 2 and not self._remote_closed:
            self._connection._send_soon(WindowUpdate(self.stream_id, self._consumed))
            self._consumed = 0

    async def write(self, data: bytes) -> None:
        """Send; waits while the client is slow. ConnectionResetError when it is gone or has reset the stream."""
        view = memoryview(data)
        while view:
            size = min(len(view), DATA_FRAME_BYTES, await self._room())
            await self._connection._send(Data(self.stream_id, bytes(view[:size])))
            view = view[size:]

    async def _room(self) -> int:
        while True:
            if self.was_reset or self._local_closed or self._connection.is_closed:
                raise ConnectionResetError("the stream is closed")
            if not self._connection._has_flow_control:
                return DATA_FRAME_BYTES
            room = min(self._window, self._connection._window)
            if room > 0:
                return room
            self._changed.clear()
            await self._changed.wait()

    def close_write(self) -> None:
        """Nothing more comes from us (half-close)."""
        if not self._local_closed:
            self._local_closed = True
            self._connection._send_soon(Data(self.stream_id, b"", fin=True))
            self._connection._forget_if_closed(self)

    def reset(self, status: ResetStatus = ResetStatus.CANCEL) -> None:
        """End the stream in both directions, at once."""
        if not (self._local_closed and self._remote_closed):
            self._connection._send_soon(RstStream(self.stream_id, status))
            self._end(was_reset=True)

    # From the connection.

    @property
    def _is_closed(self) -> bool:
        return self._local_closed and self._remote_closed

    def _receive(self, data: bytes, *, fin: bool) -> int:
        """Returns how many bytes are held now that were not before."""
        held = 0
        if data and not self._remote_closed and not self._discards:
            self._buffer.append(data)
            held = len(data)
        if fin:
            self._remote_closed = True
        self._changed.set()
        return held

    def _end(self, *, was_reset: bool) -> None:
        self.was_reset = self.was_reset or was_reset
        self._remote_closed = self._local_closed = True
        self._changed.set()
        self._connection._forget_if_closed(self)

    def _widen(self, delta: int) -> None:
        self._window = min(self._window + delta, WINDOW_BYTES_MAX)
        self._changed.set()


class SpdyConnection:
    """Use it as `async with SpdyConnection(transport, clock=clock) as connection`."""

    def __init__(self, transport: ByteConnection, *, clock: Clock) -> None:
        self.is_closed = False
        self._transport = transport
        self._clock = clock
        self._decoder = Decoder()
        self._encoder = Encoder()
        self._streams: dict[int, SpdyStream] = {}
        self._incoming: deque[SpdyStream] = deque()
        self._last_stream_id = 0
        self._has_flow_control = False
        self._initial_window = INITIAL_WINDOW_BYTES
        self._window = INITIAL_WINDOW_BYTES
        self._consumed = 0
        self._buffered = 0
        self._is_ending = False
        self._outgoing: deque[bytes] = deque()
        self._outgoing_bytes = 0
        self._changed = asyncio.Event()
        """For the reader and for `next_stream`: a stream came, room was made, or the connection ended."""
        self._to_send = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._log = get_logger("apiserver/spdy")

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._read_frames(), name="spdy/read"),
            asyncio.create_task(self._write_frames(), name="spdy/write"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None or issubclass(kind, Exception):
                await self._finish(GoAwayStatus.OK if kind is None else GoAwayStatus.INTERNAL_ERROR)
        finally:
            self._mark_closed()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._transport.close()

    async def next_stream(self) -> SpdyStream | None:
        """The next stream that the client opens; None when the connection ended."""
        while not self._incoming:
            if self.is_closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._incoming.popleft()

    async def wait_closed(self) -> None:
        """Return when the client is gone."""
        await asyncio.wait([self._tasks[0]])

    async def _finish(self, status: GoAwayStatus) -> None:
        """Send everything, then wait until the client has read it and closes.

        client-go drops what it has received but not handed out yet when the connection closes under it.
        """
        if self.is_closed:
            return
        self._is_ending = True
        for stream in [*self._streams.values()]:
            stream.discard()
            stream.close_write()
        self._send_soon(GoAway(self._last_stream_id, status))
        timer = self._clock.call_later(LINGER_SECONDS_MAX, self._mark_closed)
        try:
            while not self.is_closed:
                self._changed.clear()
                await self._changed.wait()
        finally:
            timer.cancel()

    # Sending.

    def _send_soon(self, frame: Frame) -> None:
        """Queue a frame that nobody waits for."""
        if self.is_closed:
            return
        if self._outgoing_bytes > OUTGOING_BYTES_MAX + REPLIES_BYTES_MAX:
            self._log.warning("spdy.closed", reason="the client does not read what it asks for")
            self._mark_closed()
            return
        encoded = self._encoder.encode(frame)
        self._outgoing.append(encoded)
        self._outgoing_bytes += len(encoded)
        if self._outgoing_bytes >= OUTGOING_BYTES_MAX:
            self._has_room.clear()
        self._to_send.set()

    async def _send(self, frame: Data) -> None:
        if self.is_closed:
            raise ConnectionResetError("the connection is closed")
        self._window -= len(frame.data)
        stream = self._streams.get(frame.stream_id)
        if stream is not None:
            stream._window -= len(frame.data)
        self._send_soon(frame)
        await self._has_room.wait()

    async def _write_frames(self) -> None:
        try:
            while True:
                await self._to_send.wait()
                self._to_send.clear()
                while self._outgoing:
                    data = b"".join(self._outgoing)
                    self._outgoing.clear()
                    await self._transport.write(data)
                    self._outgoing_bytes -= len(data)
                    if self._outgoing_bytes < OUTGOING_BYTES_MAX:
                        self._has_room.set()
        except ConnectionError:
            self._mark_closed()

    # Receiving.

    async def _read_frames(self) -> None:
        try:
            while data := await self._transport.read():
                for frame in self._decoder.feed(data):
                    self._handle(frame)
                while self._buffered > BUFFER_BYTES_MAX and not self.is_closed:
                    self._changed.clear()
                    await self._changed.wait()
        except FramingError as error:
            self._log.info("spdy.closed", reason=str(error))
            self._send_soon(GoAway(self._last_stream_id, GoAwayStatus.PROTOCOL_ERROR))
        except ConnectionError:
            pass  # the same as its end
        finally:
            self._mark_closed()

    def _handle(self, frame: Frame) -> None:
        match frame:
            case Data(stream_id, data, fin):
                self._handle_data(stream_id, data, fin=fin)
            case SynStream():
                self._handle_syn_stream(frame)
            case RstStream(stream_id):
                stream = self._streams.get(stream_id)
                if stream is not None:
                    stream._end(was_reset=True)
            case Ping(ping_id):
                if ping_id % 2:  # an even one would be the answer to a ping of ours
                    self._send_soon(frame)
            case WindowUpdate(stream_id, delta):
                self._handle_window_update(stream_id, delta)
            case Settings(values):
                self._handle_settings(values)
            case Headers(stream_id, _, fin):
                stream = self._streams.get(stream_id)
                if stream is not None and fin:
                    stream._receive(b"", fin=True)
                    self._forget_if_closed(stream)
            case GoAway():
                pass  # it opens no more streams; those that are open go on
            case SynReply():
                pass  # we open none

    def _handle_syn_stream(self, frame: SynStream) -> None:
        stream_id = frame.stream_id
        if self._is_ending:
            return
        if stream_id % 2 == 0 or stream_id <= self._last_stream_id:
            self._send_soon(RstStream(stream_id, ResetStatus.PROTOCOL_ERROR))
            return
        self._last_stream_id = stream_id
        if len(self._streams) >= STREAMS_MAX:
            self._send_soon(RstStream(stream_id, ResetStatus.REFUSED_STREAM))
            return
        stream = SpdyStream(self, stream_id, frame.headers, self._initial_window)
        self._streams[stream_id] = stream
        if frame.fin:
            stream._receive(b"", fin=True)
        if frame.unidirectional:
            stream._local_closed = True
        self._incoming.append(stream)
        self._changed.set()

    def _handle_data(self, stream_id: int, data: bytes, *, fin: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            if stream_id > self._last_stream_id:
                self._send_soon(RstStream(stream_id, ResetStatus.INVALID_STREAM))
            return
        held = stream._receive(data, fin=fin)
        self._buffered += len(data)
        if held < len(data):
            self._release(len(data) - held)
        self._forget_if_closed(stream)

    def _handle_window_update(self, stream_id: int, delta: int) -> None:
        self._has_flow_control = True
        if stream_id == 0:
            self._window = min(self._window + delta, WINDOW_BYTES_MAX)
            self._wake_streams()
        elif (stream := self._streams.get(stream_id)) is not None:
            stream._widen(delta)

    def _handle_settings(self, values: Mapping[int, int]) -> None:
        size = values.get(SETTINGS_INITIAL_WINDOW_SIZE)
        if size is None:
            return
        self._has_flow_control = True
        change, self._initial_window = min(size, WINDOW_BYTES_MAX) - self._initial_window, min(size, WINDOW_BYTES_MAX)
        for stream in self._streams.values():
            stream._widen(change)

    def _release(self, size: int) -> None:
        self._buffered -= size
        self._consumed += size
        if self._consumed >= INITIAL_WINDOW_BYTES // 2:
            self._send_soon(WindowUpdate(0, self._consumed))
            self._consumed = 0
        self._changed.set()

    def _forget_if_closed(self, stream: SpdyStream) -> None:
        if stream._is_closed:
            self._streams.pop(stream.stream_id, None)

    def _wake_streams(self) -> None:
        for stream in self._streams.values():
            stream._changed.set()

    def _mark_closed(self) -> None:
        self.is_closed = True
        self._changed.set()
        self._has_room.set()
        for stream in [*self._streams.values()]:
            stream._end(was_reset=False)
