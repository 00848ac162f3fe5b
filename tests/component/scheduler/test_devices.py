"""Dynamic resource allocation: claims from templates, devices chosen with the node, let go when the pod is done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object, condition_of, name_of, uid_of
from orchestrator.api.resources import (
    DEVICE_CLASSES,
    EVENTS,
    PODS,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
)
from orchestrator.client.client import Client
from orchestrator.testing import eventually, running_cluster

DRIVER = "gpu.example.com"
API = "resource.k8s.io/v1"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with running_cluster(nodes=2) as running:
        client = running.client()
        device_class = {"apiVersion": API, "kind": "DeviceClass", "metadata": {"name": "gpu"}, "spec": {}}
        await client.create(DEVICE_CLASSES, device_class)
        yield client


def devices_of(node: str, *names: str) -> Object:
    return {
        "apiVersion": API,
        "kind": "ResourceSlice",
        "metadata": {"name": f"{node}-gpus"},
        "spec": {
            "driver": DRIVER,
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": name} for name in names],
        },
    }


CLAIM = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}}
TEMPLATE = {
    "apiVersion": API,
    "kind": "ResourceClaimTemplate",
    "metadata": {"name": "one-gpu", "namespace": "default"},
    "spec": {"metadata": {"labels": {"made": "from-template"}}, "spec": CLAIM},
}


def pod(name: str, **claim: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "containers": [{"name": "c", "image": "app:1", "resources": {"claims": [{"name": "gpu"}]}}],
            "resourceClaims": [{"name": "gpu", **claim}],
        },
    }


async def running(client: Client, name: str) -> Object:
    def is_running(pods: list[Object]) -> bool:
        return any(name_of(one) == name and one["status"].get("phase") == "Running" for one in pods)

    return next(one for one in await eventually(client, PODS, is_running) if name_of(one) == name)


def waits_because(name: str, message: str) -> Any:
    def waits(pods: list[Object]) -> bool:
        for one in pods:
            condition = condition_of(one, "PodScheduled") or {}
            if name_of(one) == name and message in condition.get("message", ""):
                return True
        return False

    return waits


async def test_a_pod_runs_where_its_device_is_and_its_claim_goes_with_it(client: Client) -> None:
    await client.create(RESOURCE_SLICES, devices_of("node-2", "gpu-0"))
    await client.create(RESOURCE_CLAIM_TEMPLATES, TEMPLATE)
    await client.create(PODS, pod("first", resourceClaimTemplateName="one-gpu"))
    first = await running(client, "first")
    assert first["spec"]["nodeName"] == "node-2"
    (status,) = first["status"]["resourceClaimStatuses"]
    assert status["name"] == "gpu"
    claim = await client.get(RESOURCE_CLAIMS, status["resourceClaimName"], "default")
    assert name_of(claim).startswith("first-gpu-")
    assert claim["metadata"]["labels"] == {"made": "from-template"}
    assert claim["metadata"]["finalizers"] == ["resource.kubernetes.io/delete-protection"]
    assert claim["metadata"]["annotations"]["resource.kubernetes.io/pod-claim-name"] == "gpu"
    assert claim["status"]["reservedFor"] == [{"resource": "pods", "name": "first", "uid": uid_of(first)}]
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-2"]}]}
    assert claim["status"]["allocation"] == {
        "devices": {"results": [{"request": "gpu", "driver": DRIVER, "pool": "node-2", "device": "gpu-0"}]},
        "nodeSelector": {"nodeSelectorTerms": [by_name]},
    }

    await client.create(PODS, pod("second", resourceClaimTemplateName="one-gpu"))
    message = "0/2 nodes are available: 2 cannot allocate all claims."
    await eventually(client, PODS, waits_because("second", message))
    await client.delete(PODS, "first", "default", grace_period_seconds=0)
    second = await running(client, "second")
    assert second["spec"]["nodeName"] == "node-2"

    def is_only_the_second(claims: list[Object]) -> bool:
        return [name_of(one)[:11] for one in claims] == ["second-gpu-"]

    await eventually(client, RESOURCE_CLAIMS, is_only_the_second)


async def test_a_claim_may_be_shared_and_is_free_again_when_nobody_uses_it(client: Client) -> None:
    await client.create(RESOURCE_SLICES, devices_of("node-1", "gpu-0"))
    shared = {"apiVersion": API, "kind": "ResourceClaim", "metadata": {"name": "shared", "namespace": "default"}}
    await client.create(RESOURCE_CLAIMS, {**shared, "spec": CLAIM})
    for name in ("a", "b"):
        await client.create(PODS, pod(name, resourceClaimName="shared"))
    for name in ("a", "b"):
        assert (await running(client, name))["spec"]["nodeName"] == "node-1"
    claim = await client.get(RESOURCE_CLAIMS, "shared", "default")
    assert sorted(one["name"] for one in claim["status"]["reservedFor"]) == ["a", "b"]
    await client.delete(RESOURCE_CLAIMS, "shared", "default")
    for name in ("a", "b"):
        await client.delete(PODS, name, "default", grace_period_seconds=0)
    await eventually(client, RESOURCE_CLAIMS, lambda claims: claims == [])


async def test_a_claim_that_is_not_deleted_loses_its_devices_with_its_last_pod(client: Client) -> None:
    await client.create(RESOURCE_SLICES, devices_of("node-1", "gpu-0"))
    kept = {"apiVersion": API, "kind": "ResourceClaim", "metadata": {"name": "kept", "namespace": "default"}}
    await client.create(RESOURCE_CLAIMS, {**kept, "spec": CLAIM})
    await client.create(PODS, pod("a", resourceClaimName="kept"))
    await running(client, "a")
    await client.delete(PODS, "a", "default", grace_period_seconds=0)

    def is_free(claims: list[Object]) -> bool:
        status, metadata = claims[0].get("status") or {}, claims[0]["metadata"]
        return not status.get("allocation") and not status.get("reservedFor") and not metadata.get("finalizers")

    await eventually(client, RESOURCE_CLAIMS, is_free)


async def test_what_a_pod_waits_for_is_said_and_its_coming_wakes_the_pod(client: Client) -> None:
    await client.create(PODS, pod("p", resourceClaimTemplateName="one-gpu"))
    await eventually(client, PODS, waits_because("p", 'pod "default/p": ResourceClaim not created yet'))

    def has_told(events: list[Object]) -> bool:
        return any(
            one["reason"] == "FailedResourceClaimCreation"
            and one["message"]
            == 'PodResourceClaim gpu: resource claim template "one-gpu": '
            'resourceclaimtemplate.resource.k8s.io "one-gpu" not found'
            for one in events
        )

    await eventually(client, EVENTS, has_told)
    await client.create(RESOURCE_CLAIM_TEMPLATES, TEMPLATE)
    await eventually(client, PODS, waits_because("p", "cannot allocate all claims"))
    await client.create(RESOURCE_SLICES, devices_of("node-1", "gpu-0"))
    assert (await running(client, "p"))["spec"]["nodeName"] == "node-1"


async def test_claims_that_do_not_exist_or_ask_for_a_class_that_does_not(client: Client) -> None:
    await client.create(PODS, pod("p", resourceClaimName="mine"))
    await eventually(client, PODS, waits_because("p", 'resourceclaim.resource.k8s.io "mine" not found'))
    mine = {"apiVersion": API, "kind": "ResourceClaim", "metadata": {"name": "mine", "namespace": "default"}}
    request = {"name": "r", "exactly": {"deviceClassName": "tpu"}}
    await client.create(RESOURCE_CLAIMS, {**mine, "spec": {"devices": {"requests": [request]}}})
    await eventually(client, PODS, waits_because("p", "request r: device class tpu does not exist"))


async def test_many_pods_at_once_get_a_device_each(client: Client) -> None:
    names = [f"gpu-{number}" for number in range(10)]
    for node in ("node-1", "node-2"):
        await client.create(RESOURCE_SLICES, devices_of(node, *names))
    await client.create(RESOURCE_CLAIM_TEMPLATES, TEMPLATE)
    for number in range(20):
        await client.create(PODS, pod(f"p{number}", resourceClaimTemplateName="one-gpu"))

    def are_running(pods: list[Object]) -> bool:
        return [one["status"].get("phase") for one in pods] == ["Running"] * 20

    await eventually(client, PODS, are_running)
    claims = (await client.list(RESOURCE_CLAIMS, "default"))["items"]
    results = [one["status"]["allocation"]["devices"]["results"][0] for one in claims]
    assert len({(one["pool"], one["device"]) for one in results}) == len(claims) == 20


async def test_a_node_reads_the_claims_of_its_pods_and_describes_its_own_devices() -> None:
    async with running_cluster(nodes=2) as cluster:
        client = cluster.client()
        node = cluster.client("system:node:node-1", ("system:nodes", "system:authenticated"))
        other = {"apiVersion": API, "kind": "ResourceClaim", "metadata": {"name": "other", "namespace": "default"}}
        await client.create(RESOURCE_CLAIMS, {**other, "spec": CLAIM})
        with pytest.raises(errors.Forbidden, match="no relationship found"):
            await node.get(RESOURCE_CLAIMS, "other", "default")
        await node.create(RESOURCE_SLICES, devices_of("node-1", "gpu-0"))
        with pytest.raises(errors.Forbidden, match="same NodeName as the requesting node"):
            await node.create(RESOURCE_SLICES, devices_of("node-2", "gpu-0"))
