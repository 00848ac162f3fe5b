"""ResourceQuotas and LimitRanges as the conformance suite exercises them: what counts, what scopes, what is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    LIMIT_RANGES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    PRIORITY_CLASSES,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    SECRETS,
    SERVICES,
    Resource,
)
from orchestrator.testing import eventually, running_cluster

from .conftest import Stage, replica_set, template
from .test_persistentvolume import claim
from .test_resourcequota import quota


def one_of(kind: str, name: str, api_version: str = "v1", **fields: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, **fields}


def pod(name: str, requests: dict[str, str] | None = None, limits: dict[str, str] | None = None, **spec: Any) -> Object:
    resources = {key: value for key, value in (("requests", requests), ("limits", limits)) if value}
    containers = [{"name": "c", "image": "web:1", "resources": resources}]
    return one_of("Pod", name, spec={"containers": containers, **spec})


async def used(stage: Stage, name: str = "q", **wanted: str) -> Object:
    """Wait until the quota has exactly used this of these names."""
    amounts = {key.replace("__", "/").replace("_", "."): value for key, value in wanted.items()}

    def agrees(one: Object) -> bool:
        now = (one.get("status") or {}).get("used") or {}
        return {key: now.get(key) for key in amounts} == amounts

    return await stage.until_one(RESOURCE_QUOTAS, name, agrees)


async def refused(stage: Stage, resource: Resource, obj: Object, text: str) -> None:
    with pytest.raises(errors.Forbidden) as caught:
        await stage.client.create(resource, obj)
    assert text in caught.value.message
    assert "exceeded quota: q, requested:" in caught.value.message


COUNTED = [
    (CONFIG_MAPS, "configmaps", one_of("ConfigMap", "x")),
    (SECRETS, "secrets", one_of("Secret", "x")),
    (REPLICA_SETS, "count/replicasets.apps", replica_set("x", 0)),
    (REPLICATION_CONTROLLERS, "replicationcontrollers",
     one_of("ReplicationController", "x", spec={"replicas": 0, "selector": {"app": "x"}, "template": template("x")})),
    (PERSISTENT_VOLUME_CLAIMS, "persistentvolumeclaims", claim("x")),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "name", "obj"), COUNTED, ids=lambda one: one if isinstance(one, str) else "")
async def test_the_life_of_an_object_is_counted(stage: Stage, resource: Resource, name: str, obj: Object) -> None:
    there = len((await stage.client.list(resource, "default"))["items"])
    await stage.client.create(RESOURCE_QUOTAS, quota({name: str(there + 1), "resourcequotas": "1"}))
    key = name.replace("/", "__").replace(".", "_")
    await used(stage, **{key: str(there), "resourcequotas": "1"})
    created = await stage.client.create(resource, obj)
    await used(stage, **{key: str(there + 1)})
    second = {**obj, "metadata": {**obj["metadata"], "name": "second"}}
    await refused(stage, resource, second, f"{name}=1, used: {name}={there + 1}, limited: {name}={there + 1}")
    await stage.client.delete(resource, name_of(created), "default")
    await used(stage, **{key: str(there)})


async def test_services_their_node_ports_and_load_balancers(stage: Stage) -> None:
    # One is there already: `kubernetes`.
    hard = {"services": "10", "services.nodeports": "1", "services.loadbalancers": "1"}
    await stage.client.create(RESOURCE_QUOTAS, quota(hard))
    await used(stage, services="1", services_nodeports="0", services_loadbalancers="0")

    def service(name: str, kind: str, **spec: Any) -> Object:
        return one_of("Service", name, spec={"type": kind, "ports": [{"port": 80}], **spec})

    await stage.client.create(SERVICES, service("cluster", "ClusterIP"))
    await stage.client.create(SERVICES, service("node", "NodePort"))
    await used(stage, services="3", services_nodeports="1", services_loadbalancers="0")
    await refused(stage, SERVICES, service("second", "NodePort"), "services.nodeports=1")
    # A load balancer takes a node port too, unless it says that it needs none.
    await refused(stage, SERVICES, service("balancer", "LoadBalancer"), "services.nodeports=1")
    await stage.client.create(SERVICES, service("balancer", "LoadBalancer", allocateLoadBalancerNodePorts=False))
    await used(stage, services="4", services_nodeports="1", services_loadbalancers="1")
    for name in ("cluster", "node", "balancer"):
        await stage.client.delete(SERVICES, name, "default")
    await used(stage, services="1", services_nodeports="0", services_loadbalancers="0")


async def test_a_pod_takes_cpu_memory_storage_and_extended_resources(stage: Stage) -> None:
    hard = {"pods": "5", "cpu": "1", "memory": "500Mi", "ephemeral-storage": "50Gi", "requests.example.com/dongle": "3"}
    await stage.client.create(RESOURCE_QUOTAS, quota(hard))
    await used(stage, pods="0", cpu="0")
    requests = {"cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "example.com/dongle": "2"}
    await stage.client.create(PODS, pod("one", requests, {"example.com/dongle": "2"}))
    one = await used(stage, pods="1", cpu="500m", memory="252Mi", requests_example_com__dongle="2")
    assert one["status"]["used"]["ephemeral-storage"] == "30Gi"
    await refused(stage, PODS, pod("cpu", {**requests, "cpu": "600m"}, {"example.com/dongle": "2"}), "cpu=600m")
    small = {"cpu": "1m", "memory": "1Mi", "ephemeral-storage": "1Gi", "example.com/dongle": "2"}
    await refused(stage, PODS, pod("dongle", small, {"example.com/dongle": "2"}), "requests.example.com/dongle=2")
    containers = [{"name": "c", "image": "web:1", "resources": {"requests": {"cpu": "100m"}}}]
    change = {"spec": {"containers": containers}}
    with pytest.raises(errors.Invalid):
        await stage.client.patch(PODS, "one", change, "default")
    await stage.client.delete(PODS, "one", "default")
    await used(stage, pods="0", cpu="0", memory="0", requests_example_com__dongle="0")


async def test_a_quota_on_cpu_demands_that_pods_say_what_they_need(stage: Stage) -> None:
    await stage.client.create(RESOURCE_QUOTAS, quota({"cpu": "1", "limits.memory": "1Gi"}))
    await used(stage, cpu="0")
    with pytest.raises(errors.Forbidden, match=r"failed quota: q: must specify cpu for: c; limits.memory for: c"):
        await stage.client.create(PODS, pod("silent"))


async def test_claims_by_storage_class(stage: Stage) -> None:
    gold = "gold.storageclass.storage.k8s.io"
    await stage.client.create(RESOURCE_QUOTAS, quota({
        "persistentvolumeclaims": "5", "requests.storage": "10Gi",
        f"{gold}/persistentvolumeclaims": "1", f"{gold}/requests.storage": "5Gi"}))  # fmt: skip
    await used(stage, requests_storage="0")
    await stage.client.create(PERSISTENT_VOLUME_CLAIMS, claim("plain", "2Gi", storageClassName="silver"))
    await stage.client.create(PERSISTENT_VOLUME_CLAIMS, claim("golden", "3Gi", storageClassName="gold"))
    one = await used(stage, persistentvolumeclaims="2", requests_storage="5Gi")
    assert one["status"]["used"][f"{gold}/persistentvolumeclaims"] == "1"
    assert one["status"]["used"][f"{gold}/requests.storage"] == "3Gi"
    more = claim("more", "1Gi", storageClassName="gold")
    await refused(stage, PERSISTENT_VOLUME_CLAIMS, more, f"{gold}/persistentvolumeclaims=1")


async def test_custom_resources_are_counted(stage: Stage) -> None:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    await stage.client.create(CUSTOM_RESOURCE_DEFINITIONS, {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}})  # fmt: skip
    widgets = Resource("example.com", "v1", "widgets", "Widget")
    await stage.client.create(RESOURCE_QUOTAS, quota({"count/widgets.example.com": "1"}))
    await used(stage, count__widgets_example_com="0")
    await stage.client.create(widgets, one_of("Widget", "a", "example.com/v1"))
    await used(stage, count__widgets_example_com="1")
    await refused(stage, widgets, one_of("Widget", "b", "example.com/v1"), "count/widgets.example.com=1")
    await stage.client.delete(widgets, "a", "default")
    await used(stage, count__widgets_example_com="0")
    await stage.client.create(widgets, one_of("Widget", "b", "example.com/v1"))


async def scoped(stage: Stage, name: str, *scopes: str, **hard: str) -> None:
    one = quota({"pods": "5", **{key.replace("_", "."): value for key, value in hard.items()}}, scopes=list(scopes))
    one["metadata"]["name"] = name
    await stage.client.create(RESOURCE_QUOTAS, one)
    await used(stage, name, pods="0")


async def test_scopes_by_quality_of_service(stage: Stage) -> None:
    await scoped(stage, "best", "BestEffort")
    await scoped(stage, "rest", "NotBestEffort")
    await stage.client.create(PODS, pod("careless"))
    await used(stage, "best", pods="1")
    await stage.client.create(PODS, pod("careful", {"cpu": "100m"}, {"cpu": "200m"}))
    await used(stage, "rest", pods="1")
    await used(stage, "best", pods="1")
    await stage.client.delete(PODS, "careless", "default")
    await used(stage, "best", pods="0")
    await used(stage, "rest", pods="1")


async def test_scopes_by_deadline_and_priority(stage: Stage) -> None:
    await scoped(stage, "short", "Terminating", requests_cpu="1")
    await scoped(stage, "long", "NotTerminating", requests_cpu="1")
    await stage.client.create(PODS, pod("long", {"cpu": "500m"}))
    await used(stage, "long", pods="1", requests_cpu="500m")
    await stage.client.create(PODS, pod("short", {"cpu": "250m"}, activeDeadlineSeconds=3600))
    await used(stage, "short", pods="1", requests_cpu="250m")
    await used(stage, "long", pods="1")
    selector = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}
    high = quota({"pods": "1"}, scopeSelector=selector)
    high["metadata"]["name"] = "high"
    await stage.client.create(RESOURCE_QUOTAS, high)
    await used(stage, "high", pods="0")
    await stage.client.create(PRIORITY_CLASSES, {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                                                 "metadata": {"name": "high"}, "value": 1000})  # fmt: skip
    await stage.client.create(PODS, pod("high", {"cpu": "1m"}, priorityClassName="high"))
    await used(stage, "high", pods="1")


async def test_the_status_of_a_quota_belongs_to_its_subresource(stage: Stage) -> None:
    """What somebody writes there is stored, the spec is not touched, and the controller puts it right."""
    await stage.client.create(RESOURCE_QUOTAS, quota({"cpu": "500m", "memory": "500Mi"}))
    one = await used(stage, cpu="0", memory="0")
    status = {**one["status"], "hard": {"cpu": "1", "memory": "1Gi"}}
    written = await stage.client.update(RESOURCE_QUOTAS, {**one, "status": status}, subresource="status")
    assert written["status"]["hard"] == {"cpu": "1", "memory": "1Gi"}
    await stage.until_one(RESOURCE_QUOTAS, "q", lambda now: now["status"]["hard"] == one["spec"]["hard"])
    patch = {"spec": {"hard": {"cpu": "9"}}, "status": {"hard": {"cpu": "2"}}, "metadata": {"labels": {"a": "b"}}}
    patched = await stage.client.patch(RESOURCE_QUOTAS, "q", patch, "default", subresource="status")
    assert patched["spec"]["hard"] == {"cpu": "500m", "memory": "500Mi"}
    assert patched["status"]["hard"]["cpu"] == "2"
    await stage.until_one(RESOURCE_QUOTAS, "q", lambda now: now["status"]["hard"] == one["spec"]["hard"])


async def test_many_at_once_get_no_more_than_there_is(tmp_path: Path) -> None:
    """Where a write takes its time, reservations come long before the objects that they are for."""
    async with running_cluster(nodes=0, controllers=("resourcequota",), scheduler=False, data_dir=tmp_path) as cluster:
        client = cluster.client()
        await client.create(RESOURCE_QUOTAS, quota({"count/configmaps": "20"}))
        await eventually(client, RESOURCE_QUOTAS, lambda found: bool((found[0].get("status") or {}).get("used")))

        async def create(names: list[str]) -> int:
            made = 0
            for name in names:
                try:
                    await client.create(CONFIG_MAPS, one_of("ConfigMap", name))
                except errors.Forbidden:
                    continue
                made += 1
                if made % 3 == 0:
                    await client.delete(CONFIG_MAPS, name, "default")
            return made

        await asyncio.gather(*(create([f"m{who}-{number}" for number in range(15)]) for who in range(4)))
        kept = (await client.list(CONFIG_MAPS, "default"))["items"]
        assert len(kept) <= 20
        await eventually(
            client, RESOURCE_QUOTAS, lambda found: found[0]["status"]["used"]["count/configmaps"] == str(len(kept))
        )


async def test_a_limit_range_gives_defaults_and_bounds(stage: Stage) -> None:
    least, most, usual = ({"cpu": cpu, "memory": memory} for cpu, memory in (
        ("50m", "100Mi"), ("500m", "500Mi"), ("100m", "200Mi")))  # fmt: skip
    limits = {"type": "Container", "min": least, "max": most, "default": most, "defaultRequest": usual}
    await stage.client.create(LIMIT_RANGES, one_of("LimitRange", "l", spec={"limits": [limits]}))
    created = await stage.client.create(PODS, pod("plain"))
    assert created["spec"]["containers"][0]["resources"] == {
        "requests": limits["defaultRequest"], "limits": limits["default"]}  # fmt: skip
    # A limit without a request is a request too, before the range is asked.
    partial = await stage.client.create(PODS, pod("partial", {"cpu": "300m"}, {"memory": "300Mi"}))
    assert partial["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "300m", "memory": "300Mi"}, "limits": {"cpu": "500m", "memory": "300Mi"}}  # fmt: skip
    for requests, bounds in (({"cpu": "10m"}, {"cpu": "50m"}), ({"cpu": "600m"}, {"cpu": "600m"})):
        with pytest.raises(errors.Forbidden, match=r"(minimum|maximum) cpu usage per Container is"):
            await stage.client.create(PODS, pod("wrong", requests, bounds))
