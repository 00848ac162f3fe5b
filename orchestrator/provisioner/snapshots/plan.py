"""What a VolumeSnapshot and its VolumeSnapshotContent should be. Pure.

A snapshot and its content name each other: `status.boundVolumeSnapshotContentName` and `spec.volumeSnapshotRef` with
its uid. A *dynamic* content is made for a snapshot that names a claim; a *pre-provisioned* one is written by an
administrator, with the handle of a snapshot that is there. Names, reasons and finalizers are those of
kubernetes-csi/external-snapshotter, whose documentation is
https://kubernetes.io/docs/concepts/storage/volume-snapshots/.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct

from orchestrator.aiokit.clock import format_time
from orchestrator.api.objects import (
    Object,
    annotations_of,
    is_terminating,
    key_of,
    name_of,
    namespace_of,
    resource_version_of,
    uid_of,
)
from orchestrator.api.quantity import BINARY_SI, Quantity
from orchestrator.api.volume_binding import is_for
from orchestrator.provisioner.plan import provisioner_of

_PREFIX = "snapshot.storage.kubernetes.io/"
AS_SOURCE_FINALIZER = f"{_PREFIX}volumesnapshot-as-source-protection"
"""On a snapshot: claims may be restored from it."""
BOUND_FINALIZER = f"{_PREFIX}volumesnapshot-bound-protection"
"""On a snapshot whose content goes with it."""
CONTENT_FINALIZER = f"{_PREFIX}volumesnapshotcontent-bound-protection"
CLAIM_FINALIZER = f"{_PREFIX}pvc-as-source-protection"
"""On a claim: its data are being copied into a snapshot."""
DEFAULT_CLASS = f"{_PREFIX}is-default-class"
BEING_DELETED = f"{_PREFIX}volumesnapshot-being-deleted"
"""On a content: its snapshot is going, so it may go as well."""
_NANOSECONDS = 1_000_000_000


class Trouble(Struct, frozen=True):
    """Why something is not possible now: the reason of an Event and its message."""

    reason: str
    message: str


# What objects say.


def source_claim_of(snapshot: Object) -> str:
    """The claim that a snapshot is taken of, as `namespace/name`; empty for a pre-provisioned one."""
    name = snapshot["spec"]["source"].get("persistentVolumeClaimName")
    return f"{namespace_of(snapshot)}/{name}" if name else ""


def source_content_of(snapshot: Object) -> str:
    """The pre-provisioned content that a snapshot names; empty for a dynamic one."""
    return snapshot["spec"]["source"].get("volumeSnapshotContentName") or ""


def content_name_of(snapshot: Object) -> str:
    """The content that belongs to a snapshot; always the same, so that it is made once."""
    return source_content_of(snapshot) or f"snapcontent-{uid_of(snapshot)}"


def snapshot_key_of(content: Object) -> str:
    """The snapshot that a content is for, as `namespace/name`."""
    reference = content["spec"]["volumeSnapshotRef"]
    return f"{reference.get('namespace')}/{reference.get('name')}"


def class_name_of(snapshot: Object) -> str:
    """The class that a snapshot names; empty before it has one."""
    return snapshot["spec"].get("volumeSnapshotClassName") or ""


def handle_of(content: Object) -> str:
    """What the driver knows the snapshot of a content by, also before it is taken."""
    handle = (content.get("status") or {}).get("snapshotHandle") or content["spec"]["source"].get("snapshotHandle")
    return handle or f"snapshot-{content['spec']['volumeSnapshotRef'].get('uid')}"


def is_ready(obj: Object) -> bool:
    """Whether a snapshot, or a content, can be restored."""
    return (obj.get("status") or {}).get("readyToUse") is True


def bound_content_of(snapshot: Object) -> str:
    """The content that a snapshot says it has; empty before that."""
    return (snapshot.get("status") or {}).get("boundVolumeSnapshotContentName") or ""


def is_bound_to(content: Object, snapshot: Object) -> bool:
    """Whether a content is for this very snapshot."""
    return (
        snapshot_key_of(content) == key_of(snapshot)
        and content["spec"]["volumeSnapshotRef"].get("uid") == uid_of(snapshot)
    )  # fmt: skip


# Snapshots.


def default_class(classes: Iterable[Object], driver: str) -> Object | Trouble:
    """The one default class for the driver of a claim's volume."""
    found = [one for one in classes if annotations_of(one).get(DEFAULT_CLASS) == "true" and one.get("driver") == driver]
    if len(found) == 1:
        return found[0]
    why = f"{len(found)} default snapshot classes were found" if found else "cannot find default snapshot class"
    return Trouble("SetDefaultSnapshotClassFailed", f"Failed to set default snapshot class with error {why}")


def plan_content(
    snapshot: Object, snapshot_class: Object, claim: Object | None, volume: Object | None
) -> Object | Trouble:
    """The content for a dynamic snapshot of a claim and its volume."""
    failed = "Failed to create snapshot content with error "
    why = ""
    claim_name = snapshot["spec"]["source"]["persistentVolumeClaimName"]
    if claim is None:
        why = f'failed to retrieve PVC {claim_name} from the lister: "persistentvolumeclaim "{claim_name}" not found"'
    elif is_terminating(claim):
        why = f"cannot add finalizer on claim {claim_name} because it is being deleted"
    elif (claim.get("status") or {}).get("phase") != "Bound":
        why = f"the PVC {claim_name} is not yet bound to a PV, will not attempt to take a snapshot"
    elif volume is None or not is_for(volume, claim):
        why = "claim in dataSource not bound or invalid"
    elif provisioner_of(volume) != snapshot_class["driver"]:
        why = f"volume {name_of(volume)} was not provisioned by {snapshot_class['driver']}"
    elif parameters := _own_parameters(snapshot_class):
        why = f"unknown parameters of class {name_of(snapshot_class)}: {', '.join(parameters)}"
    if why or volume is None:
        return Trouble("SnapshotContentCreationFailed", failed + why)
    return {
        "apiVersion": snapshot["apiVersion"],
        "kind": "VolumeSnapshotContent",
        "metadata": {"name": content_name_of(snapshot), "finalizers": [CONTENT_FINALIZER]},
        "spec": {
            "volumeSnapshotRef": {
                "apiVersion": snapshot["apiVersion"],
                "kind": "VolumeSnapshot",
                "namespace": namespace_of(snapshot),
                "name": name_of(snapshot),
                "uid": uid_of(snapshot),
                "resourceVersion": resource_version_of(snapshot),
            },
            "source": {"volumeHandle": name_of(volume)},
            "sourceVolumeMode": volume["spec"].get("volumeMode") or "Filesystem",
            "volumeSnapshotClassName": name_of(snapshot_class),
            "deletionPolicy": snapshot_class["deletionPolicy"],
            "driver": snapshot_class["driver"],
        },
    }


def _own_parameters(snapshot_class: Object) -> list[str]:
    """Parameters for the driver: those with this prefix are for the controllers."""
    return sorted(one for one in snapshot_class.get("parameters") or () if not one.startswith("csi.storage.k8s.io/"))


def plan_binding(snapshot: Object, content: Object | None) -> Trouble | None:
    """Why a snapshot cannot have the content that it names or that has its name; None when it can."""
    if content is None:
        return Trouble("SnapshotContentMissing", "VolumeSnapshotContent is missing")
    is_dynamic = bool(content["spec"]["source"].get("volumeHandle"))
    if source_content_of(snapshot):
        if is_dynamic:
            text = "VolumeSnapshotContent is dynamically provisioned while expecting a pre-provisioned one"
            return Trouble("SnapshotContentMismatch", text)
    elif not is_dynamic:
        text = (
            f"VolumeSnapshotContent {name_of(content)} is pre-provisioned while expecting a dynamically provisioned one"
        )
        return Trouble("SnapshotContentMismatch", text)
    uid = content["spec"]["volumeSnapshotRef"].get("uid")
    if snapshot_key_of(content) != key_of(snapshot) or (uid and uid != uid_of(snapshot)):
        text = f"VolumeSnapshotContent [{name_of(content)}] is bound to a different snapshot"
        return Trouble("SnapshotContentMisbound", text)
    return None


def plan_snapshot_status(snapshot: Object, content: Object) -> dict[str, Any]:
    """The status of a snapshot, from that of its content."""
    status, known = {**(snapshot.get("status") or {})}, content.get("status") or {}
    status.pop("error", None)
    status["boundVolumeSnapshotContentName"] = name_of(content)
    status["readyToUse"] = is_ready(content)
    if (taken := known.get("creationTime")) is not None:
        status["creationTime"] = format_time(datetime.fromtimestamp(taken / _NANOSECONDS, UTC))
    if (size := known.get("restoreSize")) is not None:
        status["restoreSize"] = str(Quantity(size * _NANOSECONDS, BINARY_SI))
    if known.get("error") and not status["readyToUse"]:
        status["error"] = known["error"]
    return status


def plan_progress_events(snapshot: Object, status: dict[str, Any]) -> list[tuple[str, str]]:
    """Reason and message of what a new status says for the first time."""
    before, key = snapshot.get("status") or {}, key_of(snapshot)
    events = []
    if status.get("creationTime") and not before.get("creationTime"):
        events.append(("SnapshotCreated", f"Snapshot {key} was successfully created by the CSI driver."))
    if status.get("readyToUse") and not before.get("readyToUse"):
        events.append(("SnapshotReady", f"Snapshot {key} is ready to use."))
    return events


def plan_snapshot_finalizers(snapshot: Object, content: Object | None) -> list[str] | None:
    """The finalizers of a snapshot that is not being deleted; None when it has them."""
    present = list(snapshot["metadata"].get("finalizers") or ())
    wanted = [AS_SOURCE_FINALIZER]
    if content is not None and content["spec"]["deletionPolicy"] == "Delete":
        wanted.append(BOUND_FINALIZER)
    missing = [one for one in wanted if one not in present]
    return [*present, *missing] if missing else None


class Deletion(Struct, frozen=True):
    """The next step of a snapshot that is being deleted."""

    wait: bool = False
    """A claim is being restored from it."""
    mark_content: bool = False
    delete_content: bool = False
    finalizers: tuple[str, ...] | None = None
    """What it should have; None when it has it."""


def plan_deletion(snapshot: Object, content: Object | None, *, is_restored: bool) -> Deletion:
    """How a snapshot goes, and what of its content; `is_restored`: a pending claim begins with its data."""
    if content is not None and not is_bound_to(content, snapshot):
        content = None  # somebody else's, or nobody's yet
    if content is not None and is_restored:
        return Deletion(wait=True)
    goes_along = content is not None and content["spec"]["deletionPolicy"] == "Delete"
    done = {AS_SOURCE_FINALIZER} if goes_along else {AS_SOURCE_FINALIZER, BOUND_FINALIZER}
    present = tuple(snapshot["metadata"].get("finalizers") or ())
    kept = tuple(one for one in present if one not in done)
    return Deletion(
        mark_content=content is not None and BEING_DELETED not in annotations_of(content),
        delete_content=goes_along and content is not None and not is_terminating(content),
        finalizers=kept if kept != present else None,
    )


def is_claim_needed(pairs: Iterable[tuple[Object, Object | None]]) -> bool:
    """Whether a claim's data are being copied, or are about to be: `pairs` are snapshots of it with their contents."""
    for snapshot, content in pairs:
        if is_ready(snapshot):
            continue
        if content is not None:
            if not is_ready(content):
                return True
        elif not is_terminating(snapshot) and not (snapshot.get("status") or {}).get("error"):
            return True
    return False


# Contents.

Step = Literal["protect", "take", "look", "remove", "release"]


def plan_content_step(content: Object) -> Step | None:
    """What the driver, or its keeper, has to do about a content next; None when all is well.

    A content that is deleted while its snapshot is there stays until that one goes.
    """
    spec = content["spec"]
    is_protected = CONTENT_FINALIZER in (content["metadata"].get("finalizers") or ())
    is_bound = bool(spec["volumeSnapshotRef"].get("uid"))
    if is_terminating(content):
        if not is_protected or (is_bound and BEING_DELETED not in annotations_of(content)):
            return None
        return "remove" if spec["deletionPolicy"] == "Delete" else "release"
    if is_bound and not is_protected:
        return "protect"
    if is_ready(content):
        return None
    return "take" if spec["source"].get("volumeHandle") else "look"
