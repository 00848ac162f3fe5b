"""A private socket of this process that leads to an Engine which has none here: through TLS, or through ssh.

Behind the socket an Engine looks like a local one, half-closed connections included, which asyncio's own TLS does not
have and without which the input of an exec never ends. Knows nothing of HTTP. Mirrors the Docker command line's
connection helper (`docker system dial-stdio`) and Go's `tls.Conn.CloseWrite`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult

from orchestrator.config.engines import EngineAddress

CONNECT_SECONDS_MAX = 30
PIECE_BYTES = 64 * 1024
FOLDER_PREFIX = "orchestrator-engine-"
COMPLAINT_BYTES_MAX = 2048


class Carrier(Protocol):
    """Carries the bytes of one connection to the Engine and back until both sides have ended; OSError says why not."""

    async def __call__(self, connection: socket.socket) -> None: ...


class Tunnel:
    """The socket, and the connections through it."""

    def __init__(self, carry: Carrier) -> None:
        self.failure = ""
        """Why the last connection broke; empty while none did."""
        self._carry = carry
        self._folder: Path | None = None
        self._listening: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> Path:
        """Listen; returns the path of the socket, which only this user reaches."""
        remove_abandoned(Path(tempfile.gettempdir()))
        self._folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-"))
        path = self._folder / "docker.sock"
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.setblocking(False)
        self._listening.bind(str(path))
        self._listening.listen(128)
        self._start(self._accept(self._listening), "docker-tunnel")
        return path

    async def close(self) -> None:
        """Cut every connection and take the socket away."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listening is not None:
            self._listening.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, work: Awaitable[None], name: str) -> None:
        task = asyncio.ensure_future(work)
        task.set_name(name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listening)
            self._start(self._serve(connection), "docker-tunnel-connection")

    async def _serve(self, connection: socket.socket) -> None:
        try:
            await self._carry(connection)
        except OSError as error:
            self.failure = error.strerror or str(error)
        else:
            self.failure = ""
        finally:
            connection.close()


def remove_abandoned(place: Path) -> None:
    """Take away the folders of this user's processes that were killed."""
    for folder in place.glob(f"{FOLDER_PREFIX}*-*"):
        owner = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        with contextlib.suppress(FileNotFoundError):
            if owner.isdigit() and folder.stat().st_uid == os.geteuid() and not Path(f"/proc/{owner}").exists():
                shutil.rmtree(folder)


def tunnel_to(address: EngineAddress) -> Tunnel | None:
    """The tunnel that an address needs; None for one that is reached directly. OSError: its files are not usable."""
    if address.parts.scheme == "ssh":
        return Tunnel(SshCarrier(ssh_command(address.parts)))
    if address.has_tls:
        return Tunnel(TlsCarrier(*address.endpoint, tls_context(address)))
    return None


# ---------------------------------------------------------------- ssh


def ssh_command(parts: SplitResult) -> tuple[str, ...]:
    """The command that connects its input and output with the Engine of another account or machine.

    It never asks anybody: the keys, the known hosts and everything else are those of the user's own configuration.
    """
    command = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS_MAX}", "-T"]
    if parts.username:
        command += ["-l", parts.username]
    if parts.port:
        command += ["-p", str(parts.port)]
    return (*command, "--", parts.hostname or "", "docker", "system", "dial-stdio")


class SshCarrier:
    """One process of `ssh` for each connection, which reads and writes the socket itself."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command

    async def __call__(self, connection: socket.socket) -> None:
        connection.setblocking(True)  # the process shares this setting
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=connection.fileno(),
                stdout=connection.fileno(),
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # a Ctrl-C ends us first, and we still need the Engine then
            )
        except FileNotFoundError:
            raise OSError(f"the program {self._command[0]} is not installed") from None
        connection.close()
        try:
            complaint = await _last_bytes(process.stderr)
            code = await process.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            raise
        if code:
            raise OSError(f"{self._command[0]} ended with {code}: {complaint.strip() or 'without a word'}")


async def _last_bytes(stream: asyncio.StreamReader | None) -> str:
    """Read to the end and keep what came last."""
    kept = b""
    while stream is not None and (piece := await stream.read(PIECE_BYTES)):
        kept = (kept + piece)[-COMPLAINT_BYTES_MAX:]
    return kept.decode(errors="replace")


# ---------------------------------------------------------------- TLS


def tls_context(address: EngineAddress) -> ssl.SSLContext:
    """Trusts only the given authority, and shows our certificate; OSError names the file that is wrong."""
    for file in (address.ca, address.cert, address.key):
        if not os.access(file, os.R_OK):
            raise OSError(f"{file} cannot be read")
    try:
        context = ssl.create_default_context(cafile=address.ca)
        context.load_cert_chain(address.cert, address.key)
    except ssl.SSLError as error:
        raise OSError(f"{address.ca}, {address.cert} and {address.key}: {error.reason or error}") from None
    return context


class TlsCarrier:
    """A TLS connection that can end in one direction: what was sent last is followed by `close_notify`."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        self._host, self._port = host, port
        self._context = context

    async def __call__(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                stream = await _TlsStream.connect(self._host, self._port, self._context)
        except TimeoutError:
            raise OSError(f"{self._host}:{self._port} does not answer") from None
        try:
            reader, writer = await asyncio.open_unix_connection(sock=connection)
            try:
                with contextlib.suppress(OSError):  # one side is gone, and the other one is told
                    await asyncio.gather(_copy(reader.read, stream.write, stream.end), _copy_back(stream, writer))
            finally:
                writer.transport.abort()
        finally:
            stream.abort()


async def _copy(
    read: Callable[[int], Awaitable[bytes]],
    write: Callable[[bytes], Awaitable[None]],
    end: Callable[[], Awaitable[None]],
) -> None:
    while data := await read(PIECE_BYTES):
        await write(data)
    await end()


async def _copy_back(stream: _TlsStream, writer: asyncio.StreamWriter) -> None:
    async def write(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    async def end() -> None:
        if not writer.is_closing():
            writer.write_eof()

    await _copy(stream.read, write, end)


class _TlsStream:
    """TLS over a plain connection; one task reads, one writes."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, context: ssl.SSLContext
    ) -> None:  # fmt: skip
        self._reader, self._writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    @classmethod
    async def connect(cls, host: str, port: int, context: ssl.SSLContext) -> _TlsStream:
        """Connect and shake hands; OSError."""
        reader, writer = await asyncio.open_connection(host, port)
        stream = cls(reader, writer, host, context)
        try:
            await stream._shake_hands()
        except BaseException:
            stream.abort()
            raise
        return stream

    async def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            else:
                await self._flush()
                return

    async def _flush(self) -> None:
        if self._outgoing.pending:
            self._writer.write(self._outgoing.read())
        await self._writer.drain()

    async def _fill(self) -> None:
        data = await self._reader.read(PIECE_BYTES)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def read(self, bytes_max: int) -> bytes:
        """The next bytes; empty once the peer has ended its side. OSError when it broke off."""
        while True:
            try:
                return self._tls.read(bytes_max)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    async def write(self, data: bytes) -> None:
        self._tls.write(data)
        await self._flush()

    async def end(self) -> None:
        """Nothing more is sent; what the peer still sends can be read."""
        with contextlib.suppress(ssl.SSLError):  # it waits for the peer's own end
            self._tls.unwrap()
        await self._flush()

    def abort(self) -> None:
        self._writer.transport.abort()
