"""Pools of devices, as drivers describe them in ResourceSlices, and which of them a node can use.

Mirrors k8s.io/dynamic-resource-allocation/structured's pool gathering.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from orchestrator.api.node_selection import matches_node_selector
from orchestrator.api.objects import Object
from orchestrator.api.quantity import parse_quantity

Counters = Mapping[tuple[str, str], int]
"""(counter set, counter) → amount, in billionths."""


class DeviceId(NamedTuple):
    """What names a device in the whole cluster."""

    driver: str
    pool: str
    device: str


class Pool(Struct, frozen=True):
    """What the devices of one pool have in common."""

    is_complete: bool
    """Whether all slices of its newest generation are there; until then nothing is given out of it."""
    is_valid: bool
    """Whether its devices have names of their own."""
    counters: Counters
    """What devices that are parts of one another share (KEP-4815)."""


class Device(Struct, frozen=True, eq=False):
    """One device that a driver has to give."""

    id: DeviceId
    spec: Object
    """As it stands in its slice."""
    place: Object
    """What says where it can be used: its slice, or itself."""
    pool: Pool
    consumes: Counters

    def attribute(self, name: str) -> tuple[str, Any] | None:
        """(type, value) of an attribute with its domain; a name without one belongs to the driver."""
        attributes = self.spec.get("attributes") or {}
        found = attributes.get(name)
        if found is None and name.startswith(f"{self.id.driver}/"):
            found = attributes.get(name.removeprefix(f"{self.id.driver}/"))
        return next(iter(found.items()), None) if found else None

    def is_usable_on(self, node: str, labels: Mapping[str, str]) -> bool:
        """Whether a pod on this node can use it."""
        if self.place.get("nodeName"):
            return bool(self.place["nodeName"] == node)
        if self.place.get("allNodes"):
            return True
        selector = self.place.get("nodeSelector")
        return selector is not None and matches_node_selector(selector, labels, node)


class Pools:
    """All devices of a cluster, found by node."""

    def __init__(self, slices: Iterable[Object]) -> None:
        self.consumption: dict[DeviceId, Counters] = {}
        """What a device takes from the counters of its pool while it is allocated; those that take something."""
        self._local: dict[str, list[Device]] = {}
        self._wider: list[Device] = []
        for (driver, name), parts in sorted(_newest(slices).items()):
            pool = _pool_of(parts)
            for part in parts:
                for spec in part["spec"].get("devices") or ():
                    self._add(DeviceId(driver, name, spec.get("name") or ""), spec, part["spec"], pool)

    def _add(self, name: DeviceId, spec: Object, part: Object, pool: Pool) -> None:
        place = spec if part.get("perDeviceNodeSelection") else part
        consumes = _amounts((one.get("counterSet"), one.get("counters")) for one in spec.get("consumesCounters") or ())
        device = Device(name, spec, place, pool, consumes)
        if consumes:
            self.consumption[name] = consumes
        if place.get("nodeName"):
            self._local.setdefault(place["nodeName"], []).append(device)
        else:
            self._wider.append(device)

    def on(self, node: str, labels: Mapping[str, str]) -> list[Device]:
        """The devices that pods on a node can use; those of the node itself come first."""
        wider = [device for device in self._wider if device.is_usable_on(node, labels)]
        return [*self._local.get(node, ()), *wider]


def _newest(slices: Iterable[Object]) -> dict[tuple[str, str], list[Object]]:
    """The slices of each pool's newest generation: older ones are about to go."""
    found: dict[tuple[str, str], list[Object]] = {}
    for part in slices:
        spec = part["spec"]
        pool = spec.get("pool") or {}
        parts = found.setdefault((spec.get("driver") or "", pool.get("name") or ""), [])
        known = parts[0]["spec"]["pool"].get("generation") or 0 if parts else 0
        generation = pool.get("generation") or 0
        if parts and generation > known:
            parts.clear()
        if not parts or generation >= known:
            parts.append(part)
    return found


def _pool_of(parts: list[Object]) -> Pool:
    names = [device.get("name") for part in parts for device in part["spec"].get("devices") or ()]
    shared = (
        (one.get("name"), one.get("counters")) for part in parts for one in part["spec"].get("sharedCounters") or ()
    )
    wanted = parts[0]["spec"]["pool"].get("resourceSliceCount") or 0
    return Pool(len(parts) == wanted, len(names) == len(set(names)), _amounts(shared))


def _amounts(sets: Iterable[tuple[Any, Any]]) -> Counters:
    return {
        (name or "", counter): parse_quantity(entry.get("value") or "0").nanos
        for name, counters in sets
        for counter, entry in (counters or {}).items()
    }
