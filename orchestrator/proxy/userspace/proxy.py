"""The component: follows Services, EndpointSlices and Nodes, and listens where their clients knock.

Changes that arrive together are planned together. Ends when a place is lost, to begin anew: the sockets in it are
of no use any more. Mirrors kube-proxy's former userspace Proxier. One proxy serves all nodes.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Mapping

from orchestrator.aiokit.clock import Clock
from orchestrator.api.endpoint_slices import SERVICE_INDEX, service_keys
from orchestrator.api.objects import Object, key_of, name_of
from orchestrator.api.resources import ENDPOINT_SLICES, NODES, SERVICES
from orchestrator.client.informer import Informers
from orchestrator.component.places import HostPorts, Listener, PlaceLost, PlaceNotReady, Places
from orchestrator.logs import get_logger
from orchestrator.proxy.health import ServiceHealth, plan_health
from orchestrator.proxy.listener import Asked, Response
from orchestrator.proxy.pages import ProxyPages
from orchestrator.proxy.topology import NodeFacts, is_leaving, node_facts
from orchestrator.proxy.userspace.carrier import Carrier
from orchestrator.proxy.userspace.choice import Chooser
from orchestrator.proxy.userspace.datagrams import DatagramCarrier
from orchestrator.proxy.userspace.own_pages import PageCarrier, plan_pages
from orchestrator.proxy.userspace.plan import Route, plan_routes
from orchestrator.proxy.userspace.streams import Connections, StreamCarrier

HOST_PORTS_KEY = "host-ports"
"""Where host ports of pods stand among Services, whose keys have a slash."""
PAGES_KEY = "pages"
RETRY_SECONDS = 10.0
"""After this a listener is tried again whose port somebody else had."""
LISTENERS_MAX = 16_384
PLANNED_AT_ONCE = 200


class UserspaceProxy:
    """Leads Service addresses, node ports and host ports to endpoints."""

    def __init__(
        self, *, informers: Informers, places: Places, clock: Clock, host_ports: HostPorts | None = None
    ) -> None:
        self._places = places
        self._host_ports = host_ports
        self._clock = clock
        self._services = informers.informer(SERVICES)
        self._slices = informers.informer(ENDPOINT_SLICES)
        self._nodes = informers.informer(NODES)
        self._chooser = Chooser(clock)
        self._connections = Connections(self._chooser)
        self._wanted = WantedRoutes()
        self._carriers: dict[Listener, Carrier] = {}
        self._refused: dict[Listener, str] = {}
        self._health = ServiceHealth()
        self._pages = ProxyPages(clock, mode="userspace")
        self._leaving: set[str] = set()
        self._facts: dict[str, NodeFacts] = {}
        self._dirty: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._log = get_logger("kube-proxy", mode="userspace")
        self._slices.add_index(SERVICE_INDEX, service_keys)
        self._services.add_handler(self._on_service)
        self._slices.add_handler(self._on_slice)
        self._nodes.add_handler(self._on_node)
        if host_ports is not None:
            host_ports.on_change(lambda: self._mark(HOST_PORTS_KEY))

    async def run(self) -> None:
        """Work until cancelled; PlaceLost."""
        for informer in (self._services, self._slices, self._nodes):
            await informer.wait_synced()
        self._mark(HOST_PORTS_KEY)
        self._mark(PAGES_KEY)
        self._mark_all()
        lost = asyncio.ensure_future(self._places.lost())
        lost.add_done_callback(lambda _: self._wake.set())
        retry = None
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if lost.done():
                    raise PlaceLost(errno.ENETDOWN, "a network namespace of the proxy is gone")
                await self._sync()
                if self._refused and retry is None:
                    retry = self._clock.call_later(RETRY_SECONDS, self._wake.set)
                elif retry is not None:
                    retry.cancel()
                    retry = self._clock.call_later(RETRY_SECONDS, self._wake.set) if self._refused else None
        finally:
            lost.cancel()
            if retry is not None:
                retry.cancel()
            self._close()

    def _close(self) -> None:
        for carrier in self._carriers.values():
            carrier.abort()
        self._connections.abort_all()
        self._carriers.clear()
        self._refused.clear()
        self._wanted = WantedRoutes()

    # What changed.

    def _on_service(self, old: Object | None, new: Object | None) -> None:
        self._mark(key_of(new if new is not None else old or {}))

    def _on_slice(self, old: Object | None, new: Object | None) -> None:
        for one in (old, new):
            for key in service_keys(one) if one is not None else ():
                self._mark(key)

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        name = name_of(new if new is not None else old or {})
        if new is not None and is_leaving(new):
            self._leaving.add(name)
        else:
            self._leaving.discard(name)
        before, after = self._facts.get(name), node_facts(new) if new is not None else None
        if before == after:
            return
        if after is None:
            self._facts.pop(name, None)
        else:
            self._facts[name] = after
        self._mark(PAGES_KEY)
        self._mark_all()

    def _mark(self, key: str) -> None:
        self._dirty[key] = None
        self._pages.queued()
        self._wake.set()

    def _mark_all(self) -> None:
        for key in (*self._wanted.keys(), *(key_of(service) for service in self._services.list())):
            self._mark(key)

    # Bringing it about.

    async def _sync(self) -> None:
        started = self._clock.monotonic()
        nodes = sorted(self._facts.values(), key=lambda node: node.name)
        changed = dict.fromkeys(self._refused)
        planned = 0
        while self._dirty:
            key = next(iter(self._dirty))
            del self._dirty[key]
            changed.update(dict.fromkeys(self._wanted.update(key, self._plan(key, nodes))))
            planned += 1
            if planned % PLANNED_AT_ONCE == 0:
                await self._clock.sleep(0)
        opening = []
        for listener in changed:
            route = self._wanted.route(listener)
            carrier = self._carriers.get(listener)
            if route is None:
                self._refused.pop(listener, None)
                if carrier is not None:
                    del self._carriers[listener]
                    carrier.close()
            elif carrier is not None:
                carrier.follow(route)
            else:
                opening.append((listener, route))
        for listener, route in opening:  # after what was closed: one may take the other's port
            await self._open(listener, route)
        if not self._dirty:
            self._pages.synced(self._clock.monotonic() - started)

    def _plan(self, key: str, nodes: list[NodeFacts]) -> Mapping[Listener, Route]:
        if key == HOST_PORTS_KEY:
            forwards = self._host_ports.forwards() if self._host_ports is not None else {}
            return {listener: Route((target,)) for listener, target in forwards.items()}
        if key == PAGES_KEY:
            return plan_pages(nodes)
        service, slices = self._services.get(key), self._slices.by_index(SERVICE_INDEX, key)
        self._health.update(key, plan_health(service, slices, nodes))
        return plan_routes(service, slices, nodes)

    def _answer(self, asked: Asked) -> Response | None:
        health = self._health.find(asked.listener)
        if health is not None:
            return health.response()
        return self._pages.answer(asked, {node.ip: node.name for node in self._facts.values()}, self._leaving)

    async def _open(self, listener: Listener, route: Route) -> None:
        try:
            if len(self._carriers) >= LISTENERS_MAX:
                raise OSError(errno.EMFILE, f"there are {LISTENERS_MAX} listeners already")
            self._carriers[listener] = await self._listen(listener, route)
        except PlaceLost:
            raise
        except PlaceNotReady:
            self._refused[listener] = ""  # it is told when that has changed
        except KeyError:
            return  # a node of somebody else's: who registered it answers there
        except OSError as error:
            reason = error.strerror or str(error)
            if self._refused.get(listener) != reason:
                self._refused[listener] = reason
                self._log.warning("listener.refused", **listener._asdict(), error=reason, consequence="tried again")
        else:
            self._refused.pop(listener, None)

    async def _listen(self, listener: Listener, route: Route) -> Carrier:
        kind = socket.SOCK_STREAM if listener.protocol == "tcp" else socket.SOCK_DGRAM
        listening = await self._places.make_socket(listener.place, kind)
        carrier: StreamCarrier | DatagramCarrier | PageCarrier
        try:
            if kind == socket.SOCK_STREAM:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                own = PageCarrier(route, self._answer) if route.answers_as else None
                carrier = own or StreamCarrier(route, self._connections)
            else:
                carrier = DatagramCarrier(route, self._chooser, self._clock)
            listening.bind((listener.address, listener.port))
            await carrier.open(listening)
        except BaseException:
            listening.close()
            raise
        return carrier


class WantedRoutes:
    """What all Services want; of several that want the same listener the first one has it."""

    def __init__(self) -> None:
        self._by_key: dict[str, Mapping[Listener, Route]] = {}
        self._by_listener: dict[Listener, dict[str, Route]] = {}

    def keys(self) -> list[str]:
        return [*self._by_key]

    def route(self, listener: Listener) -> Route | None:
        """Where a listener leads; None: nobody wants it."""
        return next(iter(self._by_listener.get(listener, {}).values()), None)

    def update(self, key: str, routes: Mapping[Listener, Route]) -> list[Listener]:
        """Replace what one wants; returns the listeners that may lead elsewhere now."""
        before = self._by_key.get(key, {})
        if before == routes:
            return []
        if routes:
            self._by_key[key] = routes
        else:
            self._by_key.pop(key, None)
        changed = [listener for listener in {**before, **routes} if before.get(listener) != routes.get(listener)]
        for listener in changed:
            wanted = self._by_listener.setdefault(listener, {})
            if (route := routes.get(listener)) is not None:
                wanted[key] = route
            else:
                wanted.pop(key, None)
            if not wanted:
                del self._by_listener[listener]
        return changed
