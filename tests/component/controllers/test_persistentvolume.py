"""Claims and volumes on a running cluster."""

from __future__ import annotations

import asyncio
from typing import Any

from orchestrator.api.objects import Object, annotations_of, name_of
from orchestrator.api.resources import (
    EVENTS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTRIBUTES_CLASSES,
)

from .conftest import Stage, template


def volume(name: str, size: str = "1Gi", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": f"/data/{name}"},
            **spec,
        },
    }


def claim(name: str, size: str = "1Gi", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
            "storageClassName": "",
            **spec,
        },
    }


def storage_class(name: str, mode: str = "Immediate", **metadata: Any) -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, **metadata},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": mode,
    }


def phase(wanted: str) -> Any:
    return lambda one: (one.get("status") or {}).get("phase") == wanted


async def test_a_claim_gets_the_smallest_volume_that_fits(stage: Stage) -> None:
    await stage.client.create(PERSISTENT_VOLUMES, volume("large", "5Gi"))
    await stage.client.create(PERSISTENT_VOLUMES, volume("small", "500Mi"))
    await stage.client.create(PERSISTENT_VOLUMES, volume("right", "2Gi"))
    await stage.until_one(PERSISTENT_VOLUMES, "right", phase("Available"))
    await stage.client.create(PERSISTENT_VOLUME_CLAIMS, claim("c"))
    one = await stage.until_one(PERSISTENT_VOLUME_CLAIMS, "c", phase("Bound"))
    assert one["spec"]["volumeName"] == "right"
    assert one["status"]["capacity"] == {"storage": "2Gi"}
    bound = await stage.until_one(PERSISTENT_VOLUMES, "right", phase("Bound"))
    assert bound["spec"]["claimRef"]["uid"] == one["metadata"]["uid"]


async def test_a_claim_waits_for_a_volume_and_many_claims_never_share_one(stage: Stage) -> None:
    await asyncio.gather(*(stage.client.create(PERSISTENT_VOLUME_CLAIMS, claim(f"c{n}")) for n in range(12)))
    await stage.until(EVENTS, lambda events: any(e["reason"] == "FailedBinding" for e in events))
    await asyncio.gather(*(stage.client.create(PERSISTENT_VOLUMES, volume(f"v{n}")) for n in range(12)))
    claims = await stage.until(PERSISTENT_VOLUME_CLAIMS, lambda now: all(map(phase("Bound"), now)))
    assert len({one["spec"]["volumeName"] for one in claims}) == 12


async def test_a_volume_outlives_its_claim_but_is_not_given_to_another(stage: Stage) -> None:
    await stage.client.create(PERSISTENT_VOLUMES, volume("v"))
    await stage.client.create(PERSISTENT_VOLUME_CLAIMS, claim("c"))
    await stage.until_one(PERSISTENT_VOLUME_CLAIMS, "c", phase("Bound"))
    await stage.client.delete(PERSISTENT_VOLUME_CLAIMS, "c", "default")
    await stage.until_one(PERSISTENT_VOLUMES, "v", phase("Released"))
    await stage.client.create(PERSISTENT_VOLUME_CLAIMS, claim("c"))
    await stage.until_one(PERSISTENT_VOLUME_CLAIMS, "c", phase("Pending"))
    await stage.client.patch(PERSISTENT_VOLUMES, "v", {"spec": {"claimRef": None}})
    await stage.until_one(PERSISTENT_VOLUME_CLAIMS, "c", phase("Bound"))


async def test_a_volume_that_should_be_deleted_and_cannot_says_so(stage: Stage) -> None:
    await stage.client.create(PERSISTENT_VOLUMES, volume("v", persistentVolumeReclaimPolicy="Delete"))
    await stage.client.create(PERSISTENT_VOLUME_CLAIMS, claim("c"))
    await stage.until_one(PERSISTENT_VOLUME_CLAIMS, "c", phase("Bound"))
    await stage.client.delete(PERSISTENT_VOLUME_CLAIMS, "c", "default")
    failed = await stage.until_one(PERSISTENT_VOLUMES, "v", phase("Failed"))
    assert failed["status"]["reason"] == "VolumeFailedDelete"


async def test_a_bound_volume_outlives_its_deletion_and_a_lost_one_is_reported(stage: Stage) -> None:
    await stage.client.create(PERSISTENT_VOLUMES, volume("v"))
    await stage.client.create(PERSISTENT_VOLUME_CLAIMS, claim("c"))
    await stage.until_one(PERSISTENT_VOLUMES, "v", phase("Bound"))
    await stage.client.delete(PERSISTENT_VOLUMES, "v")
    await stage.until_one(PERSISTENT_VOLUMES, "v", lambda one: "deletionTimestamp" in one["metadata"])
    await stage.client.patch(PERSISTENT_VOLUMES, "v", {"metadata": {"finalizers": None}})
    await stage.until_one(PERSISTENT_VOLUME_CLAIMS, "c", phase("Lost"))
    await stage.until(EVENTS, lambda events: any(e["reason"] == "ClaimLost" for e in events))


async def test_binding_waits_for_the_first_consumer_and_fits_its_node(stage: Stage) -> None:
    await stage.client.create(STORAGE_CLASSES, storage_class("local", "WaitForFirstConsumer"))
    for node in ("a", "b"):
        labels = {"kubernetes.io/hostname": node}
        await stage.client.create(
            NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": labels}}
        )
        expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
        await stage.client.create(
            PERSISTENT_VOLUMES, volume(f"on-{node}", storageClassName="local", nodeAffinity=affinity)
        )
    await stage.client.create(PERSISTENT_VOLUME_CLAIMS, claim("c", storageClassName="local"))
    await stage.until(EVENTS, lambda events: any(e["reason"] == "WaitForFirstConsumer" for e in events))
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]
    pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {**template()["spec"], "volumes": volumes}}
    await stage.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", **pod})
    waits = ("WaitForPodScheduled", "waiting for pod p to be scheduled")
    await stage.until(EVENTS, lambda events: any((e["reason"], e["message"]) == waits for e in events))
    patch = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "b"}}}
    await stage.client.patch(PERSISTENT_VOLUME_CLAIMS, "c", patch, "default")
    one = await stage.until_one(PERSISTENT_VOLUME_CLAIMS, "c", phase("Bound"))
    assert one["spec"]["volumeName"] == "on-b"


async def test_a_provisioner_is_asked_and_the_default_class_is_given_late(stage: Stage) -> None:
    waiting = claim("c")
    del waiting["spec"]["storageClassName"]
    await stage.client.create(PERSISTENT_VOLUME_CLAIMS, waiting)
    await stage.until_one(PERSISTENT_VOLUME_CLAIMS, "c", phase("Pending"))
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    await stage.client.create(STORAGE_CLASSES, storage_class("standard", annotations=annotations))
    await stage.until_one(PERSISTENT_VOLUME_CLAIMS, "c", lambda one: one["spec"].get("storageClassName") == "standard")
    await stage.until_one(
        PERSISTENT_VOLUME_CLAIMS, "c", lambda one: "volume.kubernetes.io/storage-provisioner" in annotations_of(one)
    )
    await stage.client.create(PERSISTENT_VOLUMES, volume("v", storageClassName="standard"))
    await stage.until_one(PERSISTENT_VOLUME_CLAIMS, "c", phase("Bound"))


async def test_a_claim_in_use_outlives_its_deletion(stage: Stage) -> None:
    await stage.client.create(PERSISTENT_VOLUMES, volume("v"))
    await stage.client.create(PERSISTENT_VOLUME_CLAIMS, claim("c"))
    await stage.until_one(PERSISTENT_VOLUME_CLAIMS, "c", phase("Bound"))
    pod: Object = {"apiVersion": "v1", "kind": "Pod", **template()}
    pod["metadata"] = {"name": "p", "namespace": "default"}
    pod["spec"] |= {"nodeName": "n", "volumes": [{"name": "x", "persistentVolumeClaim": {"claimName": "c"}}]}
    await stage.client.create(PODS, pod)
    await stage.until(PODS, lambda pods: [*map(name_of, pods)] == ["p"])
    await stage.client.delete(PERSISTENT_VOLUME_CLAIMS, "c", "default")
    await stage.until_one(PERSISTENT_VOLUME_CLAIMS, "c", lambda one: "deletionTimestamp" in one["metadata"])
    await stage.client.delete(PODS, "p", "default", grace_period_seconds=0)
    await stage.until(PERSISTENT_VOLUME_CLAIMS, lambda now: now == [])
    await stage.until_one(PERSISTENT_VOLUMES, "v", phase("Released"))


async def test_an_attributes_class_outlives_its_deletion_while_a_claim_names_it(stage: Stage) -> None:
    metadata = {"name": "fast"}
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": metadata}
    await stage.client.create(VOLUME_ATTRIBUTES_CLASSES, {**kind, "driverName": "d", "parameters": {"iops": "1"}})
    finalizer = "kubernetes.io/vac-protection"
    await stage.until_one(
        VOLUME_ATTRIBUTES_CLASSES, "fast", lambda one: one["metadata"].get("finalizers") == [finalizer]
    )
    await stage.client.create(PERSISTENT_VOLUME_CLAIMS, claim("c", volumeAttributesClassName="fast"))
    await stage.until_one(PERSISTENT_VOLUME_CLAIMS, "c", lambda one: bool(one["metadata"].get("finalizers")))
    await stage.client.delete(VOLUME_ATTRIBUTES_CLASSES, "fast")
    await stage.client.create(PERSISTENT_VOLUMES, volume("v"))
    await stage.until_one(PERSISTENT_VOLUMES, "v", phase("Available"))
    one = await stage.client.get(VOLUME_ATTRIBUTES_CLASSES, "fast")
    assert one["metadata"]["finalizers"] == [finalizer]
    await stage.client.delete(PERSISTENT_VOLUME_CLAIMS, "c", "default")
    await stage.until(VOLUME_ATTRIBUTES_CLASSES, lambda classes: classes == [], namespace="")
