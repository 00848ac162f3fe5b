"""The socket on which a kubelet waits for device plugins.

Listens from the start, as plugins expect, but loads gRPC only when the first of them calls.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.kubelet.parts import DeviceFailure, Spawn
from orchestrator.kubelet.plugins.connection import PluginError, SocketAddress

SOCKET = "kubelet.sock"
STATE_FILE = "kubelet_internal_checkpoint"
"""The only file of the kubelet's that stays in the folder."""
BACKLOG = 64

Register = Callable[[str, str, str], Awaitable[None]]
"""(version, endpoint, resource); DeviceFailure, PluginError."""


class RegistrationSocket:
    """Serves `v1beta1.Registration` in a folder."""

    def __init__(self, folder: Path, *, register: Register, spawn: Spawn) -> None:
        self._folder = folder
        self._register = register
        self._spawn = spawn

    def listen(self) -> None:
        """Clear the folder of sockets, which tells plugins to register anew, and listen. OSError."""
        for path in self._folder.iterdir():
            if path.name != STATE_FILE and not path.is_dir():
                with suppress(FileNotFoundError):
                    path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        address = SocketAddress(self._folder / SOCKET)
        try:
            listener.bind(address.path)
        except OSError:
            listener.close()
            raise
        finally:
            address.close()
        listener.listen(BACKLOG)
        if self._spawn(self._serve(listener), "devices/registration") is None:
            listener.close()

    async def _serve(self, listener: socket.socket) -> None:
        """Wait for the first caller, then serve it and all others."""
        loop = asyncio.get_running_loop()
        called = asyncio.Event()
        loop.add_reader(listener.fileno(), called.set)
        try:
            await called.wait()
        except asyncio.CancelledError:
            loop.remove_reader(listener.fileno())
            listener.close()
            raise
        loop.remove_reader(listener.fileno())

        from grpclib.const import Cardinality, Handler
        from grpclib.server import Server

        from orchestrator.kubelet.devices.plugin_api import MESSAGES, REGISTER

        handler = Handler(self._answer, Cardinality.UNARY_UNARY, MESSAGES["RegisterRequest"], MESSAGES["Empty"])
        server = Server([_Service({REGISTER: handler})])
        await server.start(sock=listener)
        try:
            await server.wait_closed()
        finally:
            server.close()

    async def _answer(self, stream: Any) -> None:
        from grpclib.const import Status
        from grpclib.exceptions import GRPCError

        from orchestrator.kubelet.devices.plugin_api import MESSAGES

        request = await stream.recv_message()
        try:
            await self._register(request.version, request.endpoint, request.resource_name)
        except (DeviceFailure, PluginError) as error:
            raise GRPCError(Status.UNKNOWN, str(error)) from error
        await stream.send_message(MESSAGES["Empty"]())


class _Service:
    def __init__(self, methods: dict[str, Any]) -> None:
        self._methods = methods

    def __mapping__(self) -> dict[str, Any]:
        return self._methods
