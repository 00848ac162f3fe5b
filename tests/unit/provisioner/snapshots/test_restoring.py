"""Which snapshot a claim begins with, or why it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.provisioner.directory_backend import PROVISIONER
from orchestrator.provisioner.snapshots.restoring import Refusal, is_for_populator, plan_restore, source_snapshot_of

GROUP = "snapshot.storage.k8s.io"
SOURCE = {"apiGroup": GROUP, "kind": "VolumeSnapshot", "name": "snap"}


def claim(source: Object | None = None, *, size: str = "1Gi", mode: str = "Filesystem") -> Object:
    spec = {"dataSource": source, "resources": {"requests": {"storage": size}}, "volumeMode": mode}
    return {"metadata": {"name": "data", "namespace": "ns"}, "spec": spec}


def snapshot(**status: Any) -> Object:
    known = {"boundVolumeSnapshotContentName": "content", "readyToUse": True, "restoreSize": "1Gi", **status}
    return {"metadata": {"name": "snap", "namespace": "ns", "uid": "u1"}, "spec": {"source": {}}, "status": known}


def content(uid: str = "u1", driver: str = PROVISIONER, mode: str = "Filesystem") -> Object:
    return {
        "spec": {
            "driver": driver,
            "source": {"volumeHandle": "pvc-1"},
            "sourceVolumeMode": mode,
            "volumeSnapshotRef": {"namespace": "ns", "name": "snap", "uid": uid},
        },
        "status": {"snapshotHandle": "handle-1"},
    }


@pytest.mark.parametrize(
    ("source", "key", "populator"),
    [
        (None, "", False),
        (SOURCE, "ns/snap", False),
        ({**SOURCE, "apiGroup": "example.com"}, "", True),
        ({"kind": "PersistentVolumeClaim", "name": "c"}, "", False),
        ({"apiGroup": "example.com", "kind": "Hello", "name": "h"}, "", True),
    ],
)
def test_what_a_claim_begins_with(source: Object | None, key: str, populator: bool) -> None:
    assert source_snapshot_of(claim(source)) == key
    assert is_for_populator(claim(source)) is populator


def test_a_bigger_claim_begins_with_a_ready_snapshot() -> None:
    assert plan_restore(claim(SOURCE, size="2Gi"), snapshot(), content(), PROVISIONER) == "handle-1"


GOING = {**snapshot(), "metadata": {"name": "snap", "deletionTimestamp": "2026-01-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("one", "its", "wanted", "why"),
    [
        (GOING, content(), claim(SOURCE), "currently being deleted"),
        (snapshot(boundVolumeSnapshotContentName=""), None, claim(SOURCE), "not bound"),
        (snapshot(), None, claim(SOURCE), "bound to another snapshot"),
        (snapshot(), content("other"), claim(SOURCE), "bound to another snapshot"),
        (snapshot(), content(driver="example.com"), claim(SOURCE), "of driver example.com"),
        (snapshot(readyToUse=False), content(), claim(SOURCE), "not Ready"),
        (snapshot(), content(), claim(SOURCE, size="1Mi"), "requested volume size 1048576 is less"),
        (snapshot(), content(), claim(SOURCE, mode="Block"), "of mode Filesystem, not Block"),
    ],
)
def test_what_it_cannot_begin_with(one: Object, its: Object | None, wanted: Object, why: str) -> None:
    with pytest.raises(Refusal, match=why):
        plan_restore(wanted, one, its, PROVISIONER)
