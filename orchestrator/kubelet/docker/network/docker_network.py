"""The pod network as a network of Docker's: addresses from the Engine's hands, sockets from helper containers.

Owns one bridge network of the Engine's and the helper containers on it; all of it is found again by name. The Service
range belongs to one helper, the address of a node to that node's. Needs no rights on this machine but those of the
Engine's socket. Mirrors what `PodNetwork` does in the kernel; see docs/decisions/0019.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from orchestrator.aiokit.clock import Clock
from orchestrator.component.places import MACHINE, SERVICES, Listener, PlaceNotReady
from orchestrator.kubelet.docker.engine import DockerEngine, EngineError
from orchestrator.kubelet.docker.image_service import ImageService
from orchestrator.kubelet.docker.network.helper import START_SECONDS_MAX, HelpedOwnership, Helper
from orchestrator.kubelet.docker.network.plan import (
    LIBRARIES,
    DockerRanges,
    Interpreter,
    default_interface,
    helper_labels,
    helper_settings,
    network_config,
    network_name,
    parse_routes,
    plan_forwards,
    plan_ranges,
    ranges_of,
    services_address,
    subnets_of,
)
from orchestrator.kubelet.network.firewall import NetworkUnavailable
from orchestrator.kubelet.network.plan import ClusterCidrs, HostPort, bridge_name
from orchestrator.kubelet.network.pod_network import RESOLVER_FILES, NodeNetwork, nameservers, set_aside
from orchestrator.kubelet.network.reservations import Reservations
from orchestrator.kubelet.network.sandbox_network import Endpoint
from orchestrator.logs import get_logger

DIAL_SECONDS_MAX = 10.0
CONNECT_PAUSE_SECONDS = 0.01
ROUTES = Path("/proc/net/route")
MTU_DEFAULT = 1500


async def make_network(
    engine: DockerEngine, cluster_id: str, state_dir: Path, *, preferred: ClusterCidrs | None = None
) -> DockerRanges:
    """Find the cluster's network on the Engine, or make it with free ranges. NetworkUnavailable.

    The ranges are those it had before, else the preferred ones, else the first that are free; the Engine refuses what
    another network has, so two clusters never get the same.
    """
    if any("rootless" in str(option) for option in engine.info.get("SecurityOptions") or ()):
        raise NetworkUnavailable(
            "the Engine runs without root itself, and so its networks are not reachable from this machine: nodes need "
            "an Engine that runs as root"
        )
    path = state_dir / "network" / "cidrs.json"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        preferred = ClusterCidrs.from_json(json.loads(path.read_bytes()))
    networks: list[dict[str, Any]] = await engine.call("GET", "networks")
    own = next((one for one in networks if one["Name"] == network_name(cluster_id)), None)
    if own is not None:
        known = ranges_of(preferred) if preferred is not None else None
        if known is not None and [known.network] == subnets_of(own):
            return known
        await engine.call("DELETE", f"networks/{own['Id']}")
    text = await asyncio.to_thread(ROUTES.read_text)
    taken = parse_routes(text, without=bridge_name(cluster_id)) + nameservers(*RESOLVER_FILES)
    taken += [subnet for one in networks if one is not own for subnet in subnets_of(one)]
    try:
        planned = plan_ranges(taken, preferred=preferred)
    except ValueError as error:
        raise NetworkUnavailable(str(error)) from None
    for ranges in planned:
        try:
            body = network_config(cluster_id, ranges, mtu=_mtu_of(default_interface(text)))
            await engine.call("POST", "networks/create", body=json.dumps(body))
        except EngineError as error:
            if "overlap" not in str(error):
                raise NetworkUnavailable(f"the Engine makes no network: {error}") from error
            continue
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(ranges.parts.to_json()))
        os.replace(temporary, path)
        return ranges
    raise NetworkUnavailable("no free address range: every candidate overlaps a route or a network of Docker's")


async def remove_networks(engine: DockerEngine, cluster_id: str) -> None:
    """Remove the network of a cluster whose containers are gone; nothing there is fine. RuntimeFailure."""
    try:
        await engine.call("DELETE", f"networks/{network_name(cluster_id)}")
    except EngineError as error:
        if error.status != 404:
            raise


def _mtu_of(interface: str) -> int:
    try:
        return int(Path("/sys/class/net", interface, "mtu").read_text()) if interface else MTU_DEFAULT
    except (OSError, ValueError):
        return MTU_DEFAULT


def find_interpreter() -> Interpreter:
    """What this process runs with, without its environment: a helper needs the standard library only."""
    program = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    return Interpreter(
        program=program,
        prefix=os.path.realpath(sys.base_prefix),
        package=str(Path(__file__).resolve().parents[3]),
        libraries=tuple(path for path in LIBRARIES if os.path.exists(path)),
    )


class DockerNetwork:
    """The network of one cluster (`SandboxNetwork`), the places on it (`Places`) and its host ports (`HostPorts`)."""

    enters_namespaces = False

    def __init__(
        self,
        *,
        engine: DockerEngine,
        cluster_id: str,
        ranges: DockerRanges,
        nodes: Iterable[str],
        state_dir: Path,
        clock: Clock,
    ) -> None:
        self.cluster_id = cluster_id
        self.cidrs = ranges.parts
        self.ownership = HelpedOwnership(self._files_helper)
        self._engine = engine
        self._clock = clock
        self._state_dir = state_dir.resolve()
        self._folder = self._state_dir / "network" / "helpers"
        self._name = network_name(cluster_id)
        self._interpreter = find_interpreter()
        self._reservations = Reservations(state_dir / "network" / "addresses", ranges.parts)
        self._loaded = False
        self._nodes: dict[str, NodeNetwork] = {}
        self._ready = {name: asyncio.Event() for name in nodes}
        self._ensure_namespace: dict[str, Callable[[], Awaitable[str]]] = {}
        self._helpers: dict[str, Helper] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._dialers: set[str] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._listening: list[Callable[[], None]] = []
        self._log = get_logger("kubelet/network", network=self._name)

    # Life.

    async def start(self) -> None:
        if not self._loaded:
            self._loaded = True
            self._reservations.load()
        await self._helper(SERVICES)

    def helper_settings(self, node_name: str) -> Mapping[str, object] | None:
        node, folder = self._nodes[node_name], self._folder_of(node_name)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return helper_settings(
            self._interpreter,
            folder=str(folder),
            endpoint=Endpoint(self._name, node.ip),
        )

    def namespace_by(self, node_name: str, ensure: Callable[[], Awaitable[str]]) -> None:
        self._ensure_namespace[node_name] = ensure
        self._ready[node_name].set()
        self._tell()

    async def ensure_node(
        self, node_name: str, node_ip: str, pod_cidr: str, *, namespace_id: str = "", namespace_pid: int = 0
    ) -> None:
        node = NodeNetwork(node_name, node_ip, IPv4Network(pod_cidr))
        if self._nodes.get(node_name) != node:
            self._nodes[node_name] = node
            self._tell()

    async def close(self) -> None:
        """Let go of the helpers; they and the network stay."""
        for helper in self._helpers.values():
            helper.close()
        self._helpers.clear()
        for future in self._waiting:
            future.cancel()

    # Sandboxes.

    def endpoint(self, name: str, *, node_name: str, host_ports: tuple[HostPort, ...] = ()) -> Endpoint | None:
        return Endpoint(self._name, self.reserve(node_name=node_name, sandbox_id=name, host_ports=host_ports))

    def claim(self, name: str, sandbox_id: str) -> None:
        self._reservations.rename(name, sandbox_id)

    def reserve(self, *, node_name: str, sandbox_id: str, host_ports: tuple[HostPort, ...] = ()) -> str:
        node = self._nodes.get(node_name)
        return set_aside(self._reservations, node, node_name=node_name, sandbox_id=sandbox_id, host_ports=host_ports)

    async def attach(
        self,
        *,
        node_name: str,
        sandbox_id: str,
        pid: int,
        host_ports: tuple[HostPort, ...] = (),
        sysctls: Mapping[str, str] | None = None,
    ) -> str:
        address = self.reserve(node_name=node_name, sandbox_id=sandbox_id, host_ports=host_ports)
        shown = await self._engine.call("GET", f"containers/{sandbox_id}/json")
        given = ((shown["NetworkSettings"].get("Networks") or {}).get(self._name) or {}).get("IPAddress")
        if given != address:
            raise NetworkUnavailable(f"the sandbox was given the address {given or '(none)'} instead of {address}")
        if host_ports:
            self._tell()
        return address

    async def detach(self, sandbox_id: str) -> None:
        if sandbox_id in self._dialers:
            self._dialers.discard(sandbox_id)
            place = _dialer_place(sandbox_id)
            self._locks.pop(place, None)
            if (helper := self._helpers.pop(place, None)) is not None:
                helper.close()
            await self._remove_container(self._dialer_name(sandbox_id))
            await asyncio.to_thread(shutil.rmtree, self._folder_of(place), ignore_errors=True)
        reservation = self._reservations.release(sandbox_id)
        if reservation is not None and reservation.host_ports:
            self._tell()

    def addresses(self, sandbox_id: str) -> tuple[str, ...]:
        reservation = self._reservations.get(sandbox_id)
        return (str(reservation.address),) if reservation is not None else ()

    def is_attached(self, sandbox_id: str) -> bool:
        return self._reservations.get(sandbox_id) is not None

    def reserved_sandboxes(self, node_name: str) -> frozenset[str]:
        return frozenset(one.sandbox_id for one in self._reservations.all() if one.node_name == node_name)

    async def dial(
        self, sandbox_id: str, port: int, *, node_name: str, pid: int, is_host_network: bool
    ) -> socket.socket:  # fmt: skip
        """First the pod's address, where nearly all listen; its loopback takes a container in its namespace."""
        if is_host_network:
            return await self._dial_loopback(node_name, port)
        for address in self.addresses(sandbox_id):
            with contextlib.suppress(OSError, TimeoutError):
                return await _connected(_new_socket(socket.SOCK_STREAM), (address, port))
        return await self._dial_loopback(_dialer_place(sandbox_id), port)

    async def _dial_loopback(self, place: str, port: int) -> socket.socket:
        helper = await self._helper(place)
        failure: Exception | None = None
        for family, address in ((4, "127.0.0.1"), (6, "::1")):
            try:
                made = await asyncio.to_thread(partial(helper.make_socket, socket.SOCK_STREAM, family=family))
                return await _connected(made, (address, port))
            except (OSError, TimeoutError) as error:
                failure = failure or error
        raise OSError(errno.ECONNREFUSED, str(failure))

    # Host ports.

    def forwards(self) -> Mapping[Listener, tuple[str, int]]:
        nodes = [node.name for node in self._nodes.values()]
        return plan_forwards([one for one in self._reservations.all() if one.node_name in nodes])

    def on_change(self, call: Callable[[], None]) -> None:
        self._listening.append(call)

    def _tell(self) -> None:
        for call in self._listening:
            call()

    # Places.

    async def make_socket(self, place: str, kind: socket.SocketKind) -> socket.socket:
        if place == MACHINE:
            return _new_socket(kind)
        helper = await self._helper(place)
        return await asyncio.to_thread(helper.make_socket, kind)

    async def ready(self, place: str) -> None:
        if place in self._ready:
            await self._ready[place].wait()

    async def lost(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            if future in self._waiting:
                self._waiting.remove(future)

    def _has_died(self, place: str) -> None:
        if place.startswith(_DIALER):
            return  # nobody listens there; it is made anew for whoever dials again
        self._log.warning("helper.died", place=place, consequence="made anew")
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _helper(self, place: str) -> Helper:
        async with self._locks.setdefault(place, asyncio.Lock()):
            known = self._helpers.get(place)
            if known is not None and not known.is_lost:
                return known
            folder = self._folder_of(place)
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True, mode=0o700)
            await self._ensure_container(place)
            helper = self._helpers[place] = await self._connect(place, folder)
            if known is not None:
                known.close()
            helper.watch(lambda: self._has_died(place))
            return helper

    async def _connect(self, place: str, folder: Path) -> Helper:
        deadline = self._clock.monotonic() + START_SECONDS_MAX
        while True:
            try:
                return await asyncio.to_thread(Helper.connect, folder)
            except OSError as error:  # its program does not listen yet
                if self._clock.monotonic() > deadline:
                    raise NetworkUnavailable(f"the helper container of {place} does not answer: {error}") from error
            await self._clock.sleep(CONNECT_PAUSE_SECONDS)

    async def _ensure_container(self, place: str) -> None:
        folder = str(self._folder_of(place))
        if place == SERVICES:
            settings = helper_settings(
                self._interpreter,
                folder=folder,
                endpoint=Endpoint(self._name, str(services_address(self.cidrs))),
                local_range=str(self.cidrs.services),
                files_root=str(self._state_dir),
            )
            await self._ensure_helper("_".join(("orc", self.cluster_id, "services")), settings)
        elif place.startswith(_DIALER):
            sandbox_id = place.removeprefix(_DIALER)
            self._dialers.add(sandbox_id)
            settings = helper_settings(self._interpreter, folder=folder, network=f"container:{sandbox_id}")
            await self._ensure_helper(self._dialer_name(sandbox_id), settings)
        else:
            if not self._ready[place].is_set():
                raise PlaceNotReady(errno.EAGAIN, f"node {place} has not started yet")
            await self._ensure_namespace[place]()

    async def _ensure_helper(self, name: str, settings: dict[str, Any]) -> None:
        try:
            found = await self._engine.call("GET", f"containers/{name}/json")
        except EngineError as error:
            if error.status != 404:
                raise
        else:
            if found["State"]["Running"]:
                return
            await self._remove_container(name)
        await ImageService(self._engine).ensure_pause()
        body = settings | {"Labels": helper_labels(self.cluster_id)}
        await self._engine.call("POST", "containers/create", params={"name": name}, body=json.dumps(body))
        async with self._engine.changes():
            await self._engine.call("POST", f"containers/{name}/start")

    async def _remove_container(self, name: str) -> None:
        try:
            async with self._engine.changes():
                await self._engine.call("DELETE", f"containers/{name}", params={"force": "1", "v": "1"})
        except EngineError as error:
            if error.status != 404:
                raise

    def _dialer_name(self, sandbox_id: str) -> str:
        return "_".join(("orc", self.cluster_id, "dial", sandbox_id[:12]))

    def _folder_of(self, place: str) -> Path:
        return self._folder / hashlib.sha256(place.encode()).hexdigest()[:16]

    def _files_helper(self) -> Helper:
        return Helper.connect(self._folder_of(SERVICES))


_DIALER = "sandbox/"


def _dialer_place(sandbox_id: str) -> str:
    return _DIALER + sandbox_id


def _new_socket(kind: socket.SocketKind) -> socket.socket:
    return socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


async def _connected(connection: socket.socket, address: tuple[str, int]) -> socket.socket:
    try:
        async with asyncio.timeout(DIAL_SECONDS_MAX):
            await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection
