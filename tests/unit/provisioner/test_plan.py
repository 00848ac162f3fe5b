"""What a claim gets, when a volume ends, how it grows."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.provisioner.directory_backend import PROVISIONER, plan_source, refusal
from orchestrator.provisioner.plan import (
    FINALIZER,
    PROVISIONED_BY,
    Ending,
    clone_refusal,
    default_storage_class,
    is_asked_for,
    plan_ending,
    plan_growth,
    plan_volume,
    provisioner_of,
)

CLASS = default_storage_class("standard", PROVISIONER)
ASKED = {"volume.kubernetes.io/storage-provisioner": PROVISIONER}
PLACED = {**ASKED, "volume.kubernetes.io/selected-node": "node-1"}
NODE = {"metadata": {"name": "node-1", "labels": {"kubernetes.io/hostname": "host-1"}}}
DELETED = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


def claim(annotations: dict[str, str] | None = None, *, size: str = "1Gi", **spec: Any) -> Object:
    return {
        "metadata": {
            "name": "data", "namespace": "default", "uid": "u1", "resourceVersion": "7",
            "annotations": annotations or {},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "standard",
            "resources": {"requests": {"storage": size}}, **spec,
        },
    }  # fmt: skip


def volume(phase: str, policy: str = "Delete", **metadata: Any) -> Object:
    own = {"name": "pvc-u1", "annotations": {PROVISIONED_BY: PROVISIONER}, "finalizers": [FINALIZER], **metadata}
    return {"metadata": own, "spec": {"persistentVolumeReclaimPolicy": policy}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("annotations", "spec", "mode", "asked"),
    [
        (PLACED, {}, "WaitForFirstConsumer", True),
        (ASKED, {}, "WaitForFirstConsumer", False),  # nobody knows yet where the pod will run
        (ASKED, {}, "Immediate", True),
        ({}, {}, "Immediate", False),  # the binder has not asked
        (PLACED, {"volumeName": "v"}, "Immediate", False),  # it has one
    ],
)
def test_when_a_volume_is_made(annotations: dict[str, str], spec: Any, mode: str, asked: bool) -> None:
    assert is_asked_for(claim(annotations, **spec), {**CLASS, "volumeBindingMode": mode}) is asked


def test_a_class_of_another_provisioner_is_left_alone() -> None:
    assert not is_asked_for(claim(PLACED), {**CLASS, "provisioner": "example.com/nfs"})
    assert provisioner_of({"metadata": {"name": "by-hand"}}) == ""


@pytest.mark.parametrize(
    ("spec", "class_fields", "why"),
    [
        ({}, {}, ""),
        ({"volumeMode": "Block"}, {}, ""),
        ({"selector": {"matchLabels": {"a": "b"}}}, {}, "Selector"),
        ({"dataSource": {"kind": "PersistentVolumeClaim", "name": "s"}}, {}, ""),
        ({"dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "s", "namespace": "n"}}, {}, "ReferenceGrant"),
        ({}, {"mountOptions": ["ro"]}, "mountOptions"),
        ({}, {"parameters": {"path": "/"}}, "unknown parameters: path"),
    ],
)
def test_what_a_directory_cannot_be_is_refused(spec: Any, class_fields: Any, why: str) -> None:
    found = refusal(claim(**spec), {**CLASS, **class_fields})
    assert why in found
    assert bool(why) is bool(found)


def made_for(one: Object) -> Object:
    return plan_volume(one, CLASS, plan_source(one, NODE, "/v/pvc-u1"))


def test_a_volume_of_one_node_stays_there() -> None:
    made = made_for(claim(PLACED, size="3Gi"))
    assert made["metadata"]["name"] == "pvc-u1"
    assert made["spec"]["capacity"] == {"storage": "3Gi"}
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
    assert made["spec"]["local"] == {"path": "/v/pvc-u1"}
    (term,) = made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["host-1"]}]
    assert made["spec"]["claimRef"]["uid"] == "u1"


def test_a_volume_that_nodes_share_is_on_all_of_them() -> None:
    made = made_for(claim(PLACED, accessModes=["ReadWriteMany"]))
    assert made["spec"]["hostPath"] == {"path": "/v/pvc-u1", "type": "Directory"}
    assert "nodeAffinity" not in made["spec"]


def test_a_device_is_at_hand_on_every_node() -> None:
    made = made_for(claim(PLACED, volumeMode="Block", accessModes=["ReadWriteMany"]))
    assert (made["spec"]["volumeMode"], made["spec"]["local"]) == ("Block", {"path": "/v/pvc-u1"})
    (term,) = made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "kubernetes.io/hostname", "operator": "Exists"}]


@pytest.mark.parametrize(
    ("one", "ending"),
    [
        (volume("Bound"), None),
        (volume("Released"), Ending("remove", True)),
        (volume("Failed"), Ending("remove", True)),
        (volume("Released", "Retain"), None),
        (volume("Bound", **DELETED), None),
        (volume("Released", **DELETED), Ending("remove", False)),
        (volume("Released", "Retain", **DELETED), Ending("keep", False)),
        (volume("Released", **DELETED, finalizers=["other"]), None),
    ],
)
def test_how_a_volume_ends(one: Object, ending: Ending | None) -> None:
    assert plan_ending(one) == ending


@pytest.mark.parametrize(("wanted", "has", "grows"), [("2Gi", "1Gi", "2Gi"), ("1Gi", "1Gi", ""), ("1024Mi", "1Gi", "")])
def test_a_bound_claim_grows(wanted: str, has: str, grows: str) -> None:
    bound = {**claim(size=wanted, volumeName="pvc-u1"), "status": {"phase": "Bound", "capacity": {"storage": has}}}
    assert plan_growth(bound, volume("Bound")) == grows


def source_of_clone(phase: str = "Bound", **changes: Any) -> Object:
    return {**claim(), "status": {"phase": phase}, **changes}


def volume_of_clone(provisioner: str = PROVISIONER) -> Object:
    return {"metadata": {"annotations": {PROVISIONED_BY: provisioner}}, "spec": {"capacity": {"storage": "1Gi"}}}


@pytest.mark.parametrize(
    ("source", "volume", "spec", "size", "why"),
    [
        (source_of_clone(), volume_of_clone(), {}, "1Gi", ""),
        (source_of_clone(), volume_of_clone(), {}, "2Gi", ""),
        (None, None, {}, "1Gi", "not bound"),
        (source_of_clone("Pending"), volume_of_clone(), {}, "1Gi", "not bound"),
        (source_of_clone(metadata=DELETED), volume_of_clone(), {}, "1Gi", "currently being deleted"),
        (source_of_clone(), volume_of_clone("example.com/nfs"), {}, "1Gi", "was not provisioned by"),
        (source_of_clone(), volume_of_clone(), {"volumeMode": "Block"}, "1Gi", "same volume mode"),
        (source_of_clone(), volume_of_clone(), {}, "1Mi", "requested 1Mi but source is 1Gi"),
    ],
)
def test_what_a_claim_can_be_a_copy_of(source: Any, volume: Any, spec: Any, size: str, why: str) -> None:
    data_source = {"kind": "PersistentVolumeClaim", "name": "source"}
    found = clone_refusal(claim(PLACED, size=size, dataSource=data_source, **spec), source, volume, PROVISIONER)
    assert why in found
    assert bool(why) is bool(found)
