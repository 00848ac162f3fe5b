"""Which volume a claim gets, and in which phase both are. Pure.

The pair is bound when each names the other: first the volume names the claim (`spec.claimRef`), then
the claim the volume (`spec.volumeName`), so that a crash between the two is repaired by the next look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct, field

from orchestrator.api.objects import (
    Object,
    annotations_of,
    copy_object,
    name_of,
)
from orchestrator.api.volume_binding import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    CLASS_ANNOTATION,
    class_of,
    complaint,
    find_volume,
    is_for,
)

PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PROVISIONER_ANNOTATIONS = ("volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner")
DEFAULTCLASS_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)

Event = tuple[str, str, str]


class ClaimPlan(Struct):
    """What to do for a claim."""

    bind: Object | None = None
    """The volume that it gets (or has)."""
    phase: Literal["", "Pending", "Lost"] = ""
    events: list[Event] = field(default_factory=list)
    provisioner: str = ""
    """Who is to make a volume; written on the claim for it."""


class VolumePlan(Struct):
    """What to do for a volume."""

    phase: str
    message: str = ""
    reason: str = ""
    unbind: bool = False
    """The claim it names took another volume."""
    look_at_claim: bool = False
    events: list[Event] = field(default_factory=list)


def has_no_class(claim: Object) -> bool:
    """Whether a claim leaves the class to the cluster; an empty name means none on purpose."""
    return (claim.get("spec") or {}).get("storageClassName") is None and CLASS_ANNOTATION not in annotations_of(claim)


def default_class(classes: Iterable[Object]) -> str:
    """The name of the default storage class; of several the newest."""
    marked = [one for one in classes if any(annotations_of(one).get(a) == "true" for a in DEFAULTCLASS_ANNOTATIONS)]
    newest = max(marked, key=lambda one: (one["metadata"].get("creationTimestamp") or "", name_of(one)), default=None)
    return name_of(newest) if newest is not None else ""


def plan_claim(
    claim: Object,
    volumes: Iterable[Object],
    named: Object | None,
    storage_class: Object | None,
    node: Object | None,
    waiting_pods: Sequence[str] = (),
) -> ClaimPlan:
    """What a claim needs.

    `named`: the volume in its spec, if that exists; `node`: where its pod is or will be; `waiting_pods`: the names of
    its pods that have no node yet.
    """
    wanted = (claim.get("spec") or {}).get("volumeName") or ""
    if annotations_of(claim).get(BIND_COMPLETED):
        return _plan_bound(claim, wanted, named)
    if wanted:
        return _plan_named(claim, named)
    delays = (storage_class or {}).get("volumeBindingMode") == "WaitForFirstConsumer"
    waits = delays and node is None
    found = find_volume(claim, volumes, node, only_named=waits)
    if found is not None:
        return ClaimPlan(bind=found)
    plan = ClaimPlan(phase="Pending")
    class_name = class_of(claim)
    if waits:
        if waiting_pods:
            pods = f"pod{'s' if len(waiting_pods) > 1 else ''} {','.join(waiting_pods)}"
            plan.events.append(("Normal", "WaitForPodScheduled", f"waiting for {pods} to be scheduled"))
        else:
            message = "waiting for first consumer to be created before binding"
            plan.events.append(("Normal", "WaitForFirstConsumer", message))
    elif not class_name:
        message = "no persistent volumes available for this claim and no storage class is set"
        plan.events.append(("Normal", "FailedBinding", message))
    elif storage_class is None:
        message = f'storageclass.storage.k8s.io "{class_name}" not found'
        plan.events.append(("Warning", "ProvisioningFailed", message))
    else:
        plan.provisioner = storage_class.get("provisioner") or ""
        message = (
            "Waiting for a volume to be created either by the external provisioner "
            f"'{plan.provisioner}' or manually by the system administrator. If volume creation is delayed, please "
            "verify that the provisioner is running and correctly registered."
        )
        plan.events.append(("Normal", "ExternalProvisioning", message))
    return plan


def _plan_bound(claim: Object, wanted: str, named: Object | None) -> ClaimPlan:
    if not wanted:
        message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
        return ClaimPlan(phase="Lost", events=[("Warning", "ClaimLost", message)])
    if named is None:
        message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        return ClaimPlan(phase="Lost", events=[("Warning", "ClaimLost", message)])
    if not (named.get("spec") or {}).get("claimRef") or is_for(named, claim):
        return ClaimPlan(bind=named)
    message = "Two claims are bound to the same volume, this one is bound incorrectly"
    return ClaimPlan(phase="Lost", events=[("Warning", "ClaimMisbound", message)])


def _plan_named(claim: Object, named: Object | None) -> ClaimPlan:
    if named is None:
        return ClaimPlan(phase="Pending")  # it may come yet
    if not (named.get("spec") or {}).get("claimRef"):
        why = complaint(named, claim)
        if why:
            message = f'Cannot bind to requested volume "{name_of(named)}": {why}'
            return ClaimPlan(phase="Pending", events=[("Warning", "VolumeMismatch", message)])
        return ClaimPlan(bind=named)
    if is_for(named, claim):
        return ClaimPlan(bind=named)
    message = f'volume "{name_of(named)}" already bound to a different claim.'
    return ClaimPlan(phase="Pending", events=[("Warning", "FailedBinding", message)])


def bound_claim(claim: Object, volume: Object) -> Object | None:
    """The claim naming the volume; None when it does so already."""
    wanted = (claim.get("spec") or {}).get("volumeName") or ""
    annotations = dict(annotations_of(claim))
    annotations[BIND_COMPLETED] = "yes"
    if not wanted:
        annotations[BOUND_BY_CONTROLLER] = "yes"
    if wanted == name_of(volume) and annotations == annotations_of(claim):
        return None
    changed = copy_object(claim)
    changed["spec"]["volumeName"] = name_of(volume)
    changed["metadata"]["annotations"] = annotations
    return changed


def plan_claim_status(claim: Object, plan: ClaimPlan) -> dict[str, Any]:
    """The status of a claim: its phase and what it has got."""
    status: dict[str, Any] = {**(claim.get("status") or {})}
    if plan.bind is None:
        if plan.phase:
            status["phase"] = plan.phase
        return status
    spec = plan.bind.get("spec") or {}
    if status.get("phase") != "Bound":
        status |= {"accessModes": spec.get("accessModes") or [], "capacity": spec.get("capacity") or {}}
    status["phase"] = "Bound"
    if attributes_class := spec.get("volumeAttributesClassName"):
        status.setdefault("currentVolumeAttributesClassName", attributes_class)
    return status


def plan_volume(volume: Object, claim: Object | None) -> VolumePlan:
    """In which phase a volume is. `claim`: the one that it names, if that exists under its uid."""
    reference = (volume.get("spec") or {}).get("claimRef")
    if not reference or not reference.get("uid"):
        return VolumePlan("Available", look_at_claim=bool(reference))
    if claim is None:
        return _plan_reclaim(volume)
    wanted = (claim.get("spec") or {}).get("volumeName") or ""
    if wanted == name_of(volume):
        return VolumePlan("Bound")
    if not wanted:
        # The other half of a binding is to come.
        return VolumePlan((volume.get("status") or {}).get("phase") or "Available", look_at_claim=True)
    if annotations_of(volume).get(PROVISIONED_BY) and _policy(volume) == "Delete":
        return _plan_reclaim(volume)
    return VolumePlan("Available", unbind=True)


def _policy(volume: Object) -> str:
    return (volume.get("spec") or {}).get("persistentVolumeReclaimPolicy") or "Retain"


def _plan_reclaim(volume: Object) -> VolumePlan:
    """The claim is gone: keep the data, leave them to the provisioner that made them, or say that nobody can."""
    policy = _policy(volume)
    if policy == "Retain" or (policy == "Delete" and annotations_of(volume).get(PROVISIONED_BY)):
        return VolumePlan("Released")
    name = name_of(volume)
    # Simplified: no in-tree plugin deletes or scrubs data; Kubernetes has one for hostPath volumes in tests.
    if policy == "Delete":
        message = f'error getting deleter volume plugin for volume "{name}": no deletable volume plugin matched'
        return VolumePlan("Failed", message, "VolumeFailedDelete", events=[("Warning", "VolumeFailedDelete", message)])
    message = "No recycler plugin found for the volume!"
    return VolumePlan("Failed", message, "VolumeFailedRecycle", events=[("Warning", "VolumeFailedRecycle", message)])


def unbound_volume(volume: Object) -> Object:
    """The volume without the claim that left it; what an administrator reserved stays reserved."""
    changed = copy_object(volume)
    if annotations_of(volume).get(BOUND_BY_CONTROLLER):
        changed["metadata"]["annotations"].pop(BOUND_BY_CONTROLLER)
        del changed["spec"]["claimRef"]
    else:
        changed["spec"]["claimRef"].pop("uid", None)
        changed["spec"]["claimRef"].pop("resourceVersion", None)
    return changed


def plan_volume_status(volume: Object, plan: VolumePlan, now: str) -> Mapping[str, Any]:
    """The status of a volume."""
    old = volume.get("status") or {}
    status: dict[str, Any] = {key: value for key, value in old.items() if key not in ("message", "reason")}
    status["phase"] = plan.phase
    if plan.message:
        status |= {"message": plan.message, "reason": plan.reason}
    if old.get("phase") != plan.phase:
        status["lastPhaseTransitionTime"] = now
    return status
