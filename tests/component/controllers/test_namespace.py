"""Namespaces on a running cluster: what each one gets, and how it goes."""

from __future__ import annotations

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object, condition_of, name_of
from orchestrator.api.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    SERVICE_ACCOUNTS,
    SERVICES,
)

from .conftest import Stage, deployment

NAMESPACE: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}


async def test_a_namespace_gets_its_service_account_and_again_after_deletion(stage: Stage) -> None:
    await stage.client.create(NAMESPACES, NAMESPACE)
    (first,) = await stage.until(SERVICE_ACCOUNTS, lambda found: len(found) == 1, "team")
    assert name_of(first) == "default"
    await stage.client.delete(SERVICE_ACCOUNTS, "default", "team")

    def is_new(found: list[Object]) -> bool:
        return [one["metadata"]["uid"] for one in found] not in ([], [first["metadata"]["uid"]])

    await stage.until(SERVICE_ACCOUNTS, is_new, "team")


async def test_deletion_removes_all_content_and_then_the_namespace(stage: Stage) -> None:
    await stage.client.create(NAMESPACES, NAMESPACE)
    await stage.until(SERVICE_ACCOUNTS, lambda found: len(found) == 1, "team")
    web = deployment()
    web["metadata"]["namespace"] = "team"
    await stage.client.create(DEPLOYMENTS, web)
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "team"}}
    await stage.client.create(SERVICES, {**service, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}})
    await stage.until(PODS, lambda pods: len(pods) == 3, "team")
    await stage.client.delete(NAMESPACES, "team")
    await stage.until(NAMESPACES, lambda found: "team" not in {name_of(one) for one in found}, "")
    for resource in stage.cluster.resources():
        if resource.namespaced:
            assert not (await stage.client.list(resource, "team"))["items"], resource
    with pytest.raises(errors.NotFound):
        await stage.client.create(CONFIG_MAPS, {**_map(), "metadata": {"name": "late", "namespace": "team"}})


async def test_conditions_tell_what_remains_and_why(stage: Stage) -> None:
    await stage.client.create(NAMESPACES, NAMESPACE)
    held = {"name": "held", "namespace": "team", "finalizers": ["example.com/hold"]}
    await stage.client.create(CONFIG_MAPS, {**_map(), "metadata": held})
    await stage.client.delete(NAMESPACES, "team")
    team = await stage.until_one(
        NAMESPACES, "team", lambda ns: (condition_of(ns, "NamespaceContentRemaining") or {}).get("status") == "True"
    )
    told = {c["type"]: (c["status"], c["reason"], c["message"]) for c in team["status"]["conditions"]}
    assert told == {
        "NamespaceDeletionDiscoveryFailure": ("False", "ResourcesDiscovered", "All resources successfully discovered"),
        "NamespaceDeletionGroupVersionParsingFailure": (
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        "NamespaceDeletionContentFailure": (
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        "NamespaceContentRemaining": (
            "True",
            "SomeResourcesRemain",
            "Some resources are remaining: configmaps. has 1 resource instances",
        ),
        "NamespaceFinalizersRemaining": (
            "True",
            "SomeFinalizersRemain",
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
        ),
    }
    await stage.client.patch(CONFIG_MAPS, "held", {"metadata": {"finalizers": None}}, "team")
    await stage.until(NAMESPACES, lambda found: "team" not in {name_of(one) for one in found}, "")


async def test_pods_go_before_everything_else(stage: Stage) -> None:
    await stage.client.create(NAMESPACES, NAMESPACE)
    await stage.until(SERVICE_ACCOUNTS, lambda found: len(found) == 1, "team")
    await stage.client.create(CONFIG_MAPS, {**_map(), "metadata": {"name": "needed", "namespace": "team"}})
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "c", "image": "i"}]}}
    metadata = {"name": "last", "namespace": "team", "finalizers": ["example.com/hold"]}
    await stage.client.create(PODS, {**pod, "metadata": metadata})
    await stage.client.delete(NAMESPACES, "team")
    await stage.until_one(NAMESPACES, "team", lambda ns: condition_of(ns, "NamespaceFinalizersRemaining") is not None)
    assert await stage.client.get(CONFIG_MAPS, "needed", "team")
    await stage.client.patch(PODS, "last", {"metadata": {"finalizers": None}}, "team")
    await stage.until(NAMESPACES, lambda found: "team" not in {name_of(one) for one in found}, "")


def _map() -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap"}
