"""Writing what was decided about the claims of a pod before it is bound: their devices, and that they are for it.

Mirrors `bindClaim` of kube-scheduler's DynamicResources plugin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.objects import Object, copy_object, is_terminating, key_of, name_of, namespace_of, uid_of
from orchestrator.api.resource_claims import FINALIZER, RESERVED_FOR_MAX, consumer, is_reserved_for, reserved_for
from orchestrator.api.resources import RESOURCE_CLAIMS
from orchestrator.client.client import Client
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.scheduler.devices.ledger import DeviceLedger
from orchestrator.scheduler.framework import Listers, ReservationError

TRIES_MAX: Final = 5


class DeviceReservation:
    """The claims of one pod that are not reserved for it yet."""

    def __init__(
        self,
        *,
        ledger: DeviceLedger,
        listers: Listers,
        pod: Object,
        claims: Sequence[tuple[Object, Object | None]],
    ) -> None:
        """`claims`: each with its new allocation, or with None when it has one already."""
        self._ledger = ledger
        self._listers = listers
        self._pod = pod
        self._claims = claims
        self._is_settled: set[str] = set()
        self._reserved: list[Object] = []
        for claim, allocation in claims:
            if allocation is not None:
                ledger.promise(claim, allocation)

    def release(self) -> None:
        """Take back what was not written; what was is known from the claim itself."""
        for claim, allocation in self._claims:
            if allocation is not None and uid_of(claim) not in self._is_settled:
                self._ledger.release(claim)

    async def carry_out(self, client: Client, clock: Clock) -> None:
        """Write allocations and reservations; ReservationError when a claim is no longer what was decided upon."""
        for claim, allocation in self._claims:
            written = await self._write(client, claim, allocation)
            self._reserved.append(written)
            if allocation is not None:
                self._is_settled.add(uid_of(claim))
                self._ledger.settle(written, self._listers.find(RESOURCE_CLAIMS, key_of(claim)))

    async def undo(self, client: Client) -> None:
        """The pod does not come after all: its claims are free for others, and are deallocated by their controller."""
        for claim in self._reserved:
            patch = {
                "metadata": {"uid": uid_of(claim)},
                "status": {"reservedFor": [{"$patch": "delete", "uid": uid_of(self._pod)}]},
            }
            await client.patch(
                RESOURCE_CLAIMS,
                name_of(claim),
                patch,
                namespace_of(claim),
                subresource="status",
                content_type=STRATEGIC_MERGE_PATCH,
            )

    async def _write(self, client: Client, claim: Object, allocation: Object | None) -> Object:
        current = claim
        for attempt in range(TRIES_MAX):
            try:
                return await self._write_once(client, current, allocation)
            except errors.Conflict:
                if attempt == TRIES_MAX - 1:
                    raise
                current = await client.get(RESOURCE_CLAIMS, name_of(claim), namespace_of(claim))
                if uid_of(current) != uid_of(claim):
                    raise ReservationError(f"claim {key_of(claim)} was replaced in the meantime") from None
        raise AssertionError("unreachable")

    async def _write_once(self, client: Client, current: Object, allocation: Object | None) -> Object:
        changed = copy_object(current)
        status = changed.setdefault("status", {})
        if is_terminating(current):
            raise ReservationError(f"claim {key_of(current)} got deleted in the meantime")
        if allocation is not None:
            if status.get("allocation") is not None:
                raise ReservationError(f"claim {key_of(current)} got allocated elsewhere in the meantime")
            if FINALIZER not in (changed["metadata"].get("finalizers") or ()):
                changed["metadata"].setdefault("finalizers", []).append(FINALIZER)
                changed = copy_object(await client.update(RESOURCE_CLAIMS, changed))
                status = changed.setdefault("status", {})
            status["allocation"] = allocation
        elif status.get("allocation") is None:
            raise ReservationError(f"claim {key_of(current)} got deallocated elsewhere in the meantime")
        if is_reserved_for(changed, self._pod):
            return changed
        if len(reserved_for(changed)) >= RESERVED_FOR_MAX:
            raise ReservationError(f"claim {key_of(current)} is in use by as many pods as there may be")
        status["reservedFor"] = [*reserved_for(changed), consumer(self._pod)]
        return await client.update_status(RESOURCE_CLAIMS, changed)
