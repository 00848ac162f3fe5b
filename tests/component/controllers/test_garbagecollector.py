"""Cascading deletion on a running cluster."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import Object, name_of, owner_reference
from orchestrator.api.resources import CONFIG_MAPS, DEPLOYMENTS, EVENTS, NODES, PODS, REPLICA_SETS

from .conftest import Stage, deployment, replica_set


async def config_map(stage: Stage, name: str, *owners: dict[str, Any], namespace: str = "default") -> Object:
    metadata = {"name": name, "namespace": namespace, "ownerReferences": list(owners)}
    return await stage.client.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def reference(obj: Object, **fields: Any) -> dict[str, Any]:
    return {**owner_reference({**obj, "apiVersion": "v1", "kind": "ConfigMap"}, controller=False), **fields}


def names(objects: list[Object]) -> set[str]:
    return {name_of(one) for one in objects} - {"kube-root-ca.crt"}


async def test_a_chain_goes_link_by_link(stage: Stage) -> None:
    first = await config_map(stage, "first")
    second = await config_map(stage, "second", reference(first))
    await config_map(stage, "third", reference(second))
    await config_map(stage, "bystander")
    await stage.client.delete(CONFIG_MAPS, "first", "default")
    await stage.until(CONFIG_MAPS, lambda maps: names(maps) == {"bystander"})


async def test_a_dependent_stays_while_one_owner_is_left(stage: Stage) -> None:
    first, second = await config_map(stage, "first"), await config_map(stage, "second")
    await config_map(stage, "child", reference(first), reference(second))
    await stage.client.delete(CONFIG_MAPS, "first", "default")

    def forgot_the_first(maps: list[Object]) -> bool:
        child = next(one for one in maps if name_of(one) == "child")
        return [ref["name"] for ref in child["metadata"]["ownerReferences"]] == ["second"]

    await stage.until(CONFIG_MAPS, forgot_the_first)
    await stage.client.delete(CONFIG_MAPS, "second", "default")
    await stage.until(CONFIG_MAPS, lambda maps: names(maps) == set())


async def test_an_object_whose_owner_never_existed_goes(stage: Stage) -> None:
    ghost = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ghost", "uid": "no-such-uid"}
    await config_map(stage, "child", ghost)
    await stage.until(CONFIG_MAPS, lambda maps: names(maps) == set())


async def test_an_owner_of_the_same_name_but_another_uid_is_no_owner(stage: Stage) -> None:
    owner = await config_map(stage, "owner")
    await config_map(stage, "child", reference(owner, uid="another"))
    await stage.until(CONFIG_MAPS, lambda maps: names(maps) == {"owner"})


async def test_an_unknown_kind_of_owner_keeps_the_object(stage: Stage) -> None:
    await config_map(stage, "kept", {"apiVersion": "x.io/v1", "kind": "Widget", "name": "w", "uid": "u"})
    ghost = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ghost", "uid": "no-such-uid"}
    await config_map(stage, "goes", ghost)
    await stage.until(CONFIG_MAPS, lambda maps: names(maps) == {"kept"})


async def test_an_owner_in_another_namespace_is_reported_and_counts_as_absent(stage: Stage) -> None:
    owner = await config_map(stage, "owner", namespace="kube-system")
    await config_map(stage, "child", reference(owner))
    await stage.until(CONFIG_MAPS, lambda maps: names(maps) == set())
    events = await stage.until(EVENTS, lambda es: any(e["reason"] == "OwnerRefInvalidNamespace" for e in es))
    event = next(e for e in events if e["reason"] == "OwnerRefInvalidNamespace")
    uid = owner["metadata"]["uid"]
    assert event["message"] == (
        f'ownerRef [v1/ConfigMap, namespace: default, name: owner, uid: {uid}] does not exist in namespace "default"'
    )
    assert (await stage.client.get(CONFIG_MAPS, "owner", "kube-system"))["metadata"]["uid"] == uid


async def test_a_namespaced_owner_of_a_cluster_scoped_object_never_deletes_it(stage: Stage) -> None:
    owner = await config_map(stage, "owner")
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "ownerReferences": [reference(owner)]}}
    await stage.client.create(NODES, node)
    await stage.client.delete(CONFIG_MAPS, "owner", "default")
    await stage.until(EVENTS, lambda es: any(e["reason"] == "OwnerRefInvalidNamespace" for e in es))
    assert await stage.client.get(NODES, "n")


async def test_orphaning_leaves_dependents_without_owner(stage: Stage) -> None:
    await stage.client.create(REPLICA_SETS, replica_set(replicas=2))
    await stage.until(PODS, lambda pods: len(pods) == 2)
    await stage.client.delete(REPLICA_SETS, "web", "default", propagation_policy="Orphan")
    await stage.until(REPLICA_SETS, lambda sets: not sets)
    pods = (await stage.client.list(PODS, "default"))["items"]
    assert len(pods) == 2
    assert not any(pod["metadata"].get("ownerReferences") for pod in pods)


async def test_foreground_deletion_keeps_the_owner_until_the_last_dependent_is_gone(stage: Stage) -> None:
    await stage.client.create(DEPLOYMENTS, deployment(replicas=2))
    await stage.until(PODS, lambda pods: len(pods) == 2)
    pods = (await stage.client.list(PODS, "default"))["items"]
    held = {"metadata": {"finalizers": ["example.com/hold"]}}
    await stage.client.patch(PODS, name_of(pods[0]), held, "default")
    await stage.client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Foreground")
    await stage.until(PODS, lambda now: [name_of(p) for p in now] == [name_of(pods[0])])
    (kept,) = (await stage.client.list(DEPLOYMENTS, "default"))["items"]
    assert kept["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert (await stage.client.list(REPLICA_SETS, "default"))["items"]
    await stage.client.patch(PODS, name_of(pods[0]), {"metadata": {"finalizers": None}}, "default")
    await stage.until(DEPLOYMENTS, lambda now: not now)
    assert not (await stage.client.list(REPLICA_SETS, "default"))["items"]


@pytest.mark.parametrize("blocks", [True, False])
async def test_only_blocking_dependents_hold_up_their_owner(stage: Stage, blocks: bool) -> None:
    owner = await config_map(stage, "owner")
    child = await config_map(stage, "child", reference(owner, blockOwnerDeletion=blocks))
    held = {"metadata": {"finalizers": ["example.com/hold"]}}
    await stage.client.patch(CONFIG_MAPS, name_of(child), held, "default")
    await stage.client.delete(CONFIG_MAPS, "owner", "default", propagation_policy="Foreground")

    def child_is_going(maps: list[Object]) -> bool:
        return any(name_of(one) == "child" and one["metadata"].get("deletionTimestamp") for one in maps)

    maps = await stage.until(CONFIG_MAPS, child_is_going)
    if blocks:
        assert "owner" in names(maps)
        await stage.client.patch(CONFIG_MAPS, "child", {"metadata": {"finalizers": None}}, "default")
        await stage.until(CONFIG_MAPS, lambda maps: names(maps) == set())
    else:
        await stage.until(CONFIG_MAPS, lambda maps: names(maps) == {"child"})
