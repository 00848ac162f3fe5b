"""How many nodes of a zone may be given up, and when the next one (Kubernetes docs, "Nodes: Rate limits on eviction").

Where most nodes of a zone are lost it is rather the network than they, and where all zones are, it is us. Pure.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from orchestrator.api.objects import Object, labels_of

EVICTIONS_PER_SECOND = 0.1
SECONDARY_EVICTIONS_PER_SECOND = 0.01
LARGE_ZONE_NODES = 50
UNHEALTHY_ZONE_SHARE = 0.55

ZoneState = Literal["Normal", "PartialDisruption", "FullDisruption"]


def plan_zone_state(ready: int, not_ready: int) -> ZoneState:
    """How a zone stands (Kubernetes docs, "Nodes: Rate limits on eviction")."""
    if ready == 0 and not_ready > 0:
        return "FullDisruption"
    if not_ready > 2 and not_ready / (not_ready + ready) >= UNHEALTHY_ZONE_SHARE:
        return "PartialDisruption"
    return "Normal"


def eviction_rate(state: ZoneState, nodes: int, *, all_disrupted: bool) -> float:
    """How many nodes a second may be tainted NoExecute in a zone."""
    if all_disrupted:
        return 0.0
    if state == "PartialDisruption":
        return SECONDARY_EVICTIONS_PER_SECOND if nodes > LARGE_ZONE_NODES else 0.0
    return EVICTIONS_PER_SECOND


class Zone(Struct):
    """The nodes of a zone and when the next of them may be tainted."""

    nodes: dict[str, bool] = field(default_factory=dict)
    ready: int = 0
    next_eviction: float = 0.0

    @property
    def state(self) -> ZoneState:
        return plan_zone_state(self.ready, len(self.nodes) - self.ready)

    @property
    def rate(self) -> float:
        """How many of its nodes may be given up in a second, while not all zones are disrupted."""
        return eviction_rate(self.state, len(self.nodes), all_disrupted=False)

    def put(self, node: str, is_ready: bool) -> None:
        """Count a node."""
        self.ready += is_ready - self.nodes.get(node, False)
        self.nodes[node] = is_ready

    def drop(self, node: str) -> None:
        """A node left."""
        self.ready -= self.nodes.pop(node, False)


def zone_of(node: Object) -> str:
    """Region and zone of a node, by its well-known labels."""
    labels = labels_of(node)
    return f"{labels.get('topology.kubernetes.io/region', '')}/{labels.get('topology.kubernetes.io/zone', '')}"


class Zones:
    """All zones that have nodes."""

    def __init__(self) -> None:
        self._zones: dict[str, Zone] = {}
        self._zone_by_node: dict[str, str] = {}
        self._disrupted: set[str] = set()

    def is_all_disrupted(self) -> bool:
        """Whether no zone has a ready node: then nobody is evicted anywhere."""
        return bool(self._disrupted) and len(self._disrupted) == len(self._zones)

    def put(self, node: str, zone: str, *, is_ready: bool) -> bool:
        """Count a node as it is now; whether the last zone was lost by it, or the first came back."""
        before = self.is_all_disrupted()
        if self._zone_by_node.get(node, zone) != zone:
            self.drop(node)
        self._zone_by_node[node] = zone
        self._zones.setdefault(zone, Zone()).put(node, is_ready)
        self._look_at(zone)
        return self.is_all_disrupted() != before

    def drop(self, node: str) -> bool:
        """A node left; whether the last zone was lost by it, or the first came back."""
        before = self.is_all_disrupted()
        zone = self._zone_by_node.pop(node, None)
        if zone is not None:
            self._zones[zone].drop(node)
            if not self._zones[zone].nodes:
                del self._zones[zone]
            self._look_at(zone)
        return self.is_all_disrupted() != before

    def _look_at(self, zone: str) -> None:
        if zone in self._zones and self._zones[zone].state == "FullDisruption":
            self._disrupted.add(zone)
        else:
            self._disrupted.discard(zone)

    def eviction_wait(self, zone: str, now: float) -> float | None:
        """Seconds until a zone allows one more eviction; None while it allows none. `now` is monotonic."""
        found = self._zones.get(zone)
        if found is None or found.rate == 0:
            return None
        return max(0.0, found.next_eviction - now)

    def evicted(self, zone: str, now: float) -> None:
        """A node of the zone was given up: the next one has to wait."""
        found = self._zones[zone]
        found.next_eviction = now + (1 / found.rate if found.rate else 0.0)
