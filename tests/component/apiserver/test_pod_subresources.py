"""Eviction, ephemeral containers, resize, and approval of certificates through the API server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.api.resources import NODES, POD_DISRUPTION_BUDGETS, PODS, SERVICE_ACCOUNTS
from orchestrator.client.client import Client
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import running_cluster


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=0, controllers=(), scheduler=False) as cluster:
        account: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await cluster.client().create(SERVICE_ACCOUNTS, account, "default")
        yield cluster


async def running_pod(admin: Client, name: str, containers: list[Object] | None = None) -> Object:
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {
            "nodeName": "n1",
            "containers": containers or [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}],
        },
    }
    created = await admin.create(PODS, pod)
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    return await admin.update(PODS, {**created, "status": status}, subresource="status")


def eviction(name: str) -> Object:
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}}


async def test_two_evictions_cannot_spend_one_disruption(cluster: Cluster) -> None:
    admin = cluster.client()
    for name in ("a", "b"):
        await running_pod(admin, name)
    budget = await admin.create(
        POD_DISRUPTION_BUDGETS,
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
        },
    )
    with pytest.raises(errors.TooManyRequests, match="would violate the pod's disruption budget"):
        await admin.create(PODS, eviction("a"), "default", name="a", subresource="eviction")
    status = {
        "observedGeneration": 1,
        "disruptionsAllowed": 1,
        "currentHealthy": 2,
        "desiredHealthy": 1,
        "expectedPods": 2,
    }
    await admin.update(POD_DISRUPTION_BUDGETS, {**budget, "status": status}, subresource="status")
    answer = await admin.create(PODS, eviction("a"), "default", name="a", subresource="eviction")
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    evicted = await admin.get(PODS, "a", "default")
    assert evicted["metadata"]["deletionTimestamp"]
    assert [one["reason"] for one in evicted["status"]["conditions"] if one["type"] == "DisruptionTarget"] == [
        "EvictionByEvictionAPI"
    ]
    with pytest.raises(errors.TooManyRequests):
        await admin.create(PODS, eviction("b"), "default", name="b", subresource="eviction")
    spent = await admin.get(POD_DISRUPTION_BUDGETS, "web", "default")
    assert spent["status"]["disruptionsAllowed"] == 0
    assert list(spent["status"]["disruptedPods"]) == ["a"]


async def test_ephemeral_containers_are_added_and_stay(cluster: Cluster) -> None:
    admin = cluster.client()
    pod = await running_pod(admin, "a")
    debugger = {"name": "debug", "image": "busybox", "targetContainerName": "c"}
    changed = {**pod, "spec": {**pod["spec"], "ephemeralContainers": [debugger], "hostNetwork": True}}
    updated = await admin.update(PODS, changed, subresource="ephemeralcontainers")
    assert updated["spec"]["ephemeralContainers"][0]["name"] == "debug"
    assert "hostNetwork" not in updated["spec"]
    assert updated["metadata"]["generation"] == pod["metadata"]["generation"] + 1
    without = {**updated, "spec": {**updated["spec"], "ephemeralContainers": []}}
    with pytest.raises(errors.Invalid, match="may not be removed"):
        await admin.update(PODS, without, subresource="ephemeralcontainers")


async def make_node(admin: Client, system: str = "linux") -> None:
    """The node of `running_pod`."""
    labels = {"kubernetes.io/os": system}
    node = await admin.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": labels}})
    status = {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"}}
    await admin.update(NODES, {**node, "status": status}, subresource="status")


async def test_resize_changes_cpu_and_memory_only(cluster: Cluster) -> None:
    admin = cluster.client()
    await make_node(admin)
    pod = await running_pod(admin, "a")

    def resized(**requests: str) -> Object:
        container = {**pod["spec"]["containers"][0], "image": "other", "resources": {"requests": requests}}
        return {
            **pod,
            "metadata": {**pod["metadata"], "resourceVersion": ""},
            "spec": {**pod["spec"], "containers": [container]},
        }

    updated = await admin.update(PODS, resized(cpu="200m"), subresource="resize")
    (container,) = updated["spec"]["containers"]
    assert (container["image"], container["resources"]) == ("i", {"requests": {"cpu": "200m"}})
    with pytest.raises(errors.Invalid, match="only cpu and memory resources are mutable"):
        await admin.update(PODS, resized(**{"cpu": "200m", "ephemeral-storage": "1Gi"}), subresource="resize")
    with pytest.raises(errors.Invalid, match="cannot be removed"):
        await admin.update(PODS, resized(memory="1Gi"), subresource="resize")


@pytest.mark.parametrize(
    ("system", "wanted", "why", "cause"),
    [
        ("linux", {"cpu": "2500m"}, "cpu, requested: 2500, allocatable: 2000", "NodeCapacity"),
        (
            "linux",
            {"cpu": "3", "memory": "2Gi"},
            "cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824",
            "NodeCapacity",
        ),
        (
            "windows",
            {"cpu": "1"},
            'pod resize is only supported on linux nodes, node "n1" is "windows"',
            "UnsupportedPlatform",
        ),
        ("", {"cpu": "1"}, 'node "n1" not found', ""),
    ],
)  # fmt: skip
async def test_a_resize_that_the_node_can_never_carry_out_is_refused(
    cluster: Cluster, system: str, wanted: Object, why: str, cause: str
) -> None:
    admin = cluster.client()
    if system:
        await make_node(admin, system)
    await running_pod(admin, "a")
    patch = {"spec": {"containers": [{"name": "c", "resources": {"requests": wanted}}]}}
    with pytest.raises(errors.Forbidden) as caught:
        await admin.patch(PODS, "a", patch, "default", subresource="resize", content_type=STRATEGIC_MERGE_PATCH)
    prefix = "node didn't have enough allocatable resources: " if cause == "NodeCapacity" else ""
    assert caught.value.message == f'pods "a" is forbidden: {prefix}{why}'
    assert [found.reason for found in caught.value.causes] == ([cause] if cause else [])
    same = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]}}
    await admin.patch(PODS, "a", same, "default", subresource="resize", content_type=STRATEGIC_MERGE_PATCH)


async def test_a_resize_finds_each_container_where_it_was(cluster: Cluster) -> None:
    admin = cluster.client()
    await make_node(admin)
    pod = await running_pod(admin, "a", containers=[{"name": "c1", "image": "i"}, {"name": "c2", "image": "i"}])
    first, second = pod["spec"]["containers"]

    async def refused(*containers: Object) -> list[tuple[str, str]]:
        unversioned = {**pod["metadata"], "resourceVersion": ""}
        changed = {**pod, "metadata": unversioned, "spec": {**pod["spec"], "containers": [*containers]}}
        with pytest.raises(errors.Invalid) as caught:
            await admin.update(PODS, changed, subresource="resize")
        return [(cause.field, cause.message) for cause in caught.value.causes]

    moved = "Forbidden: containers may not be renamed or reordered on resize"
    places = [(f"spec.containers[{n}].name", moved) for n in (0, 1)]
    assert await refused(second, first) == places
    assert await refused({**first, "name": "c3"}, second) == places[:1]
    assert await refused(first) == [("spec.containers", "Forbidden: containers may not be added or removed on resize")]
    policy = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    ((place, why),) = await refused({**first, "resizePolicy": policy}, second)
    assert place == "spec"
    assert why.startswith("Forbidden: only cpu and memory resources are mutable")
