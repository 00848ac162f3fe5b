"""Streams over a SPDY connection, against a client made of frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchestrator.aiokit.clock import SystemClock
from orchestrator.apiserver.http.spdy import connection as module
from orchestrator.apiserver.http.spdy.connection import (
    BUFFER_BYTES_MAX,
    DATA_FRAME_BYTES,
    INITIAL_WINDOW_BYTES,
    OUTGOING_BYTES_MAX,
    SpdyConnection,
    SpdyStream,
)
from orchestrator.apiserver.http.spdy.framing import (
    SETTINGS_INITIAL_WINDOW_SIZE,
    Data,
    Decoder,
    Encoder,
    Frame,
    GoAway,
    GoAwayStatus,
    Ping,
    ResetStatus,
    RstStream,
    Settings,
    SynReply,
    SynStream,
    WindowUpdate,
)


class Client:
    """A transport in memory, with the client's end of it."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._to_server: asyncio.Queue[bytes] = asyncio.Queue()
        self._frames: asyncio.Queue[Frame] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.is_closed = False
        self.unread = self._to_server.qsize

    async def read(self) -> bytes:
        return await self._to_server.get()

    async def write(self, data: bytes) -> None:
        await self.reads.wait()
        for frame in self._decoder.feed(data):
            self._frames.put_nowait(frame)

    async def close(self) -> None:
        self.is_closed = True

    def send(self, *frames: Frame) -> None:
        self._to_server.put_nowait(b"".join(self._encoder.encode(frame) for frame in frames))

    def send_bytes(self, data: bytes) -> None:
        self._to_server.put_nowait(data)

    def hang_up(self) -> None:
        self._to_server.put_nowait(b"")

    async def next(self) -> Frame:
        async with asyncio.timeout(5):
            return await self._frames.get()

    async def next_data(self, stream_id: int, size: int) -> bytes:
        data = b""
        while len(data) < size:
            frame = await self.next()
            assert isinstance(frame, Data)
            assert frame.stream_id == stream_id
            data += frame.data
        return data

    def has_frames(self) -> bool:
        return not self._frames.empty()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[SpdyConnection, Client]]:
    client = Client()
    async with SpdyConnection(client, clock=SystemClock()) as connection:
        yield connection, client
        client.hang_up()


async def opened(connection: SpdyConnection, client: Client, stream_id: int = 1) -> SpdyStream:
    client.send(SynStream(stream_id, {"streamtype": "data"}))
    stream = await connection.next_stream()
    assert stream is not None
    stream.accept()
    assert await client.next() == SynReply(stream_id)
    return stream


async def settle() -> None:
    """Let every task that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_bytes_go_both_ways_and_each_way_ends_by_itself() -> None:
    async with connected() as (connection, client):
        stream = await opened(connection, client)
        assert stream.headers == {"streamtype": "data"}
        client.send(Data(1, b"to "), Data(1, b"server", fin=True))
        assert [await stream.read(), await stream.read(), await stream.read()] == [b"to ", b"server", b""]
        await stream.write(b"to client")
        assert await client.next() == Data(1, b"to client")
        stream.close_write()
        assert await client.next() == Data(1, b"", fin=True)


async def test_pings_are_answered_and_answers_are_not() -> None:
    async with connected() as (_, client):
        client.send(Ping(1), Ping(2), Ping(3))
        assert [await client.next(), await client.next()] == [Ping(1), Ping(3)]


@pytest.mark.parametrize("stream_id", [2, 1])
async def test_stream_ids_are_odd_and_grow(stream_id: int) -> None:
    async with connected() as (connection, client):
        await opened(connection, client, 1)
        client.send(SynStream(stream_id))
        assert await client.next() == RstStream(stream_id, ResetStatus.PROTOCOL_ERROR)


async def test_too_many_streams_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STREAMS_MAX", 2)
    async with connected() as (connection, client):
        await opened(connection, client, 1)
        first = await opened(connection, client, 3)
        client.send(SynStream(5))
        assert await client.next() == RstStream(5, ResetStatus.REFUSED_STREAM)
        first.reset()
        assert await client.next() == RstStream(3, ResetStatus.CANCEL)
        await opened(connection, client, 7)


async def test_data_of_a_stream_that_never_was_is_answered_by_a_reset() -> None:
    async with connected() as (_, client):
        client.send(Data(9, b"x"))
        assert await client.next() == RstStream(9, ResetStatus.INVALID_STREAM)


async def test_a_reset_ends_both_directions() -> None:
    async with connected() as (connection, client):
        stream = await opened(connection, client)
        client.send(RstStream(1, ResetStatus.CANCEL))
        assert await stream.read() == b""
        assert stream.was_reset
        with pytest.raises(ConnectionResetError):
            await stream.write(b"x")


async def test_a_client_that_takes_no_part_in_flow_control_is_sent_everything() -> None:
    async with connected() as (connection, client):
        stream = await opened(connection, client)
        size = 4 * INITIAL_WINDOW_BYTES
        await stream.write(b"x" * size)
        assert await client.next_data(1, size) == b"x" * size


async def test_a_window_that_the_client_keeps_is_respected() -> None:
    async with connected() as (connection, client):
        client.send(Settings({SETTINGS_INITIAL_WINDOW_SIZE: 1000}), WindowUpdate(0, 1_000_000))
        stream = await opened(connection, client)
        writing = asyncio.create_task(stream.write(b"x" * 1500))
        assert await client.next_data(1, 1000) == b"x" * 1000
        await settle()
        assert not client.has_frames()
        client.send(WindowUpdate(1, 300))
        assert await client.next_data(1, 300) == b"x" * 300
        assert not writing.done()
        client.send(Settings({SETTINGS_INITIAL_WINDOW_SIZE: 1200}))
        assert await client.next_data(1, 200) == b"x" * 200
        await writing


async def test_what_is_read_widens_the_clients_windows() -> None:
    async with connected() as (connection, client):
        stream = await opened(connection, client)
        half = INITIAL_WINDOW_BYTES // 2
        client.send(Data(1, b"x" * half))
        assert len(await stream.read()) == half
        assert {await client.next(), await client.next()} == {WindowUpdate(0, half), WindowUpdate(1, half)}


async def test_the_connection_is_not_read_while_too_much_waits() -> None:
    async with connected() as (connection, client):
        stream = await opened(connection, client)
        for _ in range(BUFFER_BYTES_MAX // DATA_FRAME_BYTES + 1):
            client.send(Data(1, b"x" * DATA_FRAME_BYTES))
        client.send(Ping(1))
        await settle()
        assert client.unread() == 1
        stream.discard()
        frames = [await client.next() for _ in range(3)]
        assert Ping(1) in frames


async def test_a_writer_waits_for_a_client_that_does_not_read() -> None:
    async with connected() as (connection, client):
        stream = await opened(connection, client)
        client.reads.clear()
        writing = asyncio.create_task(stream.write(b"x" * (2 * OUTGOING_BYTES_MAX)))
        await settle()
        assert not writing.done()
        client.reads.set()
        await writing


async def test_a_client_that_pings_and_never_reads_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTGOING_BYTES_MAX", 100)
    monkeypatch.setattr(module, "REPLIES_BYTES_MAX", 100)
    async with connected() as (connection, client):
        client.reads.clear()
        client.send(*[Ping(1)] * 50)
        assert await connection.next_stream() is None
        assert connection.is_closed


async def test_the_end_of_the_connection_ends_every_stream() -> None:
    async with connected() as (connection, client):
        stream = await opened(connection, client)
        client.send(Data(1, b"last"))
        client.hang_up()
        assert [await stream.read(), await stream.read()] == [b"last", b""]
        assert await connection.next_stream() is None
        with pytest.raises(ConnectionResetError):
            await stream.write(b"x")


async def test_garbage_is_answered_by_goaway() -> None:
    async with connected() as (connection, client):
        client.send_bytes(b"\x80\x02\x00\x06\x00\x00\x00\x04" + b"\0" * 4)
        async with asyncio.timeout(5):
            assert await connection.next_stream() is None
        assert await client.next() == GoAway(0, GoAwayStatus.PROTOCOL_ERROR)


async def test_at_the_end_everything_is_sent_and_the_client_closes_first() -> None:
    client = Client()
    connection = SpdyConnection(client, clock=SystemClock())

    async def serve() -> None:
        async with connection:
            stream = await connection.next_stream()
            assert stream is not None
            stream.accept()
            await stream.write(b"the end")

    serving = asyncio.create_task(serve())
    client.send(SynStream(1))
    frames = [await client.next() for _ in range(4)]
    assert frames == [SynReply(1), Data(1, b"the end"), Data(1, b"", fin=True), GoAway(1, GoAwayStatus.OK)]
    await settle()
    assert not client.is_closed
    client.hang_up()
    await serving
    assert client.is_closed
