"""What snapshots and their contents should be: classes, bindings, statuses, finalizers, ends."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.provisioner.directory_backend import PROVISIONER
from orchestrator.provisioner.plan import PROVISIONED_BY
from orchestrator.provisioner.snapshots.plan import (
    AS_SOURCE_FINALIZER,
    BEING_DELETED,
    BOUND_FINALIZER,
    CONTENT_FINALIZER,
    DEFAULT_CLASS,
    Deletion,
    Trouble,
    default_class,
    handle_of,
    is_claim_needed,
    plan_binding,
    plan_content,
    plan_content_step,
    plan_deletion,
    plan_progress_events,
    plan_snapshot_finalizers,
    plan_snapshot_status,
)

DELETED: dict[str, Any] = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
READY = {"readyToUse": True}
FAILED = {"error": {"time": "2026-01-01T00:00:00Z", "message": "no"}}


def snapshot(status: Object | None = None, *, source: Object | None = None, **metadata: Any) -> Object:
    return {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshot",
        "metadata": {"name": "snap", "namespace": "ns", "uid": "u1", "resourceVersion": "7", **metadata},
        "spec": {"source": source or {"persistentVolumeClaimName": "data"}},
        "status": status or {},
    }


def content(
    status: Object | None = None, *, handle: str = "", uid: str = "u1", policy: str = "Delete", **metadata: Any
) -> Object:
    return {
        "metadata": {"name": "snapcontent-u1", **metadata},
        "spec": {
            "deletionPolicy": policy,
            "driver": PROVISIONER,
            "source": {"snapshotHandle": handle} if handle else {"volumeHandle": "pvc-1"},
            "volumeSnapshotRef": {"namespace": "ns", "name": "snap", **({"uid": uid} if uid else {})},
        },
        "status": status or {},
    }


def snapshot_class(name: str = "standard", driver: str = PROVISIONER, **fields: Any) -> Object:
    metadata = {"name": name, "annotations": {DEFAULT_CLASS: "true"}}
    return {"metadata": metadata, "driver": driver, "deletionPolicy": "Retain", **fields}


def claim(phase: str = "Bound", **metadata: Any) -> Object:
    own = {"name": "data", "namespace": "ns", "uid": "c1", **metadata}
    return {"metadata": own, "spec": {"volumeName": "pvc-1"}, "status": {"phase": phase}}


def volume(provisioner: str = PROVISIONER, uid: str = "c1") -> Object:
    return {
        "metadata": {"name": "pvc-1", "annotations": {PROVISIONED_BY: provisioner}},
        "spec": {"claimRef": {"namespace": "ns", "name": "data", "uid": uid}, "volumeMode": "Block"},
    }


PREPROVISIONED = {"volumeSnapshotContentName": "by-hand"}


@pytest.mark.parametrize(
    ("classes", "found"),
    [
        ([snapshot_class()], "standard"),
        ([snapshot_class(), snapshot_class("theirs", "example.com")], "standard"),
        ([], "cannot find default snapshot class"),
        ([{**snapshot_class(), "metadata": {"name": "standard"}}], "cannot find default snapshot class"),
        ([snapshot_class(), snapshot_class("two")], "2 default snapshot classes were found"),
    ],
)
def test_the_default_class_is_the_only_one_of_its_driver(classes: list[Object], found: str) -> None:
    chosen = default_class(classes, PROVISIONER)
    if isinstance(chosen, Trouble):
        assert (chosen.reason, found in chosen.message) == ("SetDefaultSnapshotClassFailed", True)
    else:
        assert chosen["metadata"]["name"] == found


def test_a_content_names_the_volume_and_the_snapshot() -> None:
    made = plan_content(snapshot(), snapshot_class(), claim(), volume())
    assert not isinstance(made, Trouble)
    assert made["metadata"] == {"name": "snapcontent-u1", "finalizers": [CONTENT_FINALIZER]}
    assert made["spec"]["source"] == {"volumeHandle": "pvc-1"}
    assert made["spec"]["volumeSnapshotRef"]["uid"] == "u1"
    assert (made["spec"]["deletionPolicy"], made["spec"]["sourceVolumeMode"]) == ("Retain", "Block")
    assert handle_of(made) == "snapshot-u1"


@pytest.mark.parametrize(
    ("one", "behind", "fields", "why"),
    [
        (None, None, {}, "failed to retrieve PVC data"),
        (claim(**DELETED), volume(), {}, "it is being deleted"),
        (claim("Pending"), volume(), {}, "not yet bound"),
        (claim(), None, {}, "not bound or invalid"),
        (claim(), volume(uid="other"), {}, "not bound or invalid"),
        (claim(), volume("example.com/nfs"), {}, "was not provisioned by"),
        (claim(), volume(), {"parameters": {"size": "1", "csi.storage.k8s.io/x": "y"}}, "class standard: size"),
    ],
)
def test_what_cannot_be_taken_is_told(one: Any, behind: Any, fields: Any, why: str) -> None:
    trouble = plan_content(snapshot(), snapshot_class(**fields), one, behind)
    assert isinstance(trouble, Trouble)
    assert trouble.reason == "SnapshotContentCreationFailed"
    assert why in trouble.message


@pytest.mark.parametrize(
    ("one", "its", "reason"),
    [
        (snapshot(), content(), ""),
        (snapshot(), None, "SnapshotContentMissing"),
        (snapshot(), content(handle="h"), "SnapshotContentMismatch"),
        (snapshot(), content(uid="other"), "SnapshotContentMisbound"),
        (snapshot(source=PREPROVISIONED), content(handle="h"), ""),
        (snapshot(source=PREPROVISIONED), content(handle="h", uid=""), ""),
        (snapshot(source=PREPROVISIONED), content(), "SnapshotContentMismatch"),
        (snapshot(source=PREPROVISIONED, name="other"), content(handle="h", uid=""), "SnapshotContentMisbound"),
    ],
)
def test_a_snapshot_and_its_content_name_each_other(one: Object, its: Object | None, reason: str) -> None:
    trouble = plan_binding(one, its)
    assert (trouble.reason if trouble is not None else "") == reason


def test_the_status_is_that_of_the_content() -> None:
    known = {"creationTime": 1_767_225_600_000_000_000, "restoreSize": 10 << 20, **READY}
    before = snapshot(FAILED)
    status = plan_snapshot_status(before, content(known))
    assert status == {
        "boundVolumeSnapshotContentName": "snapcontent-u1",
        "creationTime": "2026-01-01T00:00:00Z",
        "readyToUse": True,
        "restoreSize": "10Mi",
    }
    assert [reason for reason, _ in plan_progress_events(before, status)] == ["SnapshotCreated", "SnapshotReady"]
    assert plan_progress_events({**before, "status": status}, status) == []
    assert plan_snapshot_status(before, content({**FAILED, "readyToUse": False}))["error"] == FAILED["error"]


@pytest.mark.parametrize(
    ("one", "its", "finalizers"),
    [
        (snapshot(), None, [AS_SOURCE_FINALIZER]),
        (snapshot(), content(), [AS_SOURCE_FINALIZER, BOUND_FINALIZER]),
        (snapshot(), content(policy="Retain"), [AS_SOURCE_FINALIZER]),
        (snapshot(finalizers=["mine", AS_SOURCE_FINALIZER]), content(), ["mine", AS_SOURCE_FINALIZER, BOUND_FINALIZER]),
        (snapshot(finalizers=[BOUND_FINALIZER, AS_SOURCE_FINALIZER]), content(), None),
    ],
)
def test_finalizers_of_a_snapshot(one: Object, its: Object | None, finalizers: list[str] | None) -> None:
    assert plan_snapshot_finalizers(one, its) == finalizers


BOTH = [AS_SOURCE_FINALIZER, BOUND_FINALIZER]
GOING = snapshot(finalizers=["mine", *BOTH], **DELETED)
MARKED: dict[str, Any] = {"annotations": {BEING_DELETED: "yes"}}


@pytest.mark.parametrize(
    ("its", "restored", "plan"),
    [
        (None, False, Deletion(finalizers=("mine",))),
        (None, True, Deletion(finalizers=("mine",))),
        (content(), True, Deletion(wait=True)),
        (
            content(), False,
            Deletion(mark_content=True, delete_content=True, finalizers=("mine", BOUND_FINALIZER)),
        ),
        (content(**MARKED, **DELETED), False, Deletion(finalizers=("mine", BOUND_FINALIZER))),
        (content(policy="Retain"), False, Deletion(mark_content=True, finalizers=("mine",))),
        (content(uid="other"), False, Deletion(finalizers=("mine",))),
    ],
)  # fmt: skip
def test_how_a_snapshot_goes(its: Object | None, restored: bool, plan: Deletion) -> None:
    assert plan_deletion(GOING, its, is_restored=restored) == plan


@pytest.mark.parametrize(
    ("pairs", "needed"),
    [
        ([], False),
        ([(snapshot(), None)], True),
        ([(snapshot(FAILED), None)], False),
        ([(snapshot(**DELETED), None)], False),
        ([(snapshot(), content())], True),
        ([(snapshot(FAILED), content(FAILED))], True),
        ([(snapshot(**DELETED), content())], True),
        ([(snapshot(), content(READY))], False),
        ([(snapshot(READY), content(READY)), (snapshot(), content())], True),
    ],
)
def test_a_claim_is_needed_while_its_data_are_copied(pairs: Any, needed: bool) -> None:
    assert is_claim_needed(pairs) is needed


PROTECTED: dict[str, Any] = {"finalizers": [CONTENT_FINALIZER]}


@pytest.mark.parametrize(
    ("one", "step"),
    [
        (content(), "protect"),
        (content(**PROTECTED), "take"),
        (content(READY, **PROTECTED), None),
        (content(handle="h", **PROTECTED), "look"),
        (content(handle="h", uid=""), "look"),
        (content(READY, handle="h", uid=""), None),
        (content(READY, **PROTECTED, **DELETED), None),
        (content(READY, **PROTECTED, **DELETED, **MARKED), "remove"),
        (content(READY, policy="Retain", **PROTECTED, **DELETED, **MARKED), "release"),
        (content(READY, finalizers=["other"], **DELETED, **MARKED), None),
    ],
)
def test_the_next_step_of_a_content(one: Object, step: str | None) -> None:
    assert plan_content_step(one) == step
