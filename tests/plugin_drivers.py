"""Drivers of kubelet plugins for tests: gRPC servers in the test's own process, on Unix sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from orchestrator.kubelet.plugins.connection import SocketAddress
from orchestrator.kubelet.plugins.registration import MESSAGES

Serve = Callable[[Any], Awaitable[Any]]
"""From a request to its answer."""


class Service:
    """Some methods, for a server."""

    def __init__(self, methods: Mapping[str, Handler]) -> None:
        """By `/<package>.<service>/<method>`."""
        self._methods = methods

    def __mapping__(self) -> Mapping[str, Handler]:
        return self._methods


def unary(serve: Serve, request: type[Any], reply: type[Any]) -> Handler:
    """A method with one answer."""

    async def handle(stream: Stream[Any, Any]) -> None:
        message = await stream.recv_message()
        await stream.send_message(await serve(message))

    return Handler(handle, Cardinality.UNARY_UNARY, request, reply)


async def serve_on(socket: Path, *services: Service) -> Server:
    """A server that listens; `stop` ends it."""
    server = Server(services)
    address = SocketAddress(socket)
    try:
        await server.start(path=address.path)
    finally:
        address.close()
    return server


async def stop(server: Server, socket: Path) -> None:
    """End a driver as a clean one ends, which takes its socket along."""
    await asyncio.to_thread(socket.unlink)
    server.close()
    await server.wait_closed()


class Registrar:
    """The registration of a plugin: what it says of itself, and what it was told."""

    def __init__(self, type_: str, name: str, *, endpoint: str = "", versions: tuple[str, ...] = ("v1",)) -> None:
        self.info = MESSAGES["PluginInfo"](type=type_, name=name, endpoint=endpoint, supported_versions=versions)
        self.told: asyncio.Queue[tuple[bool, str]] = asyncio.Queue()

    def service(self) -> Service:
        """Serves pluginregistration."""
        package = "/pluginregistration.Registration"
        return Service(
            {
                f"{package}/GetInfo": unary(self._get_info, MESSAGES["InfoRequest"], MESSAGES["PluginInfo"]),
                f"{package}/NotifyRegistrationStatus": unary(
                    self._notified, MESSAGES["RegistrationStatus"], MESSAGES["RegistrationStatusResponse"]
                ),
            }
        )

    async def _get_info(self, _: Any) -> Any:
        return self.info

    async def _notified(self, status: Any) -> Any:
        self.told.put_nowait((status.plugin_registered, status.error))
        return MESSAGES["RegistrationStatusResponse"]()
