"""Volumes of CSI drivers on one node: what the driver is asked, what the API is told, what is there afterwards.

The driver answers over gRPC, the attacher is the test, and the containers are hollow.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator.aiokit.clock import SystemClock
from orchestrator.api.csi_volumes import attachment_name, unique_volume_name
from orchestrator.api.objects import Object, labels_of
from orchestrator.api.resources import (
    CSI_DRIVERS,
    CSI_NODES,
    EVENTS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    Resource,
)
from orchestrator.client.informer import Informers
from orchestrator.cluster.users import KUBELETS
from orchestrator.kubelet.hollow import HollowRuntime
from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.node_paths import NodePaths
from orchestrator.kubelet.nodes import Kubelets
from orchestrator.kubelet.volumes.mounts import unmount_below
from orchestrator.kubelet.volumes.pod_files import PodVolumes
from orchestrator.testing import eventually, running_cluster
from tests.csi_driver import ALL, Driver

DRIVER = "disk.example.com"
HANDLE = "volume-1"
UNIQUE = unique_volume_name(DRIVER, HANDLE)


class HurriedClock(SystemClock):
    """Real time, but those who sleep may be woken early."""

    factor = 1.0

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds * self.factor)


class Machine:
    """A node whose driver writes no mounts."""

    def __init__(self, cluster: Any, folder: Path) -> None:
        self.client = cluster.client()
        self.folder = folder
        self.paths = NodePaths(kubelet_dir=folder / "kubelet")
        self.runtime = HollowRuntime(clock=SystemClock(), pod_cidr="10.244.1.0/24")
        self.clock = HurriedClock()
        self._cluster = cluster
        self._tasks: list[asyncio.Task[None]] = []
        self.kubelets: Kubelets

    def driver(self, **options: Any) -> Driver:
        options.setdefault("mounts", False)
        kubelet_dir = self.paths.kubelet_dir
        return Driver(DRIVER, kubelet_dir, self.folder / "data", on_machine=self.paths.on_machine, **options)

    async def start(self) -> None:
        informers = Informers(self._cluster.client(KUBELETS, ()), clock=self.clock, detect_mutations=True)
        groups = ("system:nodes", "system:authenticated")
        self.kubelets = Kubelets(
            client_for=lambda name: self._cluster.client(f"system:node:{name}", groups),
            informers=informers,
            clock=self.clock,
            detect_mutations=True,
        )
        self.kubelets.add(
            NodeOptions(name="n", ip="172.30.0.2", paths=self.paths),
            self.runtime,
            files=PodVolumes(state_dir=self.paths.kubelet_dir, clock=self.clock, node_name="n", paths=self.paths),
        )
        self._tasks = [asyncio.create_task(run(), name="test/machine") for run in (informers.run, self.kubelets.run)]
        await self.until(NODES, "n", lambda node: True)

    async def kill(self) -> None:
        """As kill -9 of the process: nothing is said to anybody."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        assert not self.kubelets.failing(), self.kubelets.failing()

    async def until(self, resource: Resource, name: str, predicate: Callable[[Object], bool]) -> Object:
        def is_there(objects: list[Object]) -> bool:
            return any(one["metadata"]["name"] == name and predicate(one) for one in objects)

        namespace = "default" if resource.namespaced else ""
        found = await eventually(self.client, resource, is_there, namespace=namespace)
        return next(one for one in found if one["metadata"]["name"] == name)

    async def until_gone(self, resource: Resource, name: str = "") -> None:
        namespace = "default" if resource.namespaced else ""
        await eventually(
            self.client,
            resource,
            lambda objects: all(name and one["metadata"]["name"] != name for one in objects),
            namespace=namespace,
        )

    async def until_event(self, reason: str, text: str) -> None:
        await eventually(
            self.client,
            EVENTS,
            lambda events: any(one["reason"] == reason and text in one["message"] for one in events),
            namespace="default",
        )

    async def add_driver_object(self, **spec: Any) -> None:
        driver: Object = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER}}
        await self.client.create(CSI_DRIVERS, {**driver, "spec": spec})

    async def add_volume(self, source: Object | None = None, **spec: Any) -> None:
        """A volume of the driver that is bound to the claim `c`."""
        storage_class: Object = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": DRIVER}
        await self.client.create(
            STORAGE_CLASSES, {**storage_class, "metadata": {"name": "disks"}, "allowVolumeExpansion": True}
        )
        modes = spec.setdefault("accessModes", ["ReadWriteOnce"])
        csi = {"driver": DRIVER, "volumeHandle": HANDLE, "fsType": "ext4", **(source or {})}
        persistent: Object = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"}}
        persistent["spec"] = {"csi": csi, "capacity": {"storage": "1Gi"}, "storageClassName": "disks", **spec}
        await self.client.create(PERSISTENT_VOLUMES, persistent)
        claim: Object = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        claim["metadata"] = {"name": "c", "namespace": "default"}
        claim["spec"] = {
            "accessModes": modes,
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "disks",
            "volumeMode": spec.get("volumeMode", "Filesystem"),
        }
        await self.client.create(PERSISTENT_VOLUME_CLAIMS, claim)
        await self.until(PERSISTENT_VOLUME_CLAIMS, "c", lambda one: one["status"].get("phase") == "Bound")

    async def add_pod(self, name: str = "p", *, source: Object | None = None, **spec: Any) -> Object:
        volume = {"name": "v", **(source or {"persistentVolumeClaim": {"claimName": "c"}})}
        container: Object = {"name": "a", "image": "app:1"}
        spec = {
            "nodeName": "n",
            "automountServiceAccountToken": False,
            "volumes": [volume],
            "containers": [{**container, "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            **spec,
        }
        pod: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}}
        made: Object = await self.client.create(PODS, {**pod, "spec": spec})
        return made

    async def running(self, name: str = "p") -> Object:
        return await self.until(PODS, name, lambda pod: (pod.get("status") or {}).get("phase") == "Running")

    async def attach(self, **metadata: str) -> None:
        """What the external attacher answers."""
        name = attachment_name(DRIVER, HANDLE, "n")
        await self.until(VOLUME_ATTACHMENTS, name, lambda one: True)
        status = {"attached": True, "attachmentMetadata": metadata}
        await self.client.patch(VOLUME_ATTACHMENTS, name, {"status": status}, subresource="status")


@asynccontextmanager
async def machine(folder: Path) -> AsyncIterator[Machine]:
    controllers = ("attachdetach", "persistentvolume-binder", "serviceaccount")
    async with running_cluster(controllers=controllers, scheduler=False, nodes=0) as cluster:
        one = Machine(cluster, folder)
        await one.start()
        await one.until(SERVICE_ACCOUNTS, "default", lambda account: True)
        try:
            yield one
        finally:
            await one.kill()
            unmount_below(folder)


async def test_a_driver_that_registers_is_shown_and_one_that_leaves_is_not(tmp_path: Path) -> None:
    async with machine(tmp_path) as node:
        driver = node.driver(topology={"example.com/rack": "r1"})
        await driver.start()
        await driver.registered()
        shown = await node.client.get(CSI_NODES, "n")
        assert shown["spec"]["drivers"] == [
            {
                "name": DRIVER,
                "nodeID": "node-of-the-test",
                "topologyKeys": ["example.com/rack"],
                "allocatable": {"count": 7},
            }
        ]
        there = await node.client.get(NODES, "n")
        assert labels_of(there)["example.com/rack"] == "r1"
        ids = json.loads(there["metadata"]["annotations"]["csi.volume.kubernetes.io/nodeid"])
        assert ids == {DRIVER: "node-of-the-test"}
        assert shown["metadata"]["ownerReferences"][0]["uid"] == there["metadata"]["uid"]
        await driver.stop()
        await node.until(CSI_NODES, "n", lambda one: not one["spec"]["drivers"])


async def test_a_volume_is_attached_staged_and_published_and_all_of_it_taken_back(tmp_path: Path) -> None:
    async with machine(tmp_path) as node:
        secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"}}
        await node.client.create(SECRETS, {**secret, "stringData": {"key": "word"}})
        reference = {"name": "s", "namespace": "default"}
        await node.add_volume(
            {"volumeAttributes": {"size": "small"}, "nodeStageSecretRef": reference},
            mountOptions=["noatime"],
        )
        await node.add_pod()
        # Nobody has registered yet: the pod says so, and goes on by itself.
        missing = f"driver name {DRIVER} not found in the list of registered CSI drivers"
        await node.until_event("FailedMount", missing)
        driver = node.driver()
        await driver.start()
        await node.until(NODES, "n", lambda one: (one.get("status") or {}).get("volumesInUse") == [UNIQUE])
        assert not driver.named("NodeStageVolume")
        await node.attach(device="/dev/xvda")
        pod = await node.running()

        staging = driver.named("NodeStageVolume")[0]
        capability = {"mount": {"fs_type": "ext4", "mount_flags": ["noatime"]}, "access_mode": {"mode": 1}}
        staged_at = staging.pop("staging_target_path")
        assert staged_at.startswith(f"/var/lib/kubelet/plugins/kubernetes.io/csi/{DRIVER}/")
        assert staged_at.endswith("/globalmount")
        assert staging == {
            "volume_id": HANDLE,
            "publish_context": {"device": "/dev/xvda"},
            "volume_capability": capability,
            "secrets": {"key": "word"},
            "volume_context": {"size": "small"},
        }
        target = f"/var/lib/kubelet/pods/{pod['metadata']['uid']}/volumes/kubernetes.io~csi/pv/mount"
        assert driver.named("NodePublishVolume") == [
            {
                "volume_id": HANDLE,
                "publish_context": {"device": "/dev/xvda"},
                "staging_target_path": staged_at,
                "target_path": target,
                "volume_capability": capability,
                "volume_context": {"size": "small"},
            }
        ]
        record = json.loads((node.paths.on_machine(target).parent / "vol_data.json").read_bytes())
        assert (record["driverName"], record["volumeHandle"], record["specVolID"]) == (DRIVER, HANDLE, "pv")

        await node.add_pod("q")
        await node.running("q")
        assert len(driver.named("NodeStageVolume")) == 1
        await node.client.delete(PODS, "p", "default")
        await node.until_gone(PODS, "p")
        assert driver.named("NodeUnpublishVolume") == [{"volume_id": HANDLE, "target_path": target}]
        assert not driver.named("NodeUnstageVolume"), "the other pod still has it"
        await node.client.delete(PODS, "q", "default")
        await node.until_gone(PODS, "q")
        assert driver.named("NodeUnstageVolume") == [{"volume_id": HANDLE, "staging_target_path": staged_at}]
        await node.until_gone(VOLUME_ATTACHMENTS)
        assert not (await node.client.get(NODES, "n"))["status"].get("volumesInUse")
        assert not node.paths.on_machine(staged_at).parent.exists()
        assert not list((node.paths.kubelet_dir / "pods").iterdir())


async def test_a_driver_that_fails_is_tried_again(tmp_path: Path) -> None:
    async with machine(tmp_path) as node:
        await node.add_driver_object(attachRequired=False)
        driver = node.driver()
        driver.failures["NodePublishVolume"] = "no such volume"
        await driver.start()
        await node.add_volume()
        await node.add_pod()
        text = 'MountVolume.SetUp failed for volume "pv" : rpc error: code = Internal desc = no such volume'
        await node.until_event("FailedMount", text)
        del driver.failures["NodePublishVolume"]
        await node.running()
        assert len(driver.named("NodeStageVolume")) == 1
        # A pod is not gone before its volumes are.
        driver.failures["NodeUnpublishVolume"] = "busy"
        await node.client.delete(PODS, "p", "default", grace_period_seconds=1)
        await driver.until_called("NodeUnpublishVolume", times=2)
        assert not driver.named("NodeUnstageVolume")
        del driver.failures["NodeUnpublishVolume"]
        await node.until_gone(PODS, "p")
        assert len(driver.named("NodeUnstageVolume")) == 1


async def test_a_volume_that_never_came_to_be_is_not_in_use(tmp_path: Path) -> None:
    async with machine(tmp_path) as node:
        driver = node.driver()
        driver.failures["NodeGetCapabilities"] = "not yet"
        await driver.start()
        await node.add_volume()
        await node.add_pod()
        await node.attach()
        await node.until_event("FailedMount", "not yet")
        assert (await node.client.get(NODES, "n"))["status"]["volumesInUse"] == [UNIQUE]
        await node.client.delete(PODS, "p", "default", grace_period_seconds=1)
        await node.until_gone(PODS)
        await node.until_gone(VOLUME_ATTACHMENTS)
        assert not driver.named("NodeUnpublishVolume")


async def test_a_node_that_is_registered_anew_shows_its_drivers(tmp_path: Path) -> None:
    async with machine(tmp_path) as node:
        driver = node.driver(topology={"example.com/rack": "r1"})
        await driver.start()
        await driver.registered()
        await node.client.delete(CSI_NODES, "n")
        await node.client.delete(NODES, "n")
        await node.kubelets.shut_down()  # it has something to report, and so sees that its Node is gone
        there = await node.until(NODES, "n", lambda one: "example.com/rack" in labels_of(one))
        shown = await node.until(CSI_NODES, "n", lambda one: bool(one["spec"]["drivers"]))
        assert shown["metadata"]["ownerReferences"][0]["uid"] == there["metadata"]["uid"]


async def test_a_pod_that_is_deleted_does_not_wait_for_its_driver(tmp_path: Path) -> None:
    async with machine(tmp_path) as node:
        await node.add_driver_object(attachRequired=False)
        driver = node.driver()
        driver.hangs.add("NodeStageVolume")
        await driver.start()
        await node.add_volume()
        await node.add_pod()
        await driver.until_called("NodeStageVolume", times=1)
        await node.client.delete(PODS, "p", "default", grace_period_seconds=1)
        await node.until_gone(PODS)
        # Nobody knows how far the driver came.
        assert [len(driver.named(f"Node{what}Volume")) for what in ("Unpublish", "Unstage")] == [1, 1]


async def test_an_inline_volume_lives_with_its_pod_whom_its_driver_knows(tmp_path: Path) -> None:
    async with machine(tmp_path) as node:
        requests = [{"audience": "vault"}]
        modes = ["Ephemeral"]
        await node.add_driver_object(volumeLifecycleModes=modes, podInfoOnMount=True, tokenRequests=requests)
        driver = node.driver(capabilities=ALL)
        await driver.start()
        inline = {"csi": {"driver": DRIVER, "readOnly": True, "volumeAttributes": {"path": "a"}}}
        pod = await node.add_pod(source=inline)
        await node.running()
        assert not driver.named("NodeStageVolume")
        call = driver.named("NodePublishVolume")[0]
        assert call["readonly"] is True
        context = call["volume_context"]
        tokens = json.loads(context.pop("csi.storage.k8s.io/serviceAccount.tokens"))
        assert list(tokens) == ["vault"]
        assert tokens["vault"]["token"].count(".") == 2
        assert context == {
            "path": "a",
            "csi.storage.k8s.io/pod.name": "p",
            "csi.storage.k8s.io/pod.namespace": "default",
            "csi.storage.k8s.io/pod.uid": pod["metadata"]["uid"],
            "csi.storage.k8s.io/serviceAccount.name": "default",
            "csi.storage.k8s.io/ephemeral": "true",
        }
        await node.client.delete(PODS, "p", "default")
        await node.until_gone(PODS, "p")
        assert driver.named("NodeUnpublishVolume")[0]["volume_id"] == call["volume_id"]


async def test_a_volume_that_grew_is_expanded_under_its_pod(tmp_path: Path) -> None:
    async with machine(tmp_path) as node:
        await node.add_driver_object(attachRequired=False)
        driver = node.driver()
        await driver.start()
        await node.add_volume()
        pod = await node.add_pod()
        await node.running()
        # What an external resizer writes, step by step.
        larger = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        await node.client.patch(PERSISTENT_VOLUME_CLAIMS, "c", larger, "default")
        await node.client.patch(PERSISTENT_VOLUMES, "pv", {"spec": {"capacity": {"storage": "2Gi"}}})
        condition = {"type": "FileSystemResizePending", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        status = {"conditions": [condition], "allocatedResourceStatuses": {"storage": "NodeResizePending"}}
        await node.client.patch(PERSISTENT_VOLUME_CLAIMS, "c", {"status": status}, "default", subresource="status")
        claim = await node.until(
            PERSISTENT_VOLUME_CLAIMS, "c", lambda one: one["status"]["capacity"]["storage"] == "2Gi"
        )
        assert not claim["status"].get("conditions")
        assert not claim["status"].get("allocatedResourceStatuses")
        call = driver.named("NodeExpandVolume")[0]
        assert call["capacity_range"] == {"required_bytes": str(2 << 30)}
        assert call["volume_path"].endswith(f"{pod['metadata']['uid']}/volumes/kubernetes.io~csi/pv/mount")
        await node.until_event("FileSystemResizeSuccessful", 'NodeExpandVolume succeeded for volume "pv"')


async def test_usage_is_what_the_driver_says(tmp_path: Path) -> None:
    async with machine(tmp_path) as node:
        await node.add_driver_object(attachRequired=False)
        driver = node.driver()
        await driver.start()
        await node.add_volume()
        await node.add_pod()
        await node.running()
        usage = await node.kubelets["n"].usage()
        claims = [one for pod in usage.pods for one in pod.claims]
        assert [(one.volume, one.claim) for one in claims] == [("v", "c")]
        assert (claims[0].disk.capacity_bytes, claims[0].disk.used_bytes, claims[0].disk.inodes) == (1000, 10, 100)


@pytest.mark.parametrize("republishes", [True, False])
async def test_a_driver_that_asks_for_it_is_called_again(tmp_path: Path, republishes: bool) -> None:
    async with machine(tmp_path) as node:
        await node.add_driver_object(attachRequired=False, requiresRepublish=republishes)
        driver = node.driver()
        await driver.start()
        await node.add_volume()
        await node.add_pod()
        await node.running()
        # What a pod shows in its volumes has changed: all of them are looked at.
        await node.client.patch(PODS, "p", {"metadata": {"labels": {"a": "b"}}}, "default")
        if republishes:
            await driver.until_called("NodePublishVolume", times=2)
        await node.client.delete(PODS, "p", "default", grace_period_seconds=1)
        await node.until_gone(PODS)
        assert len(driver.named("NodePublishVolume")) == 1 + republishes
        assert len(driver.named("NodeStageVolume")) == 1


async def test_a_volume_of_one_pod_is_refused_to_another(tmp_path: Path) -> None:
    async with machine(tmp_path) as node:
        await node.add_driver_object(attachRequired=False)
        driver = node.driver(capabilities=(*ALL, 5))
        await driver.start()
        await node.add_volume(accessModes=["ReadWriteOncePod"])
        await node.add_pod()
        await node.running()
        assert driver.named("NodePublishVolume")[0]["volume_capability"]["access_mode"] == {"mode": 6}
        await node.add_pod("q")
        await node.until_event("FailedMount", "is already in use by another pod")
        await node.client.delete(PODS, "p", "default", grace_period_seconds=1)
        await node.running("q")


async def test_a_driver_is_asked_again_how_many_volumes_it_can_attach(tmp_path: Path) -> None:
    async with machine(tmp_path) as node:
        driver = node.driver()
        await driver.start()
        await driver.registered()
        driver.volumes_max = 3
        node.clock.factor = 0.001
        await node.add_driver_object(nodeAllocatableUpdatePeriodSeconds=10)
        await node.until(CSI_NODES, "n", lambda one: one["spec"]["drivers"][0]["allocatable"] == {"count": 3})


@pytest.mark.parametrize("while_away", ["stays", "goes"])
async def test_a_kubelet_that_was_killed_finds_what_it_left(tmp_path: Path, while_away: str) -> None:
    async with machine(tmp_path) as node:
        driver = node.driver(mounts=os.geteuid() == 0)
        await driver.start()
        await node.add_volume()
        await node.add_pod()
        await node.attach()
        await node.running()
        await node.kill()
        if while_away == "goes":
            await node.client.delete(PODS, "p", "default", grace_period_seconds=0)
        before = len(driver.calls)
        await node.start()
        if while_away == "stays":
            await driver.registered()
            await node.until(NODES, "n", lambda one: one["status"].get("volumesInUse") == [UNIQUE])
            if driver.mounts:
                assert not [name for name, _ in driver.calls[before:] if "Stage" in name or "ublish" in name]
            await node.client.delete(PODS, "p", "default", grace_period_seconds=1)
            await node.until_gone(PODS)
            assert not list((node.paths.kubelet_dir / "pods").iterdir())
        await node.until_gone(VOLUME_ATTACHMENTS)
        assert driver.named("NodeUnstageVolume")
