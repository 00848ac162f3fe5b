"""Which devices there are and which are taken: by claims, and by pods on their way to a node.

Part of the scheduler's cache; fed by the informers, never talks to the API. Mirrors kube-scheduler's DRA manager.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from orchestrator.api.objects import Object, key_of, resource_version_of, uid_of
from orchestrator.api.resource_claims import allocation_of, results_of
from orchestrator.scheduler.devices.pools import Counters, DeviceId, Pools


class DeviceLedger:
    """What allocations can be made from."""

    def __init__(self) -> None:
        self._slices: dict[str, Object] = {}
        self._pools: Pools | None = None
        self._taken: Counter[DeviceId] = Counter()
        self._promised: dict[str, Object] = {}
        """By uid of the claim: the allocation that is being written, or was and has not been seen yet."""
        self._written: dict[str, int] = {}
        """Of these, the resource version from which on the claim itself tells."""

    @property
    def pools(self) -> Pools:
        """All devices; worked out again when slices have changed."""
        if self._pools is None:
            self._pools = Pools(self._slices.values())
        return self._pools

    @property
    def taken(self) -> Collection[DeviceId]:
        """The devices that somebody has or is about to have."""
        return self._taken.keys()

    def consumed(self) -> dict[tuple[str, str], Counter[tuple[str, str]]]:
        """By driver and pool: what the taken devices use of the pool's counters."""
        found: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
        consumption: dict[DeviceId, Counters] = self.pools.consumption
        for device in consumption.keys() & self._taken.keys():
            found.setdefault(device[:2], Counter()).update(consumption[device])
        return found

    def is_promised(self, claim: Object) -> bool:
        """Whether an allocation of this claim is being written."""
        return uid_of(claim) in self._promised

    def on_slice(self, old: Object | None, new: Object | None) -> None:
        """A driver described its devices anew."""
        if old is not None:
            self._slices.pop(key_of(old), None)
        if new is not None:
            self._slices[key_of(new)] = new
        self._pools = None

    def on_claim(self, old: Object | None, new: Object | None) -> None:
        """A claim came, changed or went."""
        before, after = (allocation_of(one) if one is not None else None for one in (old, new))
        if before != after:
            self._count(before, -1)
            self._count(after, 1)
        claim = new or old or {}
        written = self._written.get(uid_of(claim))
        # Resource versions compare as numbers (KEP-5504).
        if written is not None and (new is None or int(resource_version_of(claim)) >= written):
            self.release(claim)

    def promise(self, claim: Object, allocation: Object) -> None:
        """Keep devices for a claim until its allocation is written."""
        self._promised[uid_of(claim)] = allocation
        self._count(allocation, 1)

    def settle(self, written: Object, seen: Object | None) -> None:
        """A promise was written: keep it until the informer shows the claim, of which `seen` is the newest."""
        version = int(resource_version_of(written))
        if seen is not None and uid_of(seen) == uid_of(written) and int(resource_version_of(seen)) >= version:
            self.release(written)
        elif uid_of(written) in self._promised:
            self._written[uid_of(written)] = version

    def release(self, claim: Object) -> None:
        """Forget a promise; forgetting it twice changes nothing."""
        self._written.pop(uid_of(claim), None)
        self._count(self._promised.pop(uid_of(claim), None), -1)

    def _count(self, allocation: Object | None, by: int) -> None:
        for device in devices_of(allocation):
            self._taken[device] += by
            if not self._taken[device]:
                del self._taken[device]


def devices_of(allocation: Object | None) -> Iterator[DeviceId]:
    """The devices that nobody else can have; administrative access takes none."""
    for result in results_of(allocation):
        if not result.get("adminAccess"):
            yield DeviceId(result.get("driver") or "", result.get("pool") or "", result.get("device") or "")
