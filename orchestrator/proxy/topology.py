"""Which endpoints of a Service serve a client on a given node; pure.

Mirrors kube-proxy's topology.go: ready endpoints first, those that are going but still serve when there is no
other (KEP-1669), hints of nodes and zones (KEP-2433, KEP-3015), and only the node's own for the policy `Local`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from orchestrator.api.objects import Object, is_terminating, labels_of, name_of

ZONE_LABEL = "topology.kubernetes.io/zone"
AUTOSCALER_TAINT = "ToBeDeletedByClusterAutoscaler"

Target = tuple[str, int]
"""Address and port."""


class Endpoint(Struct, frozen=True):
    """One address and port behind a port of a Service."""

    target: Target
    node: str = ""
    is_ready: bool = True
    is_serving: bool = True
    is_terminating: bool = False
    zones: tuple[str, ...] = ()
    """Zones whose clients should come here; empty: no hint."""
    nodes: tuple[str, ...] = ()


class NodeFacts(Struct, frozen=True):
    """What the proxy needs to know of a node."""

    name: str
    ip: str
    pod_cidr: str
    zone: str = ""


def node_facts(node: Object) -> NodeFacts:
    """What a Node object tells."""
    addresses = (node.get("status") or {}).get("addresses") or ()
    return NodeFacts(
        name=name_of(node),
        ip=next((a["address"] for a in addresses if a["type"] == "InternalIP" and ":" not in a["address"]), ""),
        pod_cidr=(node.get("spec") or {}).get("podCIDR") or "",
        zone=labels_of(node).get(ZONE_LABEL, ""),
    )


def is_leaving(node: Object) -> bool:
    """Whether load balancers are to send nothing to a node any more (KEP-3836)."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return is_terminating(node) or any(taint.get("key") == AUTOSCALER_TAINT for taint in taints)


def endpoints_of(slices: Iterable[Object], port_name: str, protocol: str) -> list[Endpoint]:
    """The IPv4 endpoints behind a named port of a Service, sorted; one that stands in two slices counts once."""
    found: dict[Target, Endpoint] = {}
    for one in slices:
        if one.get("addressType") != "IPv4":
            continue
        number = _port_of(one, port_name, protocol)
        if number is None:
            continue
        for item in one.get("endpoints") or ():
            endpoint = _endpoint(item, number)
            known = found.setdefault(endpoint.target, endpoint)
            if known is not endpoint and endpoint.is_ready and not known.is_ready:
                found[endpoint.target] = endpoint
    return [found[key] for key in sorted(found)]


def _port_of(one: Object, name: str, protocol: str) -> int | None:
    for port in one.get("ports") or ():
        if (port.get("name") or "") == name and (port.get("protocol") or "TCP") == protocol:
            number: int | None = port.get("port")
            return number
    return None


def _endpoint(item: dict[str, Any], port: int) -> Endpoint:
    # Consumers use the first address only (EndpointSlice API: the addresses are fungible).
    target = (item["addresses"][0], port)
    node = item.get("nodeName") or ""
    conditions = item.get("conditions")
    ready = True if conditions is None else conditions.get("ready")
    hints = item.get("hints")
    if (ready is None or ready) and hints is None:
        return Endpoint(target, node)  # as nearly all are; their other conditions do not matter
    conditions, hints = conditions or {}, hints or {}
    is_ready = ready is None or bool(ready)
    serving = conditions.get("serving")
    return Endpoint(
        target,
        node,
        is_ready=is_ready,
        is_serving=is_ready if serving is None else bool(serving),
        is_terminating=bool(conditions.get("terminating")),
        zones=tuple(zone["name"] for zone in hints.get("forZones") or ()),
        nodes=tuple(one["name"] for one in hints.get("forNodes") or ()),
    )


def usable(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """The ready ones; when there is none, those that terminate and still serve."""
    ready = [endpoint for endpoint in endpoints if endpoint.is_ready]
    return ready or [endpoint for endpoint in endpoints if endpoint.is_serving and endpoint.is_terminating]


def local_to(endpoints: Sequence[Endpoint], node: NodeFacts) -> list[Endpoint]:
    """What the traffic policy `Local` leaves for clients on a node."""
    return usable([endpoint for endpoint in endpoints if endpoint.node == node.name])


def preferred_by(endpoints: Sequence[Endpoint], node: NodeFacts) -> list[Endpoint]:
    """What clients on a node use under the policy `Cluster`: hints count when every ready endpoint has one."""
    chosen = usable(endpoints)
    if not chosen or not chosen[0].is_ready:
        return chosen
    if all(endpoint.nodes for endpoint in chosen):
        same_node = [endpoint for endpoint in chosen if node.name in endpoint.nodes]
        if same_node:
            return same_node
    if node.zone and all(endpoint.zones for endpoint in chosen):
        same_zone = [endpoint for endpoint in chosen if node.zone in endpoint.zones]
        if same_zone:
            return same_zone
    return chosen
