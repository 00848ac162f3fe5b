"""Calls of a driver on its Unix socket, over gRPC.

Owns the connection, which is made with the first call and again after it was lost, and the form of errors. Never
knows what is called. Paths may be longer than the 107 bytes that a socket's address holds.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grpclib.client import Channel

CALL_SECONDS = 10.0
_ADDRESS_BYTES_MAX = 107


class PluginError(Exception):
    """A call failed; the text is the one that clients of gRPC written in Go show.

    `code` is the status as Go names it, such as `Unavailable`, `message` what the driver said.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"rpc error: code = {code} desc = {message}")
        self.code = code
        self.message = message


class SocketAddress:
    """A path that fits into a socket's address, for as long as this is open."""

    def __init__(self, socket: Path) -> None:
        """OSError when the folder of a long path is not there."""
        self._folder: int | None = None
        self.path = str(socket)
        if len(os.fsencode(self.path)) > _ADDRESS_BYTES_MAX:
            self._folder = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self.path = f"/proc/self/fd/{self._folder}/{socket.name}"

    def close(self) -> None:
        """Let go of the folder; idempotent."""
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None


class PluginConnection:
    """The connection to one socket."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._address: SocketAddress | None = None
        self._channel: Channel | None = None

    async def call(self, method: str, request: Any, reply: type[Any], *, seconds: float = CALL_SECONDS) -> Any:
        """The answer to one call of `/<package>.<service>/<method>`; PluginError."""
        from grpclib.client import UnaryUnaryMethod

        try:
            unary: UnaryUnaryMethod[Any, Any] = UnaryUnaryMethod(self._open(), method, type(request), reply)
            return await unary(request, timeout=seconds)
        except Exception as error:
            raise self._failed(error) from error

    async def stream(self, method: str, request: Any, reply: type[Any]) -> AsyncIterator[Any]:
        """The answers to a call that has many, until the driver ends it; PluginError."""
        from grpclib.client import UnaryStreamMethod

        try:
            unary: UnaryStreamMethod[Any, Any] = UnaryStreamMethod(self._open(), method, type(request), reply)
            async with unary.open() as stream:
                await stream.send_message(request, end=True)
                async for message in stream:
                    yield message
        except Exception as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """End the connection and what is being called; idempotent."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._address is not None:
            self._address.close()
            self._address = None

    def _open(self) -> Channel:
        from grpclib.client import Channel

        if self._channel is None:
            self._address = SocketAddress(self.socket)
            self._channel = Channel(path=self._address.path)
        return self._channel

    def _failed(self, error: Exception) -> Exception:
        """The error as callers get it; after one of the connection the next call makes a new one."""
        from google.protobuf.message import DecodeError
        from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
        from h2.exceptions import H2Error

        if isinstance(error, GRPCError):
            return PluginError(_code_name(error.status.name), error.message or "")
        if isinstance(error, TimeoutError):
            return PluginError("DeadlineExceeded", "context deadline exceeded")
        if isinstance(error, OSError):
            self.close()
            why = error.strerror or str(error)
            return PluginError("Unavailable", f'connection error: desc = "dial unix {self.socket}: {why.lower()}"')
        if isinstance(error, (ProtocolError, StreamTerminatedError, H2Error)):
            self.close()
            return PluginError("Unavailable", f"error reading from server: {error}")
        if isinstance(error, DecodeError):
            return PluginError("Internal", f"grpc: failed to unmarshal the received message: {error}")
        return error


def _code_name(status: str) -> str:
    """`INVALID_ARGUMENT` as Go writes it."""
    return "Canceled" if status == "CANCELLED" else "".join(word.capitalize() for word in status.split("_"))
