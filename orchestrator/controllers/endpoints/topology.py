"""Which zone each endpoint serves, for Services that are annotated `service.kubernetes.io/topology-mode: Auto`. Pure.

Each zone gets a part of the endpoints that is proportional to the CPU of its nodes; where that cannot be had without
overloading a zone, there are no hints at all
(https://kubernetes.io/docs/concepts/services-networking/topology-aware-routing/, KEP-2433).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from orchestrator.api.objects import Object, annotations_of, condition_of, labels_of
from orchestrator.api.quantity import milli_value
from orchestrator.controllers.endpoints.addresses import ZONE_LABEL
from orchestrator.controllers.endpoints.slices import EndpointGroup, endpoint_identity

MODE = "service.kubernetes.io/topology-mode"
OLD_MODE = "service.kubernetes.io/topology-aware-hints"
OVERLOAD_MAX = 0.2
"""How much more than its part the endpoints of a zone may have to do."""

ENABLED = "Topology Aware Hints has been enabled"
DISABLED = "Topology Aware Hints has been disabled"
NO_NODE_FACTS = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
ONE_ZONE = "Nodes only ready in one zone"
TOO_FEW = "Insufficient number of endpoints"
OVERLOADED = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
NO_ZONE = "One or more endpoints do not have a zone specified"

_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


def wants_hints(service: Object) -> bool:
    """Whether a Service asks for them; the older of the two annotations counts where both are."""
    annotations = annotations_of(service)
    return annotations.get(OLD_MODE, annotations.get(MODE)) in ("Auto", "auto")


NodeFacts = tuple[str, int] | None
"""(zone, allocatable thousandths of a CPU); None for a node that does not count."""


def node_facts(node: Object | None) -> NodeFacts:
    """What of a node matters here."""
    if node is None or any(label in labels_of(node) for label in _CONTROL_PLANE):
        return None
    if (condition_of(node, "Ready") or {}).get("status") != "True":
        return None
    cpu = ((node.get("status") or {}).get("allocatable") or {}).get("cpu")
    return labels_of(node).get(ZONE_LABEL, ""), milli_value(cpu) if cpu else 0


def zone_shares(nodes: Iterable[Object]) -> dict[str, float]:
    """The part that each zone has of the CPU of all nodes that are ready; empty when a node does not say."""
    cpu: Counter[str] = Counter()
    for node in nodes:
        facts = node_facts(node)
        if facts is None:
            continue
        if not all(facts):
            return {}
        cpu[facts[0]] += facts[1]
    total = cpu.total()
    return {zone: amount / total for zone, amount in cpu.items()}


def plan_zones(
    shares: Mapping[str, float], zones: Mapping[str, str], hinted: Mapping[str, str]
) -> tuple[dict[str, str], str]:
    """(endpoint → the zone it serves, the reason when there are none).

    `zones`: where each ready endpoint is; most serve their own zone. `hinted`: what they serve until now, so that
    those who serve another zone go on with it.
    """
    count = len(zones)
    if not shares:
        return {}, NO_NODE_FACTS
    if len(shares) < 2:
        return {}, ONE_ZONE
    if count < len(shares):
        return {}, TOO_FEW
    if not all(zones.values()):
        return {}, NO_ZONE
    desired = {zone: share * count for zone, share in shares.items()}
    least = {zone: math.ceil(part / (1 + OVERLOAD_MAX) - 1e-9) for zone, part in desired.items()}
    if sum(least.values()) > count:
        return {}, OVERLOADED
    served = dict(zones)
    sizes = Counter(served.values())
    while (move := _next_move(sizes, desired, least)) is not None:
        giver, receiver = move
        givers = [one for one, zone in served.items() if zone == giver]
        chosen = min(givers, key=lambda one: (hinted.get(one) != receiver, one))
        served[chosen] = receiver
        sizes[giver] -= 1
        sizes[receiver] += 1
    return served, ""


def _next_move(
    sizes: Mapping[str, int], desired: Mapping[str, float], least: Mapping[str, int]
) -> tuple[str, str] | None:
    """(from, to) of the endpoint that should serve another zone next; None when all is well."""
    surplus = {zone: size - desired.get(zone, 0.0) for zone, size in sizes.items() if size > least.get(zone, 0)}
    lacking = {zone: part - sizes.get(zone, 0) for zone, part in desired.items()}
    if not surplus:
        return None
    giver = max(surplus, key=lambda zone: (surplus[zone], zone))
    stranded = next((zone for zone in sorted(surplus) if zone not in desired), "")
    starving = [zone for zone in lacking if sizes.get(zone, 0) < least[zone]]
    receiver = max(starving or lacking, key=lambda zone: (lacking[zone], zone))
    if stranded:
        return stranded, receiver  # no node of its zone is ready: nobody would ask it
    if starving or surplus[giver] + lacking[receiver] > 1.0 + 1e-9:
        return giver, receiver
    return None


def with_zones(
    shares: Mapping[str, float], groups: Sequence[EndpointGroup], existing: Iterable[Object]
) -> tuple[list[EndpointGroup], dict[str, str]]:
    """(the groups with hints, the reason for each address family that has none; an empty one for the others)."""
    hinted: dict[str, dict[str, str]] = {}
    for one in existing:
        for endpoint in one.get("endpoints") or ():
            for zone in (endpoint.get("hints") or {}).get("forZones") or ():
                hinted.setdefault(one["addressType"], {})[endpoint_identity(endpoint)] = zone["name"]
    reasons: dict[str, str] = {}
    served: dict[str, dict[str, str]] = {}
    for family in dict.fromkeys(group.address_type for group in groups):
        zones = {
            identity: endpoint.get("zone") or ""
            for group in groups
            if group.address_type == family
            for identity, endpoint in group.endpoints.items()
            if endpoint["conditions"]["ready"]
        }
        served[family], reasons[family] = plan_zones(shares, zones, hinted.get(family, {}))
    return [_hinted(group, served[group.address_type]) for group in groups], reasons


def _hinted(group: EndpointGroup, served: Mapping[str, str]) -> EndpointGroup:
    endpoints = {}
    for identity, endpoint in group.endpoints.items():
        changed = {name: value for name, value in endpoint.items() if name != "hints"}
        if identity in served:
            changed["hints"] = {"forZones": [{"name": served[identity]}]}
        endpoints[identity] = changed
    return replace(group, endpoints=endpoints)
