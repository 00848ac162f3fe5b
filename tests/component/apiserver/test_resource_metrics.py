"""metrics.k8s.io and the kubelets' pages on a cluster with hollow nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.api.resources import NODE_METRICS, POD_METRICS, PODS, SERVICE_ACCOUNTS
from orchestrator.client.client import Client
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import eventually, running_cluster


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=2) as one:
        await eventually(one.client(), SERVICE_ACCOUNTS, lambda accounts: bool(accounts), namespace="default")
        yield one


def pod(name: str, annotations: dict[str, str] | None = None) -> Object:
    requests = {"cpu": "100m", "memory": "64Mi"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}, "annotations": annotations or {}},
        "spec": {
            "containers": [
                {"name": "a", "image": "web:1", "resources": {"requests": requests}},
                {"name": "b", "image": "web:1"},
            ]
        },
    }


async def run(client: Client, *pods: Object) -> None:
    for one in pods:
        await client.create(PODS, one)
    await eventually(
        client,
        PODS,
        lambda found: len(found) == len(pods) and all((p.get("status") or {}).get("phase") == "Running" for p in found),
        namespace="default",
    )


async def test_pods_on_hollow_nodes_use_what_they_request(cluster: Cluster) -> None:
    client = cluster.client()
    await run(client, pod("one"), pod("two", {"hollow.orchestrator.dev/cpu-usage": "2"}))
    metrics = await client.get(POD_METRICS, "one", "default")
    assert metrics["metadata"]["labels"] == {"app": "one"}
    assert metrics["containers"] == [
        {"name": "a", "usage": {"cpu": "100000000n", "memory": "65536Ki"}},
        {"name": "b", "usage": {"cpu": "1000000n", "memory": "1024Ki"}},
    ]
    listed = await client.list(POD_METRICS, "default", label_selector="app=two")
    (two,) = listed["items"]
    assert [c["usage"]["cpu"] for c in two["containers"]] == ["2000000000n", "2000000000n"]


async def test_a_claim_can_change_while_the_pod_runs(cluster: Cluster) -> None:
    client = cluster.client()
    await run(client, pod("one"))
    await client.patch(
        PODS, "one", {"metadata": {"annotations": {"hollow.orchestrator.dev/cpu-usage": "300m"}}}, "default"
    )
    node = (await client.get(PODS, "one", "default"))["spec"]["nodeName"]
    assert cluster.kubelets is not None
    seen = asyncio.Event()
    cluster.kubelets[node].pods.add_handler(
        lambda old, new: seen.set() if new is not None and new["metadata"].get("annotations") else None
    )
    await asyncio.wait_for(seen.wait(), 10)
    metrics = await client.get(POD_METRICS, "one", "default")
    assert metrics["containers"][0]["usage"]["cpu"] == "300000000n"


async def test_nodes_use_what_their_pods_use(cluster: Cluster) -> None:
    client = cluster.client()
    await run(client, pod("one"))
    node = (await client.get(PODS, "one", "default"))["spec"]["nodeName"]
    listed = await client.list(NODE_METRICS)
    assert {item["metadata"]["name"] for item in listed["items"]} == {"node-1", "node-2"}
    metrics = await client.get(NODE_METRICS, node)
    assert metrics["usage"] == {"cpu": "101000000n", "memory": f"{65 * 1024}Ki"}


@pytest.mark.parametrize(
    ("resource", "namespace", "message"),
    [
        (POD_METRICS, "default", 'podmetrics.metrics.k8s.io "default/none" not found'),
        (NODE_METRICS, "", 'nodemetrics.metrics.k8s.io "none" not found'),
    ],
)
async def test_who_has_no_metrics(cluster: Cluster, resource: object, namespace: str, message: str) -> None:
    with pytest.raises(errors.NotFound, match=message):
        await cluster.client().get(resource, "none", namespace)  # type: ignore[arg-type]


async def test_metrics_are_read_only(cluster: Cluster) -> None:
    with pytest.raises(errors.MethodNotAllowed):
        await cluster.client().delete(POD_METRICS, "one", "default")


async def test_the_pages_of_a_kubelet(cluster: Cluster) -> None:
    client = cluster.client()
    await run(client, pod("one"))
    node = (await client.get(PODS, "one", "default"))["spec"]["nodeName"]
    kubelet = cluster.kubelet(node)
    assert kubelet is not None

    async def body(path: str) -> bytes:
        page = await kubelet.page(path, {})
        assert page is not None, path
        return page[1]

    assert await body("/healthz") == b"ok"
    assert [p["metadata"]["name"] for p in orjson.loads(await body("/pods"))["items"]] == ["one"]
    assert [p["metadata"]["name"] for p in orjson.loads(await body("/runningpods/"))["items"]] == ["one"]
    assert orjson.loads(await body("/configz"))["kubeletconfig"]["kind"] == "KubeletConfiguration"
    assert orjson.loads(await body("/stats/summary"))["pods"][0]["podRef"]["name"] == "one"
    assert b'container_memory_working_set_bytes{container="a"' in await body("/metrics/resource")
    assert b'image="web:1"' in await body("/metrics/cadvisor")
    assert b"kubelet_running_pods 1.0" in await body("/metrics")
    assert await kubelet.page("/nothing", {}) is None
