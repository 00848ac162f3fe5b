"""`kubernetes_asyncio`: typed APIs, watch, dynamic client, create_from_dict, tokens in the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kubernetes_asyncio import client, config, utils, watch
from kubernetes_asyncio.client.exceptions import ApiException
from kubernetes_asyncio.dynamic import DynamicClient

from tests.e2e.clients.conftest import widget_definition


@pytest.fixture
async def aio(hollow: Any) -> AsyncIterator[client.ApiClient]:
    configuration = client.Configuration()
    await config.load_kube_config(str(hollow.kubeconfig), client_configuration=configuration)
    async with client.ApiClient(configuration) as one:
        yield one


async def test_a_pod_is_created_watched_and_deleted(aio: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(aio)
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "hollow/app:1"}]}}
    await core.create_namespaced_pod(namespace, body)
    types = []
    async with watch.Watch().stream(core.list_namespaced_pod, namespace, timeout_seconds=30) as events:
        async for event in events:
            types.append(event["type"])
            if event["type"] == "DELETED":
                break
            if event["object"].status.phase == "Running" and not event["object"].metadata.deletion_timestamp:
                await core.delete_namespaced_pod("p", namespace, grace_period_seconds=0)
    assert types[0] == "ADDED"
    with pytest.raises(ApiException) as caught:
        await core.read_namespaced_pod("p", namespace)
    assert caught.value.status == 404


async def test_a_watch_resumes_and_a_forgotten_version_is_expired(aio: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(aio)
    version = (await core.list_namespaced_config_map(namespace)).metadata.resource_version
    for name in "ab":
        await core.create_namespaced_config_map(namespace, {"metadata": {"name": name}})
    names: list[str] = []
    async with watch.Watch().stream(
        core.list_namespaced_config_map,
        namespace,
        resource_version=version,
        field_selector="metadata.name!=kube-root-ca.crt",
        timeout_seconds=20,
    ) as events:
        async for event in events:
            names.append(event["object"].metadata.name)
            if len(names) == 2:
                break
    assert names == ["a", "b"]


async def test_many_requests_at_once(aio: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(aio)
    bodies = [{"metadata": {"name": f"c-{number}"}, "data": {"n": str(number)}} for number in range(50)]
    await asyncio.gather(*(core.create_namespaced_config_map(namespace, body) for body in bodies))
    read = await asyncio.gather(*(core.read_namespaced_config_map(f"c-{n}", namespace) for n in range(50)))
    assert [one.data["n"] for one in read] == [str(n) for n in range(50)]
    deleted = await core.delete_collection_namespaced_config_map(namespace)
    assert deleted.status in (None, "Success")


async def test_patches_of_every_type(aio: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(aio)
    await core.create_namespaced_config_map(namespace, {"metadata": {"name": "c"}, "data": {"a": "1"}})
    patched = await core.patch_namespaced_config_map("c", namespace, [{"op": "remove", "path": "/data/a"}])
    assert not patched.data
    for content_type, body in (
        ("application/merge-patch+json", {"data": {"m": "1"}}),
        ("application/strategic-merge-patch+json", {"data": {"s": "1"}}),
    ):
        await core.patch_namespaced_config_map("c", namespace, body, _content_type=content_type)
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"y": "1"}}
    patched = await core.patch_namespaced_config_map(
        "c", namespace, applied, field_manager="tester", _content_type="application/apply-patch+yaml"
    )
    assert patched.data == {"m": "1", "s": "1", "y": "1"}


async def test_objects_from_dictionaries(aio: client.ApiClient, namespace: str) -> None:
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "hollow/app:1"}]}}},
    }  # fmt: skip
    await utils.create_from_dict(aio, deployment, namespace=namespace)
    apps = client.AppsV1Api(aio)
    assert (
        await apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 3}})
    ).spec.replicas == 3
    async with watch.Watch().stream(apps.list_namespaced_deployment, namespace, timeout_seconds=30) as events:
        async for event in events:
            if event["object"].status.ready_replicas == 3:
                break
    assert (await apps.read_namespaced_deployment_status("web", namespace)).status.ready_replicas == 3


async def test_the_dynamic_client(aio: client.ApiClient, namespace: str) -> None:
    dynamic = await DynamicClient(aio)
    definitions = await dynamic.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    await definitions.create(body=widget_definition("asyncs"))
    widgets = await dynamic.resources.get(api_version="clients.example.com/v1", kind="Async")
    body = {"apiVersion": "clients.example.com/v1", "kind": "Async", "metadata": {"name": "w"}}
    created = await widgets.create(body={**body, "spec": {"size": "s"}}, namespace=namespace)
    assert created.spec.size == "s"
    applied = await widgets.server_side_apply(
        body={**body, "spec": {"replicas": 2}}, namespace=namespace, field_manager="m"
    )
    assert applied.spec.to_dict() == {"size": "s", "replicas": 2}
    types = []
    async for event in widgets.watch(namespace=namespace, timeout=20):
        types.append(event["type"])
        if event["type"] == "DELETED":
            break
        await widgets.delete(name="w", namespace=namespace)
    assert types == ["ADDED", "DELETED"]
    missing = await widgets.get(name="w", namespace=namespace)  # this client raises nothing here
    assert (missing.kind, missing.code, missing.reason) == ("Status", 404, "NotFound")
    await definitions.delete(name="asyncs.clients.example.com")
