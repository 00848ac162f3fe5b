"""kr8s: its synchronous and its asynchronous API, and classes for custom resources."""

from __future__ import annotations

import asyncio
from typing import Any

import kr8s
import kr8s.asyncio
import pytest
from kr8s.asyncio.objects import ConfigMap, CustomResourceDefinition, Deployment, Pod, Service
from kr8s.objects import Pod as SyncPod

from tests.e2e.clients.conftest import widget_definition


@pytest.fixture
async def k8(hollow: Any, namespace: str) -> Any:
    return await kr8s.asyncio.api(kubeconfig=str(hollow.kubeconfig), namespace=namespace)


def pod_spec(name: str, namespace: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "hollow/app:1"}]},
    }


def deployment_spec(name: str, namespace: str, replicas: int) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "hollow/app:1"}]},
            },
        },
    }


async def test_versions_resources_and_identity(k8: Any) -> None:
    assert (await k8.version())["major"] == "1"
    assert {"Pod", "Deployment", "APIService"} <= {one["kind"] for one in await k8.api_resources()}
    assert "apps/v1" in [version async for version in k8.api_versions()]
    assert await k8.whoami() == "kubernetes-admin"


async def test_a_pod_is_labelled_waited_for_and_deleted(k8: Any, namespace: str) -> None:
    pod = await Pod(pod_spec("p", namespace, app="x"), api=k8)
    await pod.create()
    assert await pod.exists()
    await pod.wait("condition=Ready", timeout=30)
    assert await pod.ready()
    await pod.label(tier="back")
    await pod.annotate({"example.com/note": "yes"})
    assert pod.labels == {"app": "x", "tier": "back"}
    await pod.label("tier-")
    assert "tier" not in pod.labels
    await pod.patch([{"op": "add", "path": "/metadata/labels/json", "value": "1"}], type="json")
    assert pod.labels["json"] == "1"
    assert isinstance([line async for line in pod.logs()], list)
    await pod.delete(grace_period=0)
    await pod.wait("delete", timeout=30)
    assert not await pod.exists()
    with pytest.raises(kr8s.NotFoundError):
        await Pod.get("p", namespace=namespace, api=k8)


async def test_lists_with_selectors_and_raw_tables(k8: Any, namespace: str) -> None:
    for name, color in (("a", "red"), ("b", "blue")):
        await (
            await ConfigMap({"metadata": {"name": name, "labels": {"color": color}}, "data": {}}, namespace, api=k8)
        ).create()
    found = [one.name async for one in k8.get("configmaps", namespace=namespace, label_selector={"color": "red"})]
    assert found == ["a"]
    found = [one.name async for one in k8.get("configmaps", namespace=namespace, field_selector="metadata.name=b")]
    assert found == ["b"]
    assert len([one async for one in k8.get("nodes")]) == 2
    assert len([one async for one in k8.get("po", namespace=kr8s.ALL)]) >= 0


async def test_watches(k8: Any, namespace: str) -> None:
    async def create() -> None:
        await (await ConfigMap({"metadata": {"name": "w"}, "data": {"a": "1"}}, namespace, api=k8)).create()

    creation = asyncio.create_task(create())
    async with asyncio.timeout(20):
        async for kind, obj in k8.watch("configmaps", namespace=namespace, field_selector="metadata.name=w"):
            assert (kind, obj.name) == ("ADDED", "w")
            break
        await creation


async def test_deployments_scale_and_services_find_their_pods(k8: Any, namespace: str) -> None:
    deployment = await Deployment(deployment_spec("web", namespace, 1), api=k8)
    await deployment.create()
    await deployment.scale(3)
    async with asyncio.timeout(30):
        while not await deployment.ready():
            await deployment.wait("condition=Available")
    assert deployment.replicas == 3
    assert len(await deployment.pods()) == 3
    service = await Service(
        {"metadata": {"name": "web", "namespace": namespace},
         "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}}, api=k8,
    )  # fmt: skip
    await service.create()
    assert len(await service.ready_pods()) == 3
    await deployment.delete(propagation_policy="Foreground")
    await deployment.wait("delete", timeout=30)


async def test_custom_resources(k8: Any, namespace: str) -> None:
    definition = await CustomResourceDefinition(widget_definition("krates"), api=k8)
    await definition.create()
    await definition.wait("condition=Established", timeout=20)
    krate_class = kr8s.asyncio.objects.new_class(
        kind="Krate", version="clients.example.com/v1", namespaced=True, scalable=True
    )
    krate = await krate_class({"metadata": {"name": "k", "namespace": namespace}, "spec": {"replicas": 1}}, api=k8)
    await krate.create()
    await krate.scale(2)
    assert krate.replicas == 2
    await krate.patch({"status": {"ok": True}}, subresource="status")
    assert krate.status.ok is True
    assert [one.name async for one in k8.get("krates.clients.example.com", namespace=namespace)] == ["k"]
    await definition.delete()


def test_the_synchronous_api(hollow: Any, namespace: str) -> None:
    k8 = kr8s.api(kubeconfig=str(hollow.kubeconfig), namespace=namespace)
    pod = SyncPod(pod_spec("sync", namespace), api=k8)
    pod.create()
    pod.wait(["condition=Ready", "jsonpath='{.status.phase}'=Running"], timeout=30)
    pod.refresh()
    assert pod.status.phase == "Running"
    assert [one.name for one in k8.get("pods", namespace=namespace)] == ["sync"]
    pod.delete()
