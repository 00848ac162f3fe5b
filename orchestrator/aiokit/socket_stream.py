"""A connection as a byte stream that either side can end by itself; knows nothing of Kubernetes."""

from __future__ import annotations

import asyncio
import contextlib

READ_BYTES_MAX = 64 * 1024


class SocketStream:
    """Reads and writes one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """At least one byte, or empty at the end."""
        try:
            return await self._reader.read(READ_BYTES_MAX)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        """Send; waits when the other side does not read. ConnectionResetError."""
        if self._writer.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._writer.write(data)
        await self._writer.drain()

    async def close_write(self) -> None:
        """End what is sent; the other direction goes on."""
        if self._writer.can_write_eof() and not self._writer.is_closing():
            with contextlib.suppress(OSError):
                self._writer.write_eof()

    async def close(self) -> None:
        """End both directions."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
