"""Volumes of CSI drivers on a running cluster: an attacher of the test answers, kubelets say what they have mounted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from orchestrator.aiokit.clock import SystemClock
from orchestrator.api import errors
from orchestrator.api.csi_volumes import attachment_name, unique_volume_name
from orchestrator.api.objects import Object, name_of, uid_of
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
from orchestrator.client.client import Client
from orchestrator.client.informer import Informers
from orchestrator.client.transport import Request, Transport, WatchStream
from orchestrator.cluster.users import CONTROLLER_MANAGER, controller_groups, controller_user
from orchestrator.component.events import EventRecorder
from orchestrator.controllers.attachdetach.controller import MANAGED, AttachDetachController

from .conftest import Stage, stage_with, template
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


def using_pod(name: str, node: str) -> Object:
    """A pod on a node that has the claim."""
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    spec = {**template()["spec"], "nodeName": node, "volumes": volumes}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def add_pod(stage: Stage, name: str, node: str) -> None:
    await stage.client.create(PODS, using_pod(name, node))


async def add_bound_volume(client: Client) -> None:
    """The same claim and volume, bound by hand."""
    made = await client.create(PERSISTENT_VOLUME_CLAIMS, claim("c", volumeName="pv"))
    reference = {"namespace": "default", "name": "c", "uid": uid_of(made)}
    source: Object = {"csi": {"driver": DRIVER, "volumeHandle": "handle"}, "hostPath": None, "claimRef": reference}
    await client.create(PERSISTENT_VOLUMES, volume("pv", **source))
    await client.patch(PERSISTENT_VOLUME_CLAIMS, "c", {"status": {"phase": "Bound"}}, "default", subresource="status")


async def answer_attachment(client: Client, one: Object, **status: Any) -> None:
    """What the driver's external attacher writes: that it is attached, unless told otherwise."""
    with suppress(errors.NotFound):
        patch = {"status": {"attached": True, **status}}
        await client.patch(VOLUME_ATTACHMENTS, name_of(one), patch, subresource="status")


async def attachment(stage: Stage, node: str) -> Object:
    wanted = attachment_name(DRIVER, "handle", node)
    return await stage.until_one(VOLUME_ATTACHMENTS, wanted, lambda one: True)


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
    await answer_attachment(stage.client, made, attached=False, attachError={"message": "disk is gone"})
    await until_event(stage, "FailedAttachVolume", 'AttachVolume.Attach failed for volume "pv" : disk is gone', "first")
    await answer_attachment(stage.client, made, attached=True, attachError=None)
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
    await answer_attachment(stage.client, second, attached=True)
    await stage.until_one(NODES, "two", lambda one: attached(one) == [UNIQUE])


async def test_what_is_mounted_stays_attached(stage: Stage) -> None:
    await add_managed_node(stage, "one")
    await add_volume(stage)
    await add_pod(stage, "first", "one")
    await answer_attachment(stage.client, await attachment(stage, "one"), attached=True)
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


class Overtaken:
    """A transport whose next write to a Node comes after somebody else's. Implements `client.transport.Transport`."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.first: Callable[[], Awaitable[object]] | None = None

    async def send(self, request: Request) -> Object:
        if request.verb == "patch" and request.resource == NODES and self.first is not None:
            first, self.first = self.first, None
            await first()
        return await self._inner.send(request)

    async def open_watch(self, request: Request) -> WatchStream:
        return await self._inner.open_watch(request)

    async def close(self) -> None:
        return


async def test_a_kubelet_that_comes_at_the_last_moment_keeps_its_volume() -> None:
    """The caches say that nobody has the volume; the answer of the write that gives it up says who does."""
    async with stage_with("serviceaccount") as stage:
        clock = SystemClock()
        late = Overtaken(stage.cluster.client(controller_user("attachdetach"), controller_groups()).transport)
        informers = Informers(stage.cluster.client(CONTROLLER_MANAGER, ()), clock=clock, detect_mutations=True)
        recorder = EventRecorder(stage.client, component="attachdetach-controller", clock=clock)
        controller = AttachDetachController(client=Client(late), informers=informers, recorder=recorder, clock=clock)
        runs = (informers.run, recorder.run, controller.run)
        tasks = [asyncio.create_task(run(), name="test/attachdetach") for run in runs]
        try:
            await add_managed_node(stage, "one")
            await add_bound_volume(stage.client)
            await add_pod(stage, "first", "one")
            await answer_attachment(stage.client, await attachment(stage, "one"))
            await stage.until_one(NODES, "one", lambda one: attached(one) == [UNIQUE])
            late.first = lambda: use(stage, "one", UNIQUE)
            await stage.client.delete(PODS, "first", "default", grace_period_seconds=0)
            # Given up for a moment, and shown again: it was not detached.
            await stage.until_one(NODES, "one", lambda one: not attached(one))
            await stage.until_one(NODES, "one", lambda one: attached(one) == [UNIQUE])
            assert len((await stage.client.list(VOLUME_ATTACHMENTS))["items"]) == 1
            await use(stage, "one")
            await stage.until(VOLUME_ATTACHMENTS, lambda left: not left)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
