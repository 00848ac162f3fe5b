"""Volumes of CSI drivers on a running cluster: an attacher of the test answers, kubelets say what they have mounted."""

from __future__ import annotations

from typing import Any

from orchestrator.api.csi_volumes import attachment_name, unique_volume_name
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import (
    CSI_DRIVERS,
    EVENTS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
)
from orchestrator.controllers.attachdetach.controller import MANAGED

from .conftest import Stage, template
from .test_nodes import add_node
from .test_persistentvolume import claim, phase, storage_class, volume

DRIVER = "disk.example.com"
UNIQUE = unique_volume_name(DRIVER, "handle")


async def add_managed_node(stage: Stage, name: str) -> None:
    await add_node(stage, name)
    await stage.client.patch(NODES, name, {"metadata": {"annotations": {MANAGED: "true"}}})


async def add_volume(stage: Stage, class_name: str = "") -> None:
    """A claim with a volume of the driver."""
    source: Object = {
        "csi": {"driver": DRIVER, "volumeHandle": "handle"},
        "hostPath": None,
        "storageClassName": class_name,
    }
    await stage.client.create(PERSISTENT_VOLUMES, volume("pv", **source))
    await stage.client.create(PERSISTENT_VOLUME_CLAIMS, claim("c", storageClassName=class_name))
    await stage.until_one(PERSISTENT_VOLUME_CLAIMS, "c", phase("Bound"))


async def add_pod(stage: Stage, name: str, node: str) -> None:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    spec = {**template()["spec"], "nodeName": node, "volumes": volumes}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
    await stage.client.create(PODS, pod)


async def attachment(stage: Stage, node: str) -> Object:
    wanted = attachment_name(DRIVER, "handle", node)
    return await stage.until_one(VOLUME_ATTACHMENTS, wanted, lambda one: True)


async def answer(stage: Stage, one: Object, **status: Any) -> None:
    """What the driver's external attacher writes."""
    await stage.client.patch(VOLUME_ATTACHMENTS, name_of(one), {"status": status}, subresource="status")


async def use(stage: Stage, node: str, *volumes: str) -> None:
    """What the node's kubelet writes."""
    await stage.client.patch(NODES, node, {"status": {"volumesInUse": list(volumes)}}, subresource="status")


def attached(node: Object) -> list[str]:
    return [one["name"] for one in (node.get("status") or {}).get("volumesAttached") or ()]


async def until_event(stage: Stage, reason: str, text: str, pod: str) -> None:
    await stage.until(
        EVENTS,
        lambda events: any(
            e["reason"] == reason and text in e["message"] and e["involvedObject"]["name"] == pod for e in events
        ),
    )


async def test_a_volume_goes_with_its_pod_from_node_to_node(stage: Stage) -> None:
    await add_managed_node(stage, "one")
    await add_managed_node(stage, "two")
    await add_volume(stage)
    await add_pod(stage, "first", "one")
    made = await attachment(stage, "one")
    assert made["spec"] == {"attacher": DRIVER, "nodeName": "one", "source": {"persistentVolumeName": "pv"}}
    await answer(stage, made, attached=False, attachError={"message": "disk is gone"})
    await until_event(stage, "FailedAttachVolume", 'AttachVolume.Attach failed for volume "pv" : disk is gone', "first")
    await answer(stage, made, attached=True, attachError=None)
    await until_event(stage, "SuccessfulAttachVolume", 'AttachVolume.Attach succeeded for volume "pv"', "first")
    node = await stage.until_one(NODES, "one", lambda one: attached(one) == [UNIQUE])
    assert node["status"]["volumesAttached"] == [{"name": UNIQUE, "devicePath": ""}]
    await use(stage, "one", UNIQUE)

    await add_pod(stage, "second", "two")
    await until_event(stage, "FailedAttachVolume", "Volume is already used by pod(s) first", "second")
    await stage.client.delete(PODS, "first", "default", grace_period_seconds=0)
    # The first node still has it mounted; then it has not.
    await use(stage, "one")
    second = await attachment(stage, "two")
    assert attached(await stage.client.get(NODES, "one")) == []
    await answer(stage, second, attached=True)
    await stage.until_one(NODES, "two", lambda one: attached(one) == [UNIQUE])


async def test_what_is_mounted_stays_attached(stage: Stage) -> None:
    await add_managed_node(stage, "one")
    await add_volume(stage)
    await add_pod(stage, "first", "one")
    await answer(stage, await attachment(stage, "one"), attached=True)
    await use(stage, "one", UNIQUE)
    await stage.client.delete(PODS, "first", "default", grace_period_seconds=0)
    # Nothing is to happen, so something that comes later must be seen to have happened.
    await add_managed_node(stage, "two")
    await add_pod(stage, "second", "two")
    await until_event(stage, "FailedAttachVolume", "can't be attached to another", "second")
    kept = (await stage.client.list(VOLUME_ATTACHMENTS))["items"]
    assert [one["spec"]["nodeName"] for one in kept] == ["one"]
    assert attached(await stage.client.get(NODES, "one")) == [UNIQUE]


async def test_a_driver_without_attachment_needs_none(stage: Stage) -> None:
    driver = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER}}
    await stage.client.create(CSI_DRIVERS, {**driver, "spec": {"attachRequired": False}})
    await add_managed_node(stage, "one")
    await add_volume(stage)
    await add_pod(stage, "first", "one")
    await stage.until_one(PODS, "first", lambda pod: bool((pod.get("status") or {}).get("podIP")))
    assert not (await stage.client.list(VOLUME_ATTACHMENTS))["items"]
    # Who deletes the CSIDriver says that its volumes are attached after all.
    await stage.client.delete(CSI_DRIVERS, DRIVER)
    await attachment(stage, "one")


async def test_a_claim_that_grows_is_told_whom_it_waits_for(stage: Stage) -> None:
    await stage.client.create(STORAGE_CLASSES, {**storage_class("grows"), "allowVolumeExpansion": True})
    await add_volume(stage, "grows")
    larger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    await stage.client.patch(PERSISTENT_VOLUME_CLAIMS, "c", larger, "default")
    await until_event(stage, "ExternalExpanding", "waiting for an external controller", "c")
