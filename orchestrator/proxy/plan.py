"""What one Service needs in the packet filter; pure.

Most Services need map elements alone: address, protocol, port and a random number lead to an endpoint. Those
whose answer depends on who asks (session affinity, traffic policy `Local`, topology hints) get chains.
Mirrors what kube-proxy's nftables mode decides for each service port.

All nodes live on one machine, so the node of a client is known by its address: a pod range belongs to a node,
everything else is the machine itself or the outside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network, collapse_addresses
from typing import Any, NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from orchestrator.api.objects import Object, key_of, labels_of
from orchestrator.proxy.topology import Endpoint, NodeFacts, Target, endpoints_of, local_to, preferred_by, usable

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
"""Services with this label are somebody else's."""
HEADLESS_LABEL = "service.kubernetes.io/headless"
"""Services with this label are left alone, whatever address they have (api/core/v1 `IsHeadlessService`)."""
AFFINITY_CLIENTS_MAX = 65_536
"""Clients that one endpoint is remembered for."""
AFFINITY_SECONDS_DEFAULT = 10_800


class Frontend(NamedTuple):
    """Where clients knock: an address, or every address of the machine when it is empty (node ports)."""

    address: str
    protocol: str
    """`tcp`, `udp` or `sctp`."""
    port: int


class Way(NamedTuple):
    """Where a frontend leads."""

    targets: tuple[Target, ...] = ()
    """All that can be reached; each gets the same share unless a chain decides."""
    chain: str = ""
    """The chain that decides; empty: the targets take turns at random."""
    drops_rest: bool = False
    """What the chain does not translate vanishes: there are endpoints, but none for this client."""
    is_cluster_ip: bool = False


class ServiceRules(Struct, frozen=True):
    """Everything that one Service adds to the ruleset."""

    frontends: dict[Frontend, Way] = field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    affinity_sets: dict[str, int] = field(default_factory=dict)
    """Name → seconds for which a client is remembered."""
    firewalls: dict[Frontend, str] = field(default_factory=dict)
    """Frontends that only some sources may use → the chain that checks."""
    cluster_ips: frozenset[str] = frozenset()
    addresses: set[str] = field(default_factory=set)
    """Endpoints that could be their own clients."""

    def leading(self, listeners: Iterable[Target], target: Target) -> ServiceRules:
        """The same, and these TCP listeners lead to a target as well."""
        more = {Frontend(address, "tcp", port): Way((target,)) for address, port in listeners}
        return replace(self, frontends={**self.frontends, **more}) if more else self


def plan_service(service: Object | None, slices: Sequence[Object], nodes: Sequence[NodeFacts]) -> ServiceRules | None:
    """The rules of a Service, None when it needs none (gone, headless, ExternalName, another proxy's)."""
    if service is None or not is_proxied(service):
        return None
    spec = service["spec"]
    cluster_ips = cluster_ips_of(service)
    rules = ServiceRules(cluster_ips=frozenset(cluster_ips))
    for port in spec.get("ports") or ():
        _PortPlanner(service, spec, port, slices, nodes, rules).plan(cluster_ips)
    return rules


def is_proxied(service: Object) -> bool:
    """Whether a Service is for this proxy to serve: not headless, ExternalName or another proxy's."""
    labels = labels_of(service)
    if PROXY_NAME_LABEL in labels or HEADLESS_LABEL in labels:
        return False
    return (service.get("spec") or {}).get("type") != "ExternalName" and bool(cluster_ips_of(service))


def cluster_ips_of(service: Object) -> list[str]:
    """The IPv4 cluster IPs of a Service; empty for a headless one."""
    spec = service.get("spec") or {}
    return [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP") or ""] if is_ipv4(ip)]


def affinity_seconds(spec: Mapping[str, Any]) -> int:
    """For how long a Service remembers a client; 0 when it does not."""
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return int(config.get("timeoutSeconds") or AFFINITY_SECONDS_DEFAULT)


def load_balancer_ips(service: Object) -> list[str]:
    """The addresses of a load balancer that lead to the cluster's nodes as they are (`ipMode: VIP`)."""
    if (service.get("spec") or {}).get("type") != "LoadBalancer":
        return []
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    addresses = [item.get("ip") or "" for item in ingress if item.get("ipMode", "VIP") == "VIP"]
    return [address for address in addresses if is_ipv4(address)]


def plan_ranges(cidrs: Iterable[Object], default: str) -> tuple[str, ...]:
    """The IPv4 ranges that cluster IPs come from: of the ServiceCIDRs, and that of the start; none inside another."""
    named = {cidr for one in cidrs for cidr in (one.get("spec") or {}).get("cidrs") or () if ":" not in cidr}
    networks = collapse_addresses(IPv4Network(cidr, strict=False) for cidr in named | {default})
    return tuple(str(network) for network in networks)


class _PortPlanner:
    """Fills in the rules of one port of a Service."""

    def __init__(
        self,
        service: Object,
        spec: dict[str, Any],
        port: dict[str, Any],
        slices: Sequence[Object],
        nodes: Sequence[NodeFacts],
        rules: ServiceRules,
    ) -> None:
        protocol = port.get("protocol") or "TCP"
        self._service = service
        self._spec = spec
        self._port = port
        self._protocol = protocol.lower()
        self._endpoints = endpoints_of(slices, port.get("name") or "", protocol)
        self._everyone = usable(self._endpoints)
        self._targets = _targets(self._everyone)
        self._nodes = nodes
        self._rules = rules
        self._affinity_seconds = affinity_seconds(spec)

    @property
    def _identity(self) -> str:
        """What the names of this port's chains and sets are made of."""
        return f"{key_of(self._service)}/{self._port.get('name') or ''}/{self._protocol}"

    def plan(self, cluster_ips: Sequence[str]) -> None:
        number, node_port = self._port["port"], self._port.get("nodePort")
        self._rules.addresses.update([address for address, _ in self._targets])
        internal = self._internal_way()
        for address in cluster_ips:
            self._rules.frontends[Frontend(address, self._protocol, number)] = internal
        external_ips = self._spec.get("externalIPs") or ()
        is_load_balancer = self._spec.get("type") == "LoadBalancer"
        if not external_ips and not is_load_balancer and not node_port:
            return
        external = self._external_way()
        for address in external_ips:
            if is_ipv4(address):
                self._rules.frontends[Frontend(address, self._protocol, number)] = external
        if is_load_balancer:
            self._plan_load_balancer(external, number)
        if node_port:
            self._plan_node_port(external, node_port)

    def _plan_load_balancer(self, external: Way, number: int) -> None:
        sources = [source.strip() for source in self._spec.get("loadBalancerSourceRanges") or ()]
        for address in load_balancer_ips(self._service):
            frontend = Frontend(address, self._protocol, number)
            self._rules.frontends[frontend] = external
            if sources:
                chain = f"firewall_{_digest(self._identity)}"
                allowed = ", ".join(source for source in sources if is_ipv4(source.partition("/")[0]))
                accept = (f"ip saddr {{ {allowed} }} return",) if allowed else ()
                self._rules.chains[chain] = (*accept, "drop")
                self._rules.firewalls[frontend] = chain

    def _plan_node_port(self, external: Way, number: int) -> None:
        # The machine's own addresses stand for all nodes at once, so `Local` finds every endpoint there.
        self._rules.frontends[Frontend("", self._protocol, number)] = external
        if self._spec.get("externalTrafficPolicy") != "Local" or not self._everyone:
            return
        for node in self._nodes:
            if not node.ip:
                continue
            local = local_to(self._endpoints, node)
            chain = f"local_{_digest(f'{self._identity}/{node.name}')}"
            # The node's own pods are inside: for them the policy does not count (kube-proxy's short circuit).
            inside = f"ip saddr {node.pod_cidr} " if node.pod_cidr else ""
            lines = [*(self._picks(self._everyone, inside) if inside else ()), *self._picks(local)]
            self._rules.chains[chain] = tuple(lines)
            way = Way(self._targets, chain, drops_rest=not local)
            self._rules.frontends[Frontend(node.ip, self._protocol, number)] = way

    def _internal_way(self) -> Way:
        if not self._everyone:
            return Way(is_cluster_ip=True)
        exceptions = [(node, chosen) for node, chosen in self._choices() if chosen != self._everyone and node.pod_cidr]
        if not exceptions and not self._affinity_seconds:
            return Way(self._targets, is_cluster_ip=True)
        lines: list[str] = []
        for node, chosen in exceptions:
            # Pods on the host network come with the node's own address.
            sources = f"{{ {node.pod_cidr}, {node.ip} }}" if node.ip else node.pod_cidr
            condition = f"ip saddr {sources} "
            lines += self._picks(chosen, condition) if chosen else [f"{condition}return"]
        lines += self._picks(self._everyone)
        chain = f"service_{_digest(self._identity)}"
        self._rules.chains[chain] = tuple(lines)
        return Way(self._targets, chain, drops_rest=any(not chosen for _, chosen in exceptions), is_cluster_ip=True)

    def _choices(self) -> Iterator[tuple[NodeFacts, list[Endpoint]]]:
        """What each node's clients may use, where that depends on the node at all."""
        if self._spec.get("internalTrafficPolicy") == "Local":
            for node in self._nodes:
                yield node, local_to(self._endpoints, node)
        elif any(endpoint.zones or endpoint.nodes for endpoint in self._everyone):
            for node in self._nodes:
                yield node, preferred_by(self._endpoints, node)

    def _external_way(self) -> Way:
        if not self._affinity_seconds or not self._targets:
            return Way(self._targets)
        chain = f"external_{_digest(self._identity)}"
        self._rules.chains[chain] = tuple(self._picks(self._everyone))
        return Way(self._targets, chain)

    def _picks(self, endpoints: Sequence[Endpoint], condition: str = "") -> list[str]:
        """Rules that translate to one of the endpoints, for packets that the condition matches."""
        if not endpoints:
            return []
        if not self._affinity_seconds:
            return [f"{condition}meta l4proto {self._protocol} dnat ip to {_turns(endpoints)}"]
        chains = [self._endpoint_chain(endpoint) for endpoint in endpoints]
        lines = [f"{condition}ip saddr @{affinity} goto {chain}" for chain, affinity in chains]
        verdicts = ", ".join(f"{number} : goto {chain}" for number, (chain, _) in enumerate(chains))
        lines.append(f"{condition}numgen random mod {len(chains)} vmap {{ {verdicts} }}")
        return lines

    def _endpoint_chain(self, endpoint: Endpoint) -> tuple[str, str]:
        """The chain that leads to one endpoint and remembers the client, and the set of its clients."""
        address, port = endpoint.target
        target = f"{address}:{port}"
        digest = _digest(f"{self._identity}/{target}/{self._affinity_seconds}")
        chain, affinity = f"endpoint_{digest}", f"affinity_{digest}"
        self._rules.affinity_sets[affinity] = self._affinity_seconds
        self._rules.chains[chain] = (
            f"update @{affinity} {{ ip saddr timeout {self._affinity_seconds}s }}",
            f"meta l4proto {self._protocol} dnat to {target}",
        )
        return chain, affinity


def _turns(endpoints: Sequence[Endpoint]) -> str:
    pairs = ", ".join(f"{number} : {address} . {port}" for number, (address, port) in enumerate(_targets(endpoints)))
    return f"numgen random mod {len(endpoints)} map {{ {pairs} }}"


def _targets(endpoints: Sequence[Endpoint]) -> tuple[Target, ...]:
    return tuple([endpoint.target for endpoint in endpoints])


def is_ipv4(address: str) -> bool:
    """Whether this is an address of the only family there is here, and not `None`."""
    return bool(address) and address != "None" and ":" not in address


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
