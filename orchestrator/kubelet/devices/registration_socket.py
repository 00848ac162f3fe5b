"""The socket on which a kubelet waits for device plugins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.kubelet.parts import Spawn
from orchestrator.kubelet.plugins.server_socket import Methods, ServerSocket

SOCKET = "kubelet.sock"
STATE_FILE = "kubelet_internal_checkpoint"
"""The only file of the kubelet's that stays in the folder."""

Register = Callable[[str, str, str], Awaitable[None]]
"""(version, endpoint, resource); DeviceFailure, PluginError."""


class RegistrationSocket:
    """Serves `v1beta1.Registration` in a folder."""

    def __init__(self, folder: Path, *, register: Register, spawn: Spawn) -> None:
        self._folder = folder
        self._register = register
        self._socket = ServerSocket(folder / SOCKET, methods=self._methods, spawn=spawn)

    def listen(self) -> None:
        """Clear the folder of sockets, which tells plugins to register anew, and listen. OSError."""
        for path in self._folder.iterdir():
            if path.name != STATE_FILE and not path.is_dir():
                with suppress(FileNotFoundError):
                    path.unlink()
        self._socket.listen()

    def _methods(self) -> Methods:
        from orchestrator.kubelet.devices.plugin_api import MESSAGES, REGISTER

        async def answer(request: Any) -> Any:
            await self._register(request.version, request.endpoint, request.resource_name)
            return MESSAGES["Empty"]()

        return {REGISTER: (answer, MESSAGES["RegisterRequest"], MESSAGES["Empty"])}
