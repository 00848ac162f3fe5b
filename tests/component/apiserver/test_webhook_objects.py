"""What webhooks make of objects: defaults and pruning come after them, and their own configuration is out of reach."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.api.resources import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    PODS,
    SERVICE_ACCOUNTS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Resource,
)
from orchestrator.cluster.cluster import Cluster
from orchestrator.testing import running_cluster

from .test_webhooks import Hook, configuration, hook, patch

__all__ = ["hook"]

THINGS = Resource("example.com", "v1", "things", "Thing", namespaced=True)
MUTATING, VALIDATING = "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster(nodes=0, controllers=(), scheduler=False) as running:
        yield running


def about(hook: Hook, resource: str, group: str = "", *operations: str) -> dict[str, Any]:
    rule = {"operations": operations or ["*"], "apiGroups": [group], "apiVersions": ["*"], "resources": [resource]}
    return {"clientConfig": hook.config(), "rules": [rule]}


async def define_things(cluster: Cluster) -> None:
    data = {"type": "object", "properties": {"known": {"type": "string"}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"data": data}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    definition: Object = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    definition |= {"metadata": {"name": "things.example.com"}, "spec": spec}
    await cluster.client().create(CUSTOM_RESOURCE_DEFINITIONS, definition)


def thing(name: str) -> Object:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": metadata, "data": {"known": "a"}}


async def test_what_a_webhook_adds_to_a_custom_resource_is_pruned(cluster: Cluster, hook: Hook) -> None:
    await define_things(cluster)
    add = [{"op": "add", "path": f"/data/{key}", "value": "b"} for key in ("known", "unknown")]
    hook.answer = lambda request: patch(*add)
    adding = configuration(MUTATING, about(hook, "things", "example.com"))
    await cluster.client().create(MUTATING_WEBHOOK_CONFIGURATIONS, adding)
    assert (await cluster.client().create(THINGS, thing("t")))["data"] == {"known": "b"}


async def test_what_a_webhook_adds_to_a_pod_gets_defaults(cluster: Cluster, hook: Hook) -> None:
    added = {"name": "added", "image": "web:1"}
    hook.answer = lambda request: patch({"op": "add", "path": "/spec/initContainers", "value": [added]})
    adding = configuration(MUTATING, about(hook, "pods", "", "CREATE"))
    await cluster.client().create(MUTATING_WEBHOOK_CONFIGURATIONS, adding)
    spec = {"containers": [{"name": "c", "image": "web:1"}], "automountServiceAccountToken": False}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}}
    await cluster.client().create(SERVICE_ACCOUNTS, account)
    metadata = {"name": "p", "namespace": "default"}
    pod = await cluster.client().create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    assert pod["spec"]["initContainers"][0]["terminationMessagePolicy"] == "File"


async def test_every_write_of_a_custom_resource_can_be_refused(cluster: Cluster, hook: Hook) -> None:
    await define_things(cluster)
    client = cluster.client()
    stored = await client.create(THINGS, thing("t"))
    hook.answer = lambda request: {"allowed": False, "status": {"message": "unwanted"}}
    await client.create(VALIDATING_WEBHOOK_CONFIGURATIONS, configuration(VALIDATING, about(hook, "*", "example.com")))
    for write in (client.create(THINGS, thing("u")), client.update(THINGS, {**stored, "data": {"known": "z"}})):
        with pytest.raises(errors.ApiError, match="denied the request: unwanted"):
            await write
    with pytest.raises(errors.ApiError, match="denied the request: unwanted"):
        await client.delete(THINGS, "t", "default")
    assert [one["operation"] for one in hook.requests] == ["CREATE", "UPDATE", "DELETE"]


async def test_webhooks_cannot_touch_webhook_configurations(cluster: Cluster, hook: Hook) -> None:
    client = cluster.client()
    hook.answer = lambda request: {"allowed": False, "status": {"message": "unwanted"}}
    rule = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
    everything = {"clientConfig": hook.config(), "rules": [rule]}
    await client.create(VALIDATING_WEBHOOK_CONFIGURATIONS, configuration(VALIDATING, everything, name="all"))
    other = configuration(VALIDATING, about(hook, "none", "none.example.com"), name="other")
    await client.create(VALIDATING_WEBHOOK_CONFIGURATIONS, other)
    await client.delete(VALIDATING_WEBHOOK_CONFIGURATIONS, "other")
    config_map: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}}
    with pytest.raises(errors.ApiError, match="unwanted"):
        await client.create(CONFIG_MAPS, config_map)
    await client.delete(VALIDATING_WEBHOOK_CONFIGURATIONS, "all")
    await client.create(CONFIG_MAPS, config_map)
