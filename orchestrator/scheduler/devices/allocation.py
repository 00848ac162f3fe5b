"""Finding devices for claims on one node: a search with way back, the first solution wins.

Pure. Requests are served in order, the alternatives of a request in order of preference; a device serves one request
only, unless access is administrative. Mirrors k8s.io/dynamic-resource-allocation/structured's allocator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct, field

from orchestrator.api.node_selection import has_untolerated
from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.scheduler.devices.pools import Device, DeviceId
from orchestrator.scheduler.devices.selectors import is_selected

RESULTS_MAX: Final = 32
"""Devices in one claim."""
STEPS_MAX: Final = 100_000
"""Devices looked at for one pod on one node, after which it counts as unfit: constraints can make a search long."""

_REFUSING: Final = ("NoSchedule", "NoExecute")

Consumed = Mapping[tuple[str, str], Mapping[tuple[str, str], int]]
"""By driver and pool: what is used of its counters."""


class AllocationError(Exception):
    """Something is wrong with a claim or a class, not with the devices."""


class Inventory(Struct, frozen=True):
    """What can be allocated on a node."""

    devices: Sequence[Device]
    taken: Collection[DeviceId]
    consumed: Consumed
    class_of: Callable[[str], Object | None]


class Want(Struct, frozen=True):
    """One request, or one alternative of it."""

    name: str
    """As results name it: `request` or `request/alternative`."""
    spec: Object
    """Class, selectors, number."""

    @property
    def is_administrative(self) -> bool:
        """Whether the devices may be in use."""
        return bool(self.spec.get("adminAccess"))

    def is_named_by(self, names: Sequence[str]) -> bool:
        """Whether a constraint or configuration with these request names is about it; none means all."""
        return not names or self.name in names or self.name.partition("/")[0] in names


class _Choice(Struct, frozen=True):
    want: Want
    device: Device


class _Claim(Struct):
    obj: Object
    requests: Sequence[Sequence[Want]]
    constraints: Sequence[Object]
    chosen: list[_Choice] = field(default_factory=list)


def wants_of(claim: Object) -> Iterator[list[Want]]:
    """The alternatives of each request; most have one."""
    for request in ((claim.get("spec") or {}).get("devices") or {}).get("requests") or ():
        name = request.get("name") or ""
        if request.get("exactly") is not None:
            yield [Want(name, request["exactly"])]
        else:
            yield [Want(f"{name}/{one.get('name') or ''}", one) for one in request.get("firstAvailable") or ()]


def plan_allocations(claims: Sequence[Object], inventory: Inventory, node: str) -> list[Object] | None:
    """What `status.allocation` of each claim would be on this node; None when not all get what they ask for.

    AllocationError, SelectorError: no node could help.
    """
    search = _Search([_claim(claim) for claim in claims], inventory)
    if not search.find():
        return None
    return [_allocation(claim, inventory, node) for claim in search.claims]


def _claim(claim: Object) -> _Claim:
    requests = list(wants_of(claim))
    fewest = sum(min((want.spec.get("count") or 1 for want in wants), default=0) for wants in requests)
    if fewest > RESULTS_MAX:
        raise AllocationError(
            f"claim {namespace_of(claim)}/{name_of(claim)}: number of requested devices {fewest}"
            f" exceeds the claim limit of {RESULTS_MAX}"
        )
    return _Claim(claim, requests, ((claim.get("spec") or {}).get("devices") or {}).get("constraints") or ())


class _Search:
    def __init__(self, claims: list[_Claim], inventory: Inventory) -> None:
        self.claims = claims
        self._inventory = inventory
        self._taken: set[DeviceId] = set()
        self._consumed: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
        self._candidates: dict[tuple[int, str], list[Device]] = {}
        self._steps = 0

    def find(self) -> bool:
        return self._from_claim(0)

    def _from_claim(self, number: int) -> bool:
        return number == len(self.claims) or self._from_request(number, 0)

    def _from_request(self, number: int, position: int) -> bool:
        claim = self.claims[number]
        if position == len(claim.requests):
            return self._from_claim(number + 1)
        for want in claim.requests[position]:
            candidates = self._candidates_of(number, want)
            is_all = want.spec.get("allocationMode") == "All"
            if is_all and not all(device.pool.is_complete for device in self._inventory.devices):
                continue  # what is still to come belongs to all of them
            count = len(candidates) if is_all else want.spec.get("count") or 1
            if not count or count > len(candidates) or len(claim.chosen) + count > RESULTS_MAX:
                continue
            if self._from_device(number, position, want, candidates, count, 0):
                return True
        return False

    def _from_device(
        self, number: int, position: int, want: Want, candidates: list[Device], left: int, start: int
    ) -> bool:
        if not left:
            return self._from_request(number, position + 1)
        claim = self.claims[number]
        # Candidates are alike to a request: those before the last one chosen have had their turn.
        for index in range(start, len(candidates) - left + 1):
            device = candidates[index]
            self._steps += 1
            if self._steps > STEPS_MAX:
                return False
            if self._is_free(device, want) and all(
                _allows(one, claim.chosen, want, device) for one in claim.constraints
            ):
                self._take(claim, want, device)
                if self._from_device(number, position, want, candidates, left - 1, index + 1):
                    return True
                self._give_back(claim, want, device)
        return False

    def _candidates_of(self, number: int, want: Want) -> list[Device]:
        key = (number, want.name)
        known = self._candidates.get(key)
        if known is None:
            known = self._candidates[key] = [device for device in self._inventory.devices if self._suits(device, want)]
        return known

    def _suits(self, device: Device, want: Want) -> bool:
        device_class = self._inventory.class_of(want.spec.get("deviceClassName") or "")
        if device_class is None:
            raise AllocationError(f"could not retrieve device class {want.spec.get('deviceClassName')}")
        tolerations = want.spec.get("tolerations") or ()
        if not device.pool.is_complete or has_untolerated(device.spec.get("taints") or (), tolerations, _REFUSING):
            return False
        selectors = (*((device_class.get("spec") or {}).get("selectors") or ()), *(want.spec.get("selectors") or ()))
        if not is_selected(device, selectors):
            return False
        if not device.pool.is_valid:
            raise AllocationError(f"pool {device.id.driver}/{device.id.pool} is invalid: duplicate device names")
        return True

    def _is_free(self, device: Device, want: Want) -> bool:
        if want.is_administrative:
            return True
        if device.id in self._inventory.taken or device.id in self._taken:
            return False
        pool = device.id[:2]
        before: Mapping[tuple[str, str], int] = self._inventory.consumed.get(pool, {})
        now: Mapping[tuple[str, str], int] = self._consumed.get(pool, {})
        return all(
            before.get(key, 0) + now.get(key, 0) + amount <= device.pool.counters.get(key, 0)
            for key, amount in device.consumes.items()
        )

    def _take(self, claim: _Claim, want: Want, device: Device) -> None:
        claim.chosen.append(_Choice(want, device))
        if not want.is_administrative:
            self._taken.add(device.id)
            if device.consumes:
                self._consumed.setdefault(device.id[:2], Counter()).update(device.consumes)

    def _give_back(self, claim: _Claim, want: Want, device: Device) -> None:
        claim.chosen.pop()
        if not want.is_administrative:
            self._taken.discard(device.id)
            if device.consumes:
                self._consumed[device.id[:2]].subtract(device.consumes)


def _allows(constraint: Object, chosen: Sequence[_Choice], want: Want, device: Device) -> bool:
    names = constraint.get("requests") or ()
    if not want.is_named_by(names):
        return True
    attribute = constraint.get("matchAttribute") or constraint.get("distinctAttribute") or ""
    value = device.attribute(attribute)
    if value is None:
        return False
    others = [one.device.attribute(attribute) for one in chosen if one.want.is_named_by(names)]
    if constraint.get("matchAttribute"):
        return all(other == value for other in others)
    return value not in others


def _allocation(claim: _Claim, inventory: Inventory, node: str) -> Object:
    devices: Object = {"results": [_result(choice) for choice in claim.chosen]}
    config = _configuration(claim, inventory)
    if config:
        devices["config"] = config
    allocation: Object = {"devices": devices}
    selector = _node_selector([choice.device for choice in claim.chosen], node)
    if selector is not None:
        allocation["nodeSelector"] = selector
    return allocation


def _result(choice: _Choice) -> Object:
    name = choice.device.id
    result: Object = {"request": choice.want.name, "driver": name.driver, "pool": name.pool, "device": name.device}
    if choice.want.is_administrative:
        result["adminAccess"] = True
    if choice.want.spec.get("tolerations"):
        result["tolerations"] = choice.want.spec["tolerations"]
    return result


def _configuration(claim: _Claim, inventory: Inventory) -> list[Object]:
    """Parameters for the drivers: those of each class first, then the claim's own, which win."""
    found: list[Object] = []
    used = list({choice.want.name: choice.want for choice in claim.chosen}.values())
    for want in used:
        device_class = inventory.class_of(want.spec.get("deviceClassName") or "") or {}
        for config in (device_class.get("spec") or {}).get("config") or ():
            found.append({"source": "FromClass", "requests": [want.name], **config})
    for config in ((claim.obj.get("spec") or {}).get("devices") or {}).get("config") or ():
        names = config.get("requests") or ()
        if any(want.is_named_by(names) for want in used):
            found.append({"source": "FromClaim", **config})
    return found


def _node_selector(devices: Sequence[Device], node: str) -> Object | None:
    """Where the pods of a claim with these devices can run; None: everywhere."""
    expressions: list[Object] = []
    for device in devices:
        if device.place.get("nodeName"):
            term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
            return {"nodeSelectorTerms": [term]}
        for term in (device.place.get("nodeSelector") or {}).get("nodeSelectorTerms") or ():
            expressions += [one for one in term.get("matchExpressions") or () if one not in expressions]
            if term.get("matchFields"):
                return {"nodeSelectorTerms": [{"matchFields": term["matchFields"]}]}
    return {"nodeSelectorTerms": [{"matchExpressions": expressions}]} if expressions else None
