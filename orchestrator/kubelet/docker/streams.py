"""exec, attach, logs and port-forward: byte streams between a caller and a container.

Mirrors dockershim's streaming runtime. Never decides who may open one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from orchestrator.aiokit.socket_stream import SocketStream
from orchestrator.kubelet.docker.engine import DockerEngine, EngineError
from orchestrator.kubelet.docker.translate import start_failure_exit_code
from orchestrator.kubelet.runtime import ContainerStartError, LogOptions, RuntimeFailure

if TYPE_CHECKING:
    from aiodocker.stream import Stream

STDOUT, STDERR = 1, 2
EXEC_FAILURE_PREFIX = b"OCI runtime exec failed: "
EXEC_FAILURE_BYTES_MAX = 8 * 1024
EXEC_EVENT_SECONDS_MAX = 0.5
"""How long the event of an exec may come after the end of its output, before it is inspected instead."""
FRAME_HEADER = struct.Struct(">BxxxL")


class FrameDecoder:
    """Takes apart the Engine's multiplexed stream: an eight-byte header (stream, length), then the bytes.

    Bytes of an incomplete frame are handed out as they come, so nothing is held back, unless `whole` asks for that.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self._buffer = bytearray()
        self._stream = 0
        self._remaining = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """(stream, bytes) pairs in order; an empty list when more is needed."""
        self._buffer += data
        output: list[tuple[int, bytes]] = []
        position = 0
        while True:
            if self._remaining == 0:
                if len(self._buffer) - position < FRAME_HEADER.size:
                    break
                self._stream, self._remaining = FRAME_HEADER.unpack_from(self._buffer, position)
                position += FRAME_HEADER.size
                continue
            piece = bytes(self._buffer[position : position + self._remaining])
            if not piece or (self._whole and len(piece) < self._remaining):
                break
            output.append((self._stream, piece))
            position += len(piece)
            self._remaining -= len(piece)
        del self._buffer[:position]
        return output


class EngineStreamSession:
    """A `StreamSession` over a connection that the Engine handed over."""

    def __init__(
        self,
        stream: Stream,
        *,
        resize: Callable[[int, int], Awaitable[None]],
        wait: Callable[[bool], Awaitable[int]],
        is_exec: bool,
        can_end_stdin: bool = True,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        """`wait` is told whether anything was started; `closed` is called when the session is.

        Without `can_end_stdin` the end of the input is only the end of what is sent.
        """
        self._closed = closed
        self._stream = stream
        self._resize = resize
        self._wait = wait
        self._may_fail = is_exec
        self._can_end_stdin = can_end_stdin
        self._failure = b""
        self._stdin_closed = False

    async def read(self) -> tuple[int, bytes] | None:
        """The next output. An exec that could not be started ends at once; `wait` then raises the reason."""
        while True:
            try:
                message = await self._stream.read_out()
            except (ConnectionError, OSError):
                return None
            if message is None:
                return None
            data = bytes(message.data)
            if self._may_fail or self._failure:
                # A missing binary is reported by the Engine on the exec's own output.
                if self._failure or data.startswith(EXEC_FAILURE_PREFIX):
                    self._failure = (self._failure + data)[:EXEC_FAILURE_BYTES_MAX]
                    continue
                self._may_fail = False
            return (message.stream, data)

    async def write(self, data: bytes) -> None:
        """Send to stdin; what comes after the process ended is dropped, as a shell's pipe would."""
        if self._stdin_closed:
            return
        try:
            await self._stream.write_in(data)
        except (ConnectionError, OSError, RuntimeError, AssertionError):
            self._stdin_closed = True  # aiodocker asserts that the connection is still there

    async def close_stdin(self) -> None:
        if self._stdin_closed:
            return
        self._stdin_closed = True
        if not self._can_end_stdin:
            return
        response: Any = self._stream._resp
        connection = response.connection if response is not None else None
        transport = connection.transport if connection is not None else None
        if transport is not None and transport.can_write_eof() and not transport.is_closing():
            with contextlib.suppress(OSError):
                transport.write_eof()

    async def resize(self, width: int, height: int) -> None:
        await self._resize(width, height)

    async def wait(self) -> int:
        """The exit code; ContainerStartError when the command could not be executed at all."""
        code = await self._wait(not self._failure)
        if self._failure and code != 0:
            raise exec_start_error(self._failure)
        return code

    async def close(self) -> None:
        self._stdin_closed = True
        self._closed()
        response: Any = self._stream._resp
        if response is not None and response.connection is None:
            self._stream._closed = True  # the Engine closed first; aiodocker's close would assert
            response.close()
            return
        await self._stream.close()


def exec_start_error(output: bytes) -> ContainerStartError:
    message = output.decode(errors="replace").strip()
    return ContainerStartError(message, exit_code=start_failure_exit_code(message))


def log_parameters(options: LogOptions) -> dict[str, str]:
    """The query of GET /containers/{id}/logs."""
    parameters = {
        "stdout": "0" if options.stream == "Stderr" else "1",
        "stderr": "0" if options.stream == "Stdout" else "1",
        "follow": "1" if options.follow else "0",
        "timestamps": "1" if options.timestamps else "0",
        "tail": "all" if options.tail_lines is None else str(options.tail_lines),
    }
    if options.since is not None:
        parameters["since"] = f"{options.since.timestamp():.9f}"
    return parameters


class LineStamps:
    """Takes the time out of the middle of long lines.

    The Engine keeps a line of more than 16 KiB in pieces, each a frame of its own, and stamps every
    one of them; Kubernetes stamps lines.
    """

    def __init__(self) -> None:
        self._open: set[int] = set()
        """Streams whose last line has not ended yet."""

    def clean(self, stream: int, frame: bytes) -> bytes:
        """One whole frame, which begins with a time, as it should be shown."""
        shown = frame.partition(b" ")[2] if stream in self._open else frame
        if frame.endswith(b"\n"):
            self._open.discard(stream)
        else:
            self._open.add(stream)
        return shown


async def read_logs(engine: DockerEngine, container_id: str, options: LogOptions, *, tty: bool) -> AsyncIterator[bytes]:
    """The log in pieces, both streams in the order they were written; ends at `limit_bytes`."""
    remaining = options.limit_bytes
    decoder = None if tty else FrameDecoder(whole=options.timestamps)
    stamps = LineStamps()
    async with engine.stream("GET", f"containers/{container_id}/logs", params=log_parameters(options)) as response:
        async for chunk in response.content.iter_any():
            pieces: Iterable[tuple[int, bytes]] = ((STDOUT, chunk),) if decoder is None else decoder.feed(chunk)
            if options.timestamps and decoder is not None:
                pieces = ((stream, stamps.clean(stream, frame)) for stream, frame in pieces)
            data = b"".join(piece for _, piece in pieces)
            if remaining is not None:
                data = data[:remaining]
                remaining -= len(data)
            if data:
                yield data
            if remaining == 0:
                return


async def wait_exec(
    engine: DockerEngine, exec_id: str, ended: asyncio.Future[int | None], *, is_told: bool = True
) -> int:  # fmt: skip
    """The exit code of an exec, once it ended; `ended` watches it since before it started.

    Its end is an event, which needs no request; there is none (`is_told`) for a command that could not be started.
    """
    if is_told:
        await asyncio.wait((ended,), timeout=EXEC_EVENT_SECONDS_MAX)
    try:
        while not ended.done() or (code := ended.result()) is None:
            ended = engine.watch_exec(exec_id)
            state = await engine.call("GET", f"exec/{exec_id}/json")
            if not state.get("Running") and state.get("ExitCode") is not None:
                return int(state["ExitCode"])
            await asyncio.wait((ended,))
        return code
    finally:
        engine.forget_exec(exec_id)


async def wait_container(engine: DockerEngine, container_id: str) -> int:
    """The exit code of a container, once it is not running; 0 when it is gone."""
    try:
        answer = await engine.call(
            "POST", f"containers/{container_id}/wait", params={"condition": "not-running"}, seconds_max=None
        )
    except EngineError as error:
        if error.status == 404:
            return 0
        raise
    return int(answer["StatusCode"])


async def over(dialled: Awaitable[socket.socket], port: int) -> SocketStream:
    """The stream over a connection to a port of a pod, once it is made; RuntimeFailure when it is not."""
    try:
        connection = await dialled
        reader, writer = await asyncio.open_connection(sock=connection)
    except OSError as error:
        raise RuntimeFailure(f"failed to connect to localhost:{port} inside the pod: {error}") from error
    return SocketStream(reader, writer)
