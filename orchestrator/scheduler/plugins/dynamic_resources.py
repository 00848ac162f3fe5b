"""DynamicResources: nodes where a pod's resource claims can be used, or can be given devices.

A claim gets its devices together with the node of the first pod that uses it; both are written before the pod is
bound (KEP-4381; "Dynamic Resource Allocation", kubernetes.io).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import ClassVar

from msgspec import Struct, field

from orchestrator.api.node_selection import matches_node_selector
from orchestrator.api.objects import Object, is_terminating, key_of, name_of, namespace_of
from orchestrator.api.resource_claims import (
    RESERVED_FOR_MAX,
    ClaimNotCreated,
    allocation_of,
    claim_name_of,
    claim_names_of,
    is_for_pod,
    is_reserved_for,
    references_of,
    reserved_for,
)
from orchestrator.api.resources import DEVICE_CLASSES, NODES, RESOURCE_CLAIMS, RESOURCE_SLICES, Resource
from orchestrator.scheduler.devices.allocation import AllocationError, Consumed, Inventory, plan_allocations, wants_of
from orchestrator.scheduler.devices.reservation import DeviceReservation
from orchestrator.scheduler.devices.selectors import SelectorError
from orchestrator.scheduler.framework import (
    SKIP,
    UNSIGNABLE,
    Action,
    ClusterEvent,
    Cycle,
    Plugin,
    Reads,
    Reservation,
    Skip,
    Verdict,
)
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.pod_info import PodInfo

CANNOT_ALLOCATE = "cannot allocate all claims"
NOT_AVAILABLE = "resourceclaim not available on the node"
IN_USE = "resourceclaim in use"


class _Refusal(Exception):
    """No node can take the pod as its claims are."""


class _Claims(Struct):
    """The claims of a pod, looked up once in a cycle."""

    all: list[Object]
    open: list[Object]
    """Those that have no devices yet."""
    consumed: Consumed
    """What the devices that are taken use of their pools' counters."""
    allocations: dict[str, list[Object]] = field(default_factory=dict)
    """By node: what the claims without devices would get there."""


class DynamicResources(Plugin):
    """Refuses nodes where a claim's devices cannot be used, or where there are none for it."""

    name: ClassVar[str] = "DynamicResources"
    reads = Reads.NODE
    argument_fields: ClassVar[Mapping[str, type] | None] = {"filterTimeout": str}
    hints: ClassVar[Mapping[Resource, Action]] = {
        RESOURCE_CLAIMS: Action.ADD | Action.UPDATE | Action.DELETE,
        RESOURCE_SLICES: Action.ADD | Action.UPDATE,
        DEVICE_CLASSES: Action.ADD | Action.UPDATE,
        NODES: Action.ADD | Action.UPDATE,
    }

    def sign(self, cycle: Cycle) -> Hashable:
        return UNSIGNABLE if references_of(cycle.pod.obj) else None

    def pre_filter(self, cycle: Cycle) -> Verdict | Skip | None:
        if not references_of(cycle.pod.obj):
            return SKIP
        try:
            claims = self._claims_of(cycle)
        except (_Refusal, ClaimNotCreated) as refusal:
            return Verdict(self.name, (str(refusal),), resolvable=False)
        if not claims:
            return SKIP
        without_devices = [claim for claim in claims if allocation_of(claim) is None]
        consumed = cycle.cache.devices.consumed() if without_devices else {}
        cycle.notes[self.name] = _Claims(claims, without_devices, consumed)
        return None

    def _claims_of(self, cycle: Cycle) -> list[Object]:
        pod, found = cycle.pod.obj, []
        for reference in references_of(pod):
            name = claim_name_of(pod, reference)
            if name is None:
                continue
            claim = cycle.listers.find(RESOURCE_CLAIMS, f"{cycle.pod.namespace}/{name}")
            if claim is None:
                raise _Refusal(f'resourceclaim.resource.k8s.io "{name}" not found')
            if is_terminating(claim):
                raise _Refusal(f'resourceclaim "{name}" is being deleted')
            if not reference.get("resourceClaimName") and not is_for_pod(claim, pod):
                raise _Refusal(
                    f"ResourceClaim {key_of(claim)} was not created for pod {cycle.pod.key} (pod is not owner)"
                )
            self._check(claim, cycle)
            found.append(claim)
        return found

    def _check(self, claim: Object, cycle: Cycle) -> None:
        if allocation_of(claim) is not None:
            if len(reserved_for(claim)) >= RESERVED_FOR_MAX and not is_reserved_for(claim, cycle.pod.obj):
                raise _Refusal(IN_USE)
            return
        if cycle.cache.devices.is_promised(claim):
            raise _Refusal(f"resource claim {key_of(claim)} is in the process of being allocated")
        for wants in wants_of(claim):
            for want in wants:
                class_name = want.spec.get("deviceClassName") or ""
                if cycle.listers.find(DEVICE_CLASSES, class_name) is None:
                    raise _Refusal(f"request {want.name}: device class {class_name} does not exist")

    def filter(self, cycle: Cycle, node: NodeInfo) -> Verdict | None:
        claims: _Claims = cycle.notes[self.name]
        reason = ""
        try:
            allocations = self._allocate(cycle, claims, node)
        except (AllocationError, SelectorError) as error:
            return Verdict(self.name, (str(error),), resolvable=False)
        if allocations is None:
            reason = CANNOT_ALLOCATE
        elif any(not _is_available(claim, node) for claim in claims.all):
            reason = NOT_AVAILABLE
        else:
            claims.allocations[node.name] = allocations
        return Verdict(self.name, (reason,), resolvable=False) if reason else None

    def _allocate(self, cycle: Cycle, claims: _Claims, node: NodeInfo) -> list[Object] | None:
        if not claims.open:
            return []
        ledger = cycle.cache.devices
        inventory = Inventory(
            devices=ledger.pools.on(node.name, node.labels),
            taken=ledger.taken,
            consumed=claims.consumed,
            class_of=lambda name: cycle.listers.find(DEVICE_CLASSES, name),
        )
        return plan_allocations(claims.open, inventory, node.name)

    def reserve(self, cycle: Cycle, node: NodeInfo) -> Reservation | None:
        pod = cycle.pod.obj
        if not references_of(pod) or self.pre_filter(cycle) is not None or self.filter(cycle, node) is not None:
            return None
        claims: _Claims = cycle.notes[self.name]
        allocations = iter(claims.allocations[node.name])
        decided = [(claim, next(allocations) if allocation_of(claim) is None else None) for claim in claims.all]
        missing = [entry for entry in decided if not is_reserved_for(entry[0], pod)]
        if not missing:
            return None
        return DeviceReservation(ledger=cycle.cache.devices, listers=cycle.listers, pod=pod, claims=missing)

    def may_help(self, pod: PodInfo, event: ClusterEvent) -> bool:
        if event.resource is not RESOURCE_CLAIMS:
            return True
        old, new = event.old, event.new
        if old is not None and allocation_of(old) is not None and (new is None or allocation_of(new) is None):
            return True  # devices became free
        if new is None or namespace_of(new) != pod.namespace or name_of(new) not in claim_names_of(pod.obj):
            return False
        return old is None or old.get("status") != new.get("status")


def _is_available(claim: Object, node: NodeInfo) -> bool:
    allocation = allocation_of(claim)
    return allocation is None or matches_node_selector(allocation.get("nodeSelector"), node.labels, node.name)
