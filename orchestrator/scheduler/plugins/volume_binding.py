"""VolumeBinding: nodes where a pod's claims are bound, can be bound, or can be provisioned.

Claims of a class with `WaitForFirstConsumer` are decided together with the node: a volume that fits them is
promised to them, or their node is written on them for a provisioner. Both are carried out before the pod is bound
(https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, Final

from msgspec import Struct, field

from orchestrator.api.node_selection import matches_node_selector, matches_term
from orchestrator.api.objects import (
    Object,
    annotations_of,
    controller_of,
    is_terminating,
    name_of,
    namespace_of,
    uid_of,
)
from orchestrator.api.quantity import int_value
from orchestrator.api.resources import (
    CSI_DRIVERS,
    CSI_STORAGE_CAPACITIES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    Resource,
)
from orchestrator.api.selectors import from_label_selector
from orchestrator.api.volume_binding import BIND_COMPLETED, SELECTED_NODE, class_of, fitting_volumes
from orchestrator.scheduler.fields import ConfigurationError
from orchestrator.scheduler.framework import (
    SKIP,
    UNSIGNABLE,
    Action,
    ClusterEvent,
    Cycle,
    Listers,
    Plugin,
    Reads,
    Reservation,
    Skip,
    Verdict,
)
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.pod_info import ClaimReference, PodInfo
from orchestrator.scheduler.volume_reservation import VolumeReservation

BIND_SECONDS_MAX: Final = 600
NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"

NODE_CONFLICT: Final = "node(s) didn't match PersistentVolume's node affinity"
BIND_CONFLICT: Final = "node(s) didn't find available persistent volumes to bind"
NO_SPACE: Final = "node(s) did not have enough free storage"
NO_VOLUME: Final = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
UNBOUND_IMMEDIATE: Final = "pod has unbound immediate PersistentVolumeClaims"


class Decision(Struct):
    """How the delayed claims of a pod get their volumes on one node."""

    bindings: list[tuple[Object, Object]] = field(default_factory=list)
    """(claim, volume) pairs."""
    provisions: list[Object] = field(default_factory=list)
    """Claims that a provisioner makes a volume for."""


class _Claims(Struct):
    """The claims of a pod, looked up once in a cycle."""

    bound: list[Object | None]
    """Volumes of the claims that are bound; None for one that does not exist."""
    delayed: list[tuple[Object, str, list[Object]]]
    """(claim, the node chosen for it already, volumes that could serve it anywhere)."""


def is_bound(claim: Object) -> bool:
    """Whether claim and volume have found each other for good."""
    return bool((claim.get("spec") or {}).get("volumeName")) and BIND_COMPLETED in annotations_of(claim)


def claim_key(claim: Object) -> str:
    """`namespace/name`."""
    return f"{namespace_of(claim)}/{name_of(claim)}"


def complaint_about(pod: PodInfo, reference: ClaimReference, claim: Object | None) -> str:
    """Why a pod cannot run with this claim as it is, anywhere; empty when it can."""
    if claim is None:
        if reference.is_ephemeral:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{reference.name}"'
        return f'persistentvolumeclaim "{reference.name}" not found'
    if (claim.get("status") or {}).get("phase") == "Lost":
        volume = (claim.get("spec") or {}).get("volumeName") or ""
        return f'persistentvolumeclaim "{reference.name}" bound to non-existent persistentvolume "{volume}"'
    if is_terminating(claim):
        return f'persistentvolumeclaim "{reference.name}" is being deleted'
    if reference.is_ephemeral and ((controller_of(claim) or {}).get("uid") != pod.uid):
        return f"PVC {claim_key(claim)} was not created for pod {pod.key} (pod is not owner)"
    return ""


class VolumeBinding(Plugin):
    """Refuses nodes that a claim's volume cannot be used from; reserves volumes for the node that was chosen."""

    name: ClassVar[str] = "VolumeBinding"
    reads = Reads.NODE
    argument_fields: ClassVar[Mapping[str, type] | None] = {"bindTimeoutSeconds": int}
    hints: ClassVar[Mapping[Resource, Action]] = {
        PERSISTENT_VOLUME_CLAIMS: Action.ADD | Action.UPDATE,
        PERSISTENT_VOLUMES: Action.ADD | Action.UPDATE,
        STORAGE_CLASSES: Action.ADD | Action.UPDATE,
        CSI_DRIVERS: Action.ADD | Action.UPDATE,
        CSI_STORAGE_CAPACITIES: Action.ADD | Action.UPDATE,
        NODES: Action.ADD | Action.UPDATE,
    }

    def __init__(self, arguments: Mapping[str, Any] | None = None) -> None:
        super().__init__(arguments)
        seconds = self.arguments.get("bindTimeoutSeconds")
        self._bind_seconds_max = BIND_SECONDS_MAX if seconds is None else int(seconds)
        if self._bind_seconds_max < 0:
            raise ConfigurationError("bindTimeoutSeconds: Invalid value: must be a non-negative integer")

    def sign(self, cycle: Cycle) -> Hashable:
        return UNSIGNABLE if cycle.pod.claims else None

    def pre_filter(self, cycle: Cycle) -> Verdict | Skip | None:
        pod, listers = cycle.pod, cycle.listers
        if not pod.claims:
            return SKIP
        claims = _Claims([], [])
        has_immediate = False
        for reference in pod.claims:
            claim = listers.find(PERSISTENT_VOLUME_CLAIMS, f"{pod.namespace}/{reference.name}")
            complaint = complaint_about(pod, reference, claim)
            if complaint:
                return Verdict(self.name, (complaint,), resolvable=False)
            assert claim is not None
            if is_bound(claim):
                claims.bound.append(listers.find(PERSISTENT_VOLUMES, claim["spec"]["volumeName"]))
            elif self._is_delayed(claim, listers):
                claims.delayed.append(self._delayed(claim, cycle))
            else:
                has_immediate = True
        if has_immediate:
            return Verdict(self.name, (UNBOUND_IMMEDIATE,), resolvable=False)
        cycle.notes[self.name] = claims
        return None

    def _is_delayed(self, claim: Object, listers: Listers) -> bool:
        storage_class = listers.find(STORAGE_CLASSES, class_of(claim)) or {}
        is_prebound = bool(claim["spec"].get("volumeName"))
        return storage_class.get("volumeBindingMode") == "WaitForFirstConsumer" and not is_prebound

    def _delayed(self, claim: Object, cycle: Cycle) -> tuple[Object, str, list[Object]]:
        reservations = cycle.cache.reservations
        key = claim_key(claim)
        chosen = reservations.node_of(key) or annotations_of(claim).get(SELECTED_NODE) or ""
        if chosen:
            return claim, chosen, []
        volumes = cycle.listers.volumes_of_class(class_of(claim))
        free = [volume for volume in volumes if reservations.claim_of(name_of(volume)) in ("", key)]
        return claim, "", fitting_volumes(claim, free)

    def filter(self, cycle: Cycle, node: NodeInfo) -> Verdict | None:
        decided = self._decide(cycle, node)
        return None if isinstance(decided, Decision) else Verdict(self.name, decided, resolvable=False)

    def _decide(self, cycle: Cycle, node: NodeInfo) -> Decision | tuple[str, ...]:
        claims: _Claims = cycle.notes[self.name]
        reasons: list[str] = []
        if any(volume is not None and not is_reachable(volume, node) for volume in claims.bound):
            reasons.append(NODE_CONFLICT)
        decision = Decision()
        reason = self._decide_delayed(cycle, claims, node, decision)
        if reason:
            reasons.append(reason)
        if any(volume is None for volume in claims.bound):
            reasons.append(NO_VOLUME)
        return tuple(reasons) if reasons else decision

    def _decide_delayed(self, cycle: Cycle, claims: _Claims, node: NodeInfo, decision: Decision) -> str:
        taken: set[str] = set()
        for claim, chosen, volumes in claims.delayed:
            if chosen and chosen != node.name:
                return BIND_CONFLICT
            if cycle.cache.reservations.node_of(claim_key(claim)):
                continue  # another pod's binding has decided, and is under way
            found = next(
                (volume for volume in volumes if name_of(volume) not in taken and is_reachable(volume, node)), None
            )
            if found is not None:
                taken.add(name_of(found))
                decision.bindings.append((claim, found))
                continue
            reason = cannot_provision(claim, node, cycle.listers)
            if reason:
                return reason
            decision.provisions.append(claim)
        return ""

    def reserve(self, cycle: Cycle, node: NodeInfo) -> Reservation | None:
        if not cycle.pod.claims or not isinstance(self.pre_filter(cycle), type(None)):
            return None
        claims: _Claims = cycle.notes[self.name]
        decided = self._decide(cycle, node)
        if not claims.delayed or not isinstance(decided, Decision):
            return None
        return VolumeReservation(
            reservations=cycle.cache.reservations,
            listers=cycle.listers,
            node=node.name,
            bindings=decided.bindings,
            provisions=decided.provisions,
            waits_for=[claim for claim, _, _ in claims.delayed],
            seconds_max=self._bind_seconds_max,
        )

    def may_help(self, pod: PodInfo, event: ClusterEvent) -> bool:
        new = event.new or {}
        if event.resource is PERSISTENT_VOLUME_CLAIMS:
            return namespace_of(new) == pod.namespace and any(claim.name == name_of(new) for claim in pod.claims)
        if event.resource is PODS:
            return event.new_pod is not None and event.new_pod.uid == pod.uid
        return True


def is_reachable(volume: Object, node: NodeInfo) -> bool:
    """Whether a volume can be used from a node (`spec.nodeAffinity`)."""
    required = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required")
    return matches_node_selector(required, node.labels, node.name)


def cannot_provision(claim: Object, node: NodeInfo, listers: Listers) -> str:
    """Why no volume can be made for a claim on a node; empty when one can."""
    storage_class = listers.find(STORAGE_CLASSES, class_of(claim)) or {}
    provisioner = storage_class.get("provisioner") or ""
    if not provisioner or provisioner == NO_PROVISIONER:
        return BIND_CONFLICT
    topologies = storage_class.get("allowedTopologies")
    if topologies and not any(_is_in_topology(topology, node) for topology in topologies):
        return BIND_CONFLICT
    driver = listers.find(CSI_DRIVERS, provisioner)
    if driver is not None and (driver.get("spec") or {}).get("storageCapacity"):
        return "" if _has_capacity(claim, storage_class, node, listers) else NO_SPACE
    return ""


def _is_in_topology(topology: Mapping[str, Any], node: NodeInfo) -> bool:
    expressions = [
        {"key": entry.get("key"), "operator": "In", "values": entry.get("values") or ()}
        for entry in topology.get("matchLabelExpressions") or ()
    ]
    return matches_term({"matchExpressions": expressions}, node.labels, node.name)


def _has_capacity(claim: Object, storage_class: Object, node: NodeInfo, listers: Listers) -> bool:
    wanted = int_value(((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage") or 0)
    for capacity in listers.list(CSI_STORAGE_CAPACITIES):
        room = capacity.get("maximumVolumeSize") or capacity.get("capacity")
        if (
            capacity.get("storageClassName") == name_of(storage_class)
            and room is not None
            and int_value(room) >= wanted
            and capacity.get("nodeTopology") is not None
            and from_label_selector(capacity["nodeTopology"]).matches(node.labels)
        ):
            return True
    return False


def driver_of(claim: Object, volume: Object | None, listers: Listers) -> str:
    """The CSI driver that serves a claim, or will; empty when none does."""
    if volume is not None:
        return str((((volume.get("spec") or {}).get("csi")) or {}).get("driver") or "")
    storage_class = listers.find(STORAGE_CLASSES, class_of(claim)) or {}
    return str(storage_class.get("provisioner") or "")


def handle_of(claim: Object, volume: Object | None) -> str:
    """What identifies a volume to its driver; a volume that does not exist yet is known by its claim."""
    if volume is not None:
        return str((((volume.get("spec") or {}).get("csi")) or {}).get("volumeHandle") or name_of(volume))
    return uid_of(claim)


def volume_of(claim: Object, listers: Listers) -> Object | None:
    """The volume of a claim, if it has one."""
    name = (claim.get("spec") or {}).get("volumeName")
    return listers.find(PERSISTENT_VOLUMES, name) if name else None


def claims_of(pod: PodInfo, listers: Listers) -> Sequence[Object]:
    """The claims of a pod that exist."""
    found = (listers.find(PERSISTENT_VOLUME_CLAIMS, f"{pod.namespace}/{claim.name}") for claim in pod.claims)
    return [claim for claim in found if claim is not None]
