"""Drivers of kubelet plugins for tests: gRPC servers in the test's own process, on Unix sockets."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

from orchestrator.kubelet.devices.claim_driver_api import HEALTH, WATCH_HEALTH
from orchestrator.kubelet.devices.claim_driver_api import MESSAGES as CLAIMS
from orchestrator.kubelet.devices.plugin_api import MESSAGES as PLUGINS
from orchestrator.kubelet.devices.plugin_api import REGISTER
from orchestrator.kubelet.devices.pod_resources_api import MESSAGES as RESOURCES
from orchestrator.kubelet.devices.pod_resources_api import SERVICE
from orchestrator.kubelet.plugins.connection import PluginConnection, SocketAddress
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
    await asyncio.to_thread(socket.unlink, missing_ok=True)
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


class DevicePluginService:
    """`DevicePlugin`: lists devices, and notes what it is asked."""

    def __init__(
        self,
        devices: Mapping[str, str],
        *,
        allocated: Callable[[list[str]], Mapping[str, Any]] = lambda devices: {},
        prefers: tuple[str, ...] = (),
        starts_first: bool = False,
        folder: Path,
    ) -> None:
        """`devices` are healths by id, `allocated` what a container gets for some of them; in a kubelet's `folder`."""
        self._devices = dict(devices)
        self._allocated = allocated
        self._prefers = prefers
        self._starts_first = starts_first
        self._folder = folder
        self._changed = asyncio.Event()
        self.is_refusing = False
        self.calls: queue.Queue[tuple[str, tuple[str, ...]]] = queue.Queue()
        """(method, devices), in order."""

    async def set_devices(self, devices: Mapping[str, str]) -> None:
        """From now on these are listed."""
        self._devices = dict(devices)
        self._changed.set()

    async def register(self, endpoint: str, resource: str, *, version: str = "v1beta1") -> None:
        """Call the kubelet; PluginError."""
        connection = PluginConnection(self._folder / "kubelet.sock")
        request = PLUGINS["RegisterRequest"](version=version, endpoint=endpoint, resource_name=resource)
        try:
            await connection.call(REGISTER, request, PLUGINS["Empty"])
        finally:
            connection.close()

    def service(self) -> Service:
        """Serves v1beta1."""
        package = "/v1beta1.DevicePlugin"
        methods = {
            "GetDevicePluginOptions": (self._options, "Empty", "DevicePluginOptions"),
            "GetPreferredAllocation": (self._prefer, "PreferredAllocationRequest", "PreferredAllocationResponse"),
            "Allocate": (self._allocate, "AllocateRequest", "AllocateResponse"),
            "PreStartContainer": (self._pre_start, "PreStartContainerRequest", "PreStartContainerResponse"),
        }
        served = {
            f"{package}/{name}": unary(serve, PLUGINS[request], PLUGINS[reply])
            for name, (serve, request, reply) in methods.items()
        }
        listing = Handler(self._list, Cardinality.UNARY_STREAM, PLUGINS["Empty"], PLUGINS["ListAndWatchResponse"])
        return Service({**served, f"{package}/ListAndWatch": listing})

    async def _list(self, stream: Stream[Any, Any]) -> None:
        await stream.recv_message()
        while True:
            self._changed.clear()
            devices = [PLUGINS["Device"](ID=name, health=health) for name, health in self._devices.items()]
            await stream.send_message(PLUGINS["ListAndWatchResponse"](devices=devices))
            await self._changed.wait()

    async def _options(self, _: Any) -> Any:
        return PLUGINS["DevicePluginOptions"](
            pre_start_required=self._starts_first, get_preferred_allocation_available=bool(self._prefers)
        )

    async def _prefer(self, request: Any) -> Any:
        (wanted,) = request.container_requests
        self.calls.put(("GetPreferredAllocation", tuple(wanted.available_deviceIDs)))
        answer = PLUGINS["ContainerPreferredAllocationResponse"](deviceIDs=self._prefers)
        return PLUGINS["PreferredAllocationResponse"](container_responses=[answer])

    async def _allocate(self, request: Any) -> Any:
        (wanted,) = request.container_requests
        if self.is_refusing:
            raise GRPCError(Status.INTERNAL, "the bus is down")
        self.calls.put(("Allocate", tuple(wanted.devices_ids)))
        answer = PLUGINS["ContainerAllocateResponse"](**self._allocated([*wanted.devices_ids]))
        return PLUGINS["AllocateResponse"](container_responses=[answer])

    async def _pre_start(self, request: Any) -> Any:
        self.calls.put(("PreStartContainer", tuple(request.devices_ids)))
        return PLUGINS["PreStartContainerResponse"]()


async def list_pod_resources(socket: Path, method: str = "List", **request: str) -> Any:
    """What a kubelet answers on its pod resources socket."""
    names = {
        "List": ("ListPodResourcesRequest", "ListPodResourcesResponse"),
        "Get": ("GetPodResourcesRequest", "GetPodResourcesResponse"),
        "GetAllocatableResources": ("AllocatableResourcesRequest", "AllocatableResourcesResponse"),
    }
    wanted, reply = (RESOURCES[name] for name in names[method])
    connection = PluginConnection(socket)
    try:
        return await connection.call(f"{SERVICE}/{method}", wanted(**request), reply)
    finally:
        connection.close()


class DriverProcess:
    """Drivers in a thread of their own, for tests that block while they wait."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="drivers", daemon=True)
        self._servers: dict[Path, Server] = {}

    def __enter__(self) -> DriverProcess:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for socket in [*self._servers]:
            self.stop(socket)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def serve(self, socket: Path, *services: Service) -> None:
        """Listen on a socket, also one that somebody removed."""
        socket.parent.mkdir(parents=True, exist_ok=True)
        self._servers[socket] = self.run(serve_on(socket, *services))

    def stop(self, socket: Path) -> None:
        """End one of the servers, which takes its socket along."""
        self.run(stop(self._servers.pop(socket), socket))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Have something done in the thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


class ClaimDriverService:
    """`DRAPlugin`: notes what it is asked, and answers each claim with what `prepared` says."""

    def __init__(self, prepared: Callable[[str], Mapping[str, Any]], version: str = "v1") -> None:
        """`prepared`: from a claim's name to its answer, `{"devices": [...]}` or `{"error": "..."}`."""
        self._told: asyncio.Queue[Mapping[tuple[str, str], tuple[int, str]]] = asyncio.Queue()
        self._prepared = prepared
        self._version = version
        self.calls: queue.Queue[tuple[str, str]] = queue.Queue()
        """(method, claim), in order."""

    def service(self) -> Service:
        """Serves one version."""
        package = f"/k8s.io.kubelet.pkg.apis.dra.{self._version}.DRAPlugin"
        return Service(
            {
                f"{package}/{method}": unary(
                    partial(self._answer, method), CLAIMS[f"{method}Request"], CLAIMS[f"{method}Response"]
                )
                for method in ("NodePrepareResources", "NodeUnprepareResources")
            }
        )

    def health_service(self) -> Service:
        """Serves DRAResourceHealth."""
        request, reply = HEALTH["NodeWatchResourcesRequest"], HEALTH["NodeWatchResourcesResponse"]
        return Service({WATCH_HEALTH: Handler(self._watch_health, Cardinality.UNARY_STREAM, request, reply)})

    async def tell(self, health: Mapping[tuple[str, str], tuple[int, str]]) -> None:
        """(state, message) by pool and device, to those who watch."""
        await self._told.put(health)

    async def _watch_health(self, stream: Stream[Any, Any]) -> None:
        await stream.recv_message()
        while True:
            devices = [
                HEALTH["DeviceHealth"](device={"pool_name": pool, "device_name": device}, health=state, message=message)
                for (pool, device), (state, message) in (await self._told.get()).items()
            ]
            await stream.send_message(HEALTH["NodeWatchResourcesResponse"](devices=devices))

    async def _answer(self, method: str, request: Any) -> Any:
        reply = CLAIMS[f"{method}Response"]()
        for claim in request.claims:
            answer = self._prepared(claim.name) if method == "NodePrepareResources" else {}
            reply.claims[claim.uid].CopyFrom(CLAIMS[method.replace("Resources", "ResourceResponse")](**answer))
            self.calls.put((method, claim.name))
        return reply
