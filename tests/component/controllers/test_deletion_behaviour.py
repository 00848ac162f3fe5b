"""Cascading deletion of workloads and namespaces as the conformance suite exercises it."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object, annotations_of, controller_of, labels_of, name_of, uid_of
from orchestrator.api.resources import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Resource,
)

from .conftest import Stage, deployment, template

FOREGROUND = "foregroundDeletion"


def controller(name: str, replicas: int = 3) -> Object:
    metadata = {"name": name, "namespace": "default"}
    spec = {"replicas": replicas, "selector": {"app": name}, "template": template(name)}
    return {"apiVersion": "v1", "kind": "ReplicationController", "metadata": metadata, "spec": spec}


def reference(owner: Object, **fields: Any) -> dict[str, Any]:
    about = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": name_of(owner), "uid": uid_of(owner)}
    return {**about, **fields}


async def started(stage: Stage, name: str, replicas: int = 3) -> Object:
    await stage.client.create(REPLICATION_CONTROLLERS, controller(name, replicas))
    return await stage.until_one(
        REPLICATION_CONTROLLERS, name, lambda one: (one.get("status") or {}).get("readyReplicas", 0) == replicas
    )


async def test_background_deletion_takes_the_pods(stage: Stage) -> None:
    await started(stage, "rc")
    await stage.client.delete(REPLICATION_CONTROLLERS, "rc", "default", propagation_policy="Background")
    await stage.until(PODS, lambda pods: not pods)


async def test_orphaned_pods_and_replica_sets_stay_and_lose_their_owner(stage: Stage) -> None:
    await started(stage, "rc")
    await stage.client.delete(REPLICATION_CONTROLLERS, "rc", "default", propagation_policy="Orphan")
    await stage.until(REPLICATION_CONTROLLERS, lambda found: not found)
    await stage.until(PODS, lambda pods: [controller_of(pod) for pod in pods] == [None] * 3)
    await stage.client.create(DEPLOYMENTS, deployment())
    await stage.until_one(DEPLOYMENTS, "web", lambda one: (one.get("status") or {}).get("readyReplicas") == 3)
    await stage.client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Orphan")
    await stage.until(REPLICA_SETS, lambda found: [controller_of(rs) for rs in found] == [None])
    pods = await stage.client.list(PODS, "default", label_selector="app=web")
    assert [controller_of(pod)["kind"] for pod in pods["items"]] == ["ReplicaSet"] * 3  # type: ignore[index]


async def test_the_owner_stays_until_the_last_pod_is_gone_in_the_foreground(stage: Stage) -> None:
    await started(stage, "rc")
    for pod in (await stage.client.list(PODS, "default"))["items"]:
        held = {"metadata": {"finalizers": ["example.com/hold"]}}
        await stage.client.patch(PODS, name_of(pod), held, "default")
    await stage.client.delete(REPLICATION_CONTROLLERS, "rc", "default", propagation_policy="Foreground")
    pods = await stage.until(PODS, lambda pods: all("deletionTimestamp" in p["metadata"] for p in pods))
    assert len(pods) == 3
    one = await stage.client.get(REPLICATION_CONTROLLERS, "rc", "default")
    assert FOREGROUND in one["metadata"]["finalizers"]
    for pod in pods:
        await stage.client.patch(PODS, name_of(pod), {"metadata": {"finalizers": None}}, "default")
    await stage.until(REPLICATION_CONTROLLERS, lambda found: not found)
    assert (await stage.client.list(PODS, "default"))["items"] == []


async def test_a_pod_with_another_owner_outlives_the_one_that_waits_for_it(stage: Stage) -> None:
    await started(stage, "going", 4)
    staying = await started(stage, "staying", 0)
    pods = (await stage.client.list(PODS, "default"))["items"]
    shared = {name_of(pod) for pod in pods[:2]}
    for pod in pods[:2]:
        owners = [*pod["metadata"]["ownerReferences"], reference(staying)]
        await stage.client.patch(PODS, name_of(pod), {"metadata": {"ownerReferences": owners}}, "default")
    await stage.client.delete(REPLICATION_CONTROLLERS, "going", "default", propagation_policy="Foreground")
    await stage.until(REPLICATION_CONTROLLERS, lambda found: [name_of(one) for one in found] == ["staying"])
    left = (await stage.client.list(PODS, "default"))["items"]
    assert {name_of(pod) for pod in left} == shared
    owners = [[ref["name"] for ref in pod["metadata"]["ownerReferences"]] for pod in left]
    assert owners == [["staying"]] * 2


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_a_circle_of_owners_is_no_obstacle(stage: Stage, policy: str) -> None:
    pods = []
    for name in ("one", "two", "three"):
        pod: Object = {"apiVersion": "v1", "kind": "Pod", **template()}
        pod["metadata"] = {"name": name, "namespace": "default"}
        pods.append(await stage.client.create(PODS, pod))
    for pod, owner in zip(pods, [pods[2], pods[0], pods[1]], strict=True):
        owners = [reference(owner, controller=True, blockOwnerDeletion=True)]
        await stage.client.patch(PODS, name_of(pod), {"metadata": {"ownerReferences": owners}}, "default")
    await stage.client.delete(PODS, "one", "default", propagation_policy=policy)
    await stage.until(PODS, lambda left: not left)


async def test_custom_resources_own_and_are_owned(stage: Stage) -> None:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    await stage.client.create(CUSTOM_RESOURCE_DEFINITIONS, {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}})  # fmt: skip
    widgets = Resource("example.com", "v1", "widgets", "Widget")

    def widget(name: str, *owners: Object) -> Object:
        metadata = {"name": name, "namespace": "default", "ownerReferences": [reference(one) for one in owners]}
        return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata}

    owner = await stage.client.create(widgets, widget("owner"))
    await stage.client.create(widgets, widget("dependent", owner))
    metadata = {"name": "m", "namespace": "default", "ownerReferences": [reference(owner)]}
    await stage.client.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    await stage.client.delete(widgets, "owner", "default")
    await stage.until(widgets, lambda found: not found)
    await stage.until(CONFIG_MAPS, lambda found: "m" not in {name_of(one) for one in found})


# Namespaces.


async def test_a_namespace_is_patched_replaced_and_its_status_written(stage: Stage) -> None:
    await stage.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
    one = await stage.client.get(NAMESPACES, "team", subresource="status")
    assert one["status"]["phase"] == "Active"
    condition = {"type": "StatusPatch", "status": "True", "reason": "Test", "message": "Patched"}
    patch = {"metadata": {"annotations": {"patched": "true"}}, "status": {"conditions": [condition]}}
    patched = await stage.client.patch(NAMESPACES, "team", patch, subresource="status")
    assert annotations_of(patched)["patched"] == "true"
    assert patched["status"]["conditions"][0]["reason"] == "Test"
    assert patched["status"]["phase"] == "Active"
    await stage.client.patch(NAMESPACES, "team", {"metadata": {"labels": {"a": "b"}}})
    one = await stage.client.get(NAMESPACES, "team")
    assert labels_of(one)["a"] == "b"
    # Its own finalizers have a subresource of their own.
    held = {**one, "spec": {"finalizers": [*one["spec"]["finalizers"], "example.com/hold"]}}
    held = await stage.client.update(NAMESPACES, held, subresource="finalize")
    assert held["spec"]["finalizers"] == ["kubernetes", "example.com/hold"]
    await stage.client.delete(NAMESPACES, "team")
    one = await stage.until_one(NAMESPACES, "team", lambda ns: ns["spec"]["finalizers"] == ["example.com/hold"])
    assert one["status"]["phase"] == "Terminating"
    await stage.client.update(NAMESPACES, {**one, "spec": {}}, subresource="finalize")
    await stage.until(NAMESPACES, lambda found: "team" not in {name_of(ns) for ns in found}, "")


async def test_pods_and_services_are_gone_when_the_namespace_comes_again(stage: Stage) -> None:
    namespace: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
    await stage.client.create(NAMESPACES, namespace)
    await stage.until(SERVICE_ACCOUNTS, lambda found: len(found) == 1, "team")
    pod: Object = {"apiVersion": "v1", "kind": "Pod", **template()}
    pod["metadata"] = {"name": "p", "namespace": "team", "finalizers": ["example.com/hold"]}
    await stage.client.create(PODS, pod)
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "team"},
               "spec": {"ports": [{"port": 80}]}}  # fmt: skip
    await stage.client.create(SERVICES, service)
    await stage.client.delete(NAMESPACES, "team")
    # The pod is held, so nothing else goes yet (KEP-5080), and nothing new comes.
    await stage.until_one(
        NAMESPACES, "team", lambda ns: any(c["type"] == "NamespaceFinalizersRemaining" and c["status"] == "True"
                                           for c in ns["status"].get("conditions") or ()))  # fmt: skip
    assert [name_of(one) for one in (await stage.client.list(SERVICES, "team"))["items"]] == ["s"]
    with pytest.raises(errors.Forbidden, match="because it is being terminated"):
        await stage.client.create(SERVICES, {**service, "metadata": {"name": "t", "namespace": "team"}})
    await stage.client.patch(PODS, "p", {"metadata": {"finalizers": None}}, "team")
    await stage.until(NAMESPACES, lambda found: "team" not in {name_of(ns) for ns in found}, "")
    await stage.client.create(NAMESPACES, namespace)
    await stage.until(SERVICE_ACCOUNTS, lambda found: len(found) == 1, "team")
    for resource in (PODS, SERVICES):
        assert (await stage.client.list(resource, "team"))["items"] == []
