"""Claims decide together with nodes: the scheduler and the volume binder in one cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.api.objects import Object, annotations_of, condition_of, name_of
from orchestrator.api.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
)
from orchestrator.client.client import Client
from orchestrator.testing import eventually, running_cluster
from tests.component.scheduler.objects import add_default_account, add_node

HOST = "kubernetes.io/hostname"
SELECTED = "volume.kubernetes.io/selected-node"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running_cluster(nodes=0, controllers=("persistentvolume-binder",)) as running:
        client = running.client()
        await add_default_account(client)
        for name in ("a", "b"):
            await add_node(client, name, cpu="4")
        yield client


def storage_class(name: str, provisioner: str = "kubernetes.io/no-provisioner") -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": provisioner,
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def volume(name: str, node: str, class_name: str, **spec: Any) -> Object:
    expression = {"key": HOST, "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "local": {"path": f"/data/{name}"},
            "storageClassName": class_name,
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
            **spec,
        },
    }


def claim(name: str, class_name: str, mode: str = "ReadWriteOnce") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "accessModes": [mode],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": class_name,
        },
    }


def pod(name: str, *claims: str, cpu: str = "100m", **spec: Any) -> Object:
    volumes = [{"name": f"v{n}", "persistentVolumeClaim": {"claimName": one}} for n, one in enumerate(claims)]
    container = {"name": "c", "image": "app:1", "resources": {"requests": {"cpu": cpu}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container], "volumes": volumes, **spec},
    }


async def node_of(client: Client, name: str) -> str:
    found = await eventually(
        client, PODS, lambda pods: any(name_of(p) == name and p["spec"].get("nodeName") for p in pods)
    )
    return next(str(p["spec"]["nodeName"]) for p in found if name_of(p) == name)


async def why(client: Client, name: str, part: str = "") -> str:
    """Wait until a pod is called unschedulable, with this in its message; the message."""

    def message(pod: Object) -> str:
        return str((condition_of(pod, "PodScheduled") or {}).get("message") or "")

    found = await eventually(
        client, PODS, lambda pods: any(name_of(p) == name and message(p) and part in message(p) for p in pods)
    )
    return next(message(p) for p in found if name_of(p) == name)


async def bound_to(client: Client, name: str) -> str:
    found = await eventually(
        client,
        PERSISTENT_VOLUME_CLAIMS,
        lambda claims: any(name_of(c) == name and (c.get("status") or {}).get("phase") == "Bound" for c in claims),
    )
    return next(str(c["spec"]["volumeName"]) for c in found if name_of(c) == name)


async def test_a_local_volume_is_chosen_with_the_node_and_bound_before_the_pod(client: Client) -> None:
    await client.create(STORAGE_CLASSES, storage_class("local"))
    await client.create(PERSISTENT_VOLUMES, volume("on-b", "b", "local"))
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("data", "local"))
    await client.create(PODS, pod("p", "data"))
    assert await node_of(client, "p") == "b"
    assert (await client.get(PERSISTENT_VOLUME_CLAIMS, "data", "default"))["spec"]["volumeName"] == "on-b"
    # A second pod of the claim follows the volume, and says so where it cannot.
    await client.create(PODS, pod("same", "data"))
    assert await node_of(client, "same") == "b"
    await client.create(PODS, pod("elsewhere", "data", nodeSelector={HOST: "a"}))
    assert await why(client, "elsewhere") == (
        "0/2 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity, "
        "1 node(s) didn't match Pod's node affinity/selector. "
        "no new claims to deallocate, preemption: 0/2 nodes are available: "
        "2 Preemption is not helpful for scheduling."
    )


async def test_pods_at_the_same_time_never_share_a_volume_and_the_rest_waits_for_one(client: Client) -> None:
    await client.create(STORAGE_CLASSES, storage_class("local"))
    for number in range(3):
        await client.create(PERSISTENT_VOLUMES, volume(f"v{number}", "ab"[number % 2], "local"))
    for number in range(4):
        await client.create(PERSISTENT_VOLUME_CLAIMS, claim(f"c{number}", "local"))
        await client.create(PODS, pod(f"p{number}", f"c{number}"))
    placed = await eventually(client, PODS, lambda pods: sum(bool(p["spec"].get("nodeName")) for p in pods) == 3)
    waiting = next(name_of(p) for p in placed if not p["spec"].get("nodeName"))
    assert "2 node(s) didn't find available persistent volumes to bind" in await why(client, waiting)
    claims = (await client.list(PERSISTENT_VOLUME_CLAIMS))["items"]
    taken = [c["spec"]["volumeName"] for c in claims if c["spec"].get("volumeName")]
    assert sorted(taken) == ["v0", "v1", "v2"]
    await client.create(PERSISTENT_VOLUMES, volume("late", "a", "local"))
    assert await node_of(client, waiting) == "a"


async def test_a_provisioner_is_told_the_node_and_the_pod_waits_for_its_volume(client: Client) -> None:
    await client.create(STORAGE_CLASSES, storage_class("csi", "csi.example.com"))
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("data", "csi"))
    await client.create(PODS, pod("p", "data"))
    claims = await eventually(
        client, PERSISTENT_VOLUME_CLAIMS, lambda claims: bool(claims and SELECTED in annotations_of(claims[0]))
    )
    chosen = annotations_of(claims[0])[SELECTED]
    assert not (await client.get(PODS, "p", "default"))["spec"].get("nodeName")
    # Other pods are not held up, and one that shares the claim goes where it is going to be.
    await client.create(PODS, pod("free"))
    await node_of(client, "free")
    await client.create(PODS, pod("shares", "data"))
    made = volume("made", chosen, "csi")
    made["spec"]["claimRef"] = {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": "default",
        "name": "data",
        "uid": claims[0]["metadata"]["uid"],
    }
    await client.create(PERSISTENT_VOLUMES, made)
    assert await node_of(client, "p") == chosen
    assert await node_of(client, "shares") == chosen
    assert await bound_to(client, "data") == "made"


async def test_a_provisioner_that_gives_up_on_a_node_sends_the_pod_back(client: Client) -> None:
    await client.create(STORAGE_CLASSES, storage_class("csi", "csi.example.com"))
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("data", "csi"))
    await client.create(PODS, pod("p", "data"))

    def is_asked(claims: list[Object]) -> bool:
        return bool(claims and SELECTED in annotations_of(claims[0]))

    await eventually(client, PERSISTENT_VOLUME_CLAIMS, is_asked)
    await client.patch(PERSISTENT_VOLUME_CLAIMS, "data", {"metadata": {"annotations": {SELECTED: None}}}, "default")
    await eventually(client, PERSISTENT_VOLUME_CLAIMS, is_asked)  # asked again, after the back-off


async def test_claims_that_are_missing_or_unbound_hold_a_pod_back_until_they_are_there(client: Client) -> None:
    await client.create(PODS, pod("p", "data"))
    assert await why(client, "p") == (
        '0/2 nodes are available: persistentvolumeclaim "data" not found. '
        "no new claims to deallocate, preemption: 0/2 nodes are available: "
        "2 Preemption is not helpful for scheduling."
    )
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("data", ""))
    await why(client, "p", "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.")
    await client.create(PERSISTENT_VOLUMES, volume("v", "a", ""))
    assert await node_of(client, "p") == "a"


async def test_a_claim_for_one_pod_has_one_pod_until_it_is_gone(client: Client) -> None:
    await client.create(PERSISTENT_VOLUMES, volume("v", "a", "", accessModes=["ReadWriteOncePod"]))
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("data", "", "ReadWriteOncePod"))
    await client.create(PODS, pod("first", "data"))
    assert await node_of(client, "first") == "a"
    await client.create(PODS, pod("second", "data"))
    message = await why(client, "second")
    assert "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode" in message
    await client.delete(PODS, "first", "default", grace_period_seconds=0)
    assert await node_of(client, "second") == "a"


async def test_a_pod_with_resource_claims_is_never_placed_as_if_it_had_none(client: Client) -> None:
    spec: dict[str, Any] = {"resourceClaims": [{"name": "gpu", "resourceClaimName": "one-gpu"}]}
    await client.create(PODS, pod("p", **spec))
    assert 'resourceclaim.resource.k8s.io "one-gpu" not found' in await why(client, "p")
