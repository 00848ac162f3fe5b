"""Where the proxy listens for one Service, and where that leads; pure.

The same decisions as in `orchestrator.proxy.plan`, for a proxy that sees connections instead of packets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from msgspec import Struct

from orchestrator.api.objects import Object, key_of
from orchestrator.component.places import MACHINE, SERVICES, Listener
from orchestrator.proxy.health import plan_health
from orchestrator.proxy.plan import affinity_seconds, cluster_ips_of, is_ipv4, is_proxied, load_balancer_ips
from orchestrator.proxy.topology import Endpoint, NodeFacts, Target, endpoints_of, local_to, preferred_by, usable

EVERY_ADDRESS = "0.0.0.0"


class Route(Struct, frozen=True):
    """Where a listener leads."""

    targets: tuple[Target, ...]
    """For clients that no exception names."""
    exceptions: tuple[tuple[tuple[IPv4Network, ...], tuple[Target, ...]], ...] = ()
    """Sources → what they use instead; empty: nobody serves them."""
    allowed: tuple[IPv4Network, ...] | None = None
    """The sources that may come at all; None: everybody."""
    affinity: str = ""
    """What remembers clients together; empty: each connection goes anywhere."""
    affinity_seconds: int = 0
    answers_as: str = ""
    """The proxy answers itself, in the name of the node with this address; empty: it carries to the targets."""

    def targets_for(self, client: str) -> tuple[Target, ...]:
        """What a client may be led to; empty when nobody serves it."""
        if self.allowed is None and not self.exceptions:
            return self.targets
        address = IPv4Address(client)
        if self.allowed is not None and not any(address in source for source in self.allowed):
            return ()
        for sources, targets in self.exceptions:
            if any(address in source for source in sources):
                return targets
        return self.targets

    def leads_to(self, target: Target) -> bool:
        """Whether some client may be led there."""
        return target in self.targets or any(target in targets for _, targets in self.exceptions)


def plan_routes(
    service: Object | None, slices: Sequence[Object], nodes: Sequence[NodeFacts]
) -> dict[Listener, Route]:  # fmt: skip
    """Everything that one Service listens on; what has no endpoints is left out, and so refused by the kernel.

    Simplified: SCTP is not carried.
    """
    if service is None or not is_proxied(service):
        return {}
    routes: dict[Listener, Route] = {}
    for port in (service.get("spec") or {}).get("ports") or ():
        if (port.get("protocol") or "TCP") in ("TCP", "UDP"):
            _PortPlanner(service, port, slices, nodes, routes).plan()
    by_address = {node.ip: node.name for node in nodes}
    for address, number in plan_health(service, slices, nodes):
        routes[Listener(by_address[address], address, "tcp", number)] = Route((), answers_as=address)
    return routes


class _PortPlanner:
    """Fills in the routes of one port of a Service."""

    def __init__(
        self,
        service: Object,
        port: Mapping[str, Any],
        slices: Sequence[Object],
        nodes: Sequence[NodeFacts],
        routes: dict[Listener, Route],
    ) -> None:
        protocol = port.get("protocol") or "TCP"
        self._service, self._spec, self._port = service, service["spec"], port
        self._protocol = protocol.lower()
        self._nodes = nodes
        self._routes = routes
        self._endpoints = endpoints_of(slices, port.get("name") or "", protocol)
        self._everyone = usable(self._endpoints)
        self._affinity_seconds = affinity_seconds(self._spec)
        self._affinity = (
            f"{key_of(service)}/{port.get('name') or ''}/{self._protocol}" if self._affinity_seconds else ""
        )

    def plan(self) -> None:
        if not self._everyone:
            return
        number, node_port = self._port["port"], self._port.get("nodePort")
        for address in cluster_ips_of(self._service):
            self._listen(SERVICES, address, number, self._internal())
        by_address = {node.ip: node.name for node in self._nodes if node.ip}
        external = self._route(self._everyone)
        for address in self._spec.get("externalIPs") or ():
            if is_ipv4(address):
                self._listen(by_address.get(address, MACHINE), address, number, external)
        for address in load_balancer_ips(self._service):
            allowed = _networks(self._spec.get("loadBalancerSourceRanges"))
            route = self._route(self._everyone, allowed=allowed)
            self._listen(by_address.get(address, MACHINE), address, number, route)
        if node_port:
            # The machine's own addresses stand for all nodes at once, so `Local` finds every endpoint there.
            self._listen(MACHINE, EVERY_ADDRESS, node_port, external)
            for node in self._nodes:
                if node.ip:
                    self._plan_node_port(node, node_port, external)

    def _plan_node_port(self, node: NodeFacts, number: int, external: Route) -> None:
        if self._spec.get("externalTrafficPolicy") != "Local":
            self._listen(node.name, node.ip, number, external)
            return
        local = local_to(self._endpoints, node)
        # The node's own pods are inside: for them the policy does not count (kube-proxy's short circuit).
        inside = (((IPv4Network(node.pod_cidr),), _targets(self._everyone)),) if node.pod_cidr else ()
        if local or inside:
            self._listen(node.name, node.ip, number, self._route(local, exceptions=inside))

    def _internal(self) -> Route:
        exceptions = []
        for node in self._nodes:
            chosen = self._chosen_on(node)
            if chosen != self._everyone and node.pod_cidr:
                # Pods on the host network come with the node's own address.
                sources = (IPv4Network(node.pod_cidr), *((IPv4Network(node.ip),) if node.ip else ()))
                exceptions.append((sources, _targets(chosen)))
        return self._route(self._everyone, exceptions=tuple(exceptions))

    def _chosen_on(self, node: NodeFacts) -> list[Endpoint]:
        if self._spec.get("internalTrafficPolicy") == "Local":
            return local_to(self._endpoints, node)
        return preferred_by(self._endpoints, node)

    def _route(
        self,
        endpoints: Sequence[Endpoint],
        *,
        exceptions: tuple[tuple[tuple[IPv4Network, ...], tuple[Target, ...]], ...] = (),
        allowed: tuple[IPv4Network, ...] | None = None,
    ) -> Route:
        return Route(_targets(endpoints), exceptions, allowed, self._affinity, self._affinity_seconds)

    def _listen(self, place: str, address: str, port: int, route: Route) -> None:
        if route.targets == ((address, port),):
            return  # a server of this process is there itself, as DNS is on its own address
        self._routes[Listener(place, address, self._protocol, port)] = route


def _targets(endpoints: Sequence[Endpoint]) -> tuple[Target, ...]:
    return tuple([endpoint.target for endpoint in endpoints])


def _networks(ranges: Sequence[str] | None) -> tuple[IPv4Network, ...] | None:
    if not ranges:
        return None
    texts = [text.strip() for text in ranges]
    return tuple(IPv4Network(text, strict=False) for text in texts if is_ipv4(text.partition("/")[0]))
