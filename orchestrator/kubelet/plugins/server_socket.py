"""A socket of the kubelet's own, for drivers and monitors that call it over gRPC.

Listens from the start, as they expect, but loads gRPC only when the first of them calls.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.aiokit.readable import until_readable
from orchestrator.kubelet.parts import DeviceFailure, Spawn
from orchestrator.kubelet.plugins.connection import PluginError, SocketAddress

BACKLOG = 64

Answer = Callable[[Any], Awaitable[Any]]
"""From a request to its reply; DeviceFailure, PluginError."""
Methods = Mapping[str, tuple[Answer, type[Any], type[Any]]]
"""By `/<package>.<service>/<method>`: who answers, and the messages of request and reply."""


class ServerSocket:
    """Serves some methods on one socket."""

    def __init__(self, path: Path, *, methods: Callable[[], Methods], spawn: Spawn) -> None:
        """`methods` are asked for with the first call."""
        self._path = path
        self._methods = methods
        self._spawn = spawn

    def listen(self) -> None:
        """Take callers from now on, in place of whoever had the socket before. OSError."""
        with suppress(FileNotFoundError):
            self._path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        address = SocketAddress(self._path)
        try:
            listener.bind(address.path)
        except OSError:
            listener.close()
            raise
        finally:
            address.close()
        listener.listen(BACKLOG)
        if self._spawn(self._serve(listener), f"serving {self._path.parent.name}") is None:
            listener.close()

    async def _serve(self, listener: socket.socket) -> None:
        """Wait for the first caller, then serve it and all others."""
        with listener:
            await until_readable(listener.fileno())
            await self._serve_all(listener)

    async def _serve_all(self, listener: socket.socket) -> None:
        from grpclib.const import Cardinality, Handler
        from grpclib.server import Server

        handlers = {
            path: Handler(_answering(answer), Cardinality.UNARY_UNARY, request, reply)
            for path, (answer, request, reply) in self._methods().items()
        }
        server = Server([_Service(handlers)])
        await server.start(sock=listener)
        try:
            await server.wait_closed()
        finally:
            server.close()


class _Service:
    def __init__(self, handlers: Mapping[str, Any]) -> None:
        self._handlers = handlers

    def __mapping__(self) -> Mapping[str, Any]:
        return self._handlers


def _answering(answer: Answer) -> Callable[[Any], Awaitable[None]]:
    async def handle(stream: Any) -> None:
        from grpclib.const import Status
        from grpclib.exceptions import GRPCError

        request = await stream.recv_message()
        try:
            reply = await answer(request)
        except (DeviceFailure, PluginError) as error:
            raise GRPCError(Status.UNKNOWN, str(error)) from error
        await stream.send_message(reply)

    return handle
