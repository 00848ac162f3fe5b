"""Preemption with everything that takes part: admission, controllers, kubelets that end victims."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import Object, condition_of, name_of
from orchestrator.api.resources import (
    NODES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    PRIORITY_CLASSES,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
)
from orchestrator.client.client import Client
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.testing import eventually, running_cluster

FOO = "scheduling.k8s.io/foo"
HOST = "kubernetes.io/hostname"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Two hollow nodes with three of a made-up resource each, and three levels of priority."""
    async with running_cluster(nodes=2) as cluster:
        client = cluster.client()
        for namespace in ("default", "kube-system"):
            await eventually(client, SERVICE_ACCOUNTS, lambda accounts: bool(accounts), namespace=namespace)
        nodes = await eventually(
            client, NODES, lambda nodes: len(nodes) == 2 and all(not n["spec"].get("taints") for n in nodes)
        )
        for node in nodes:
            amounts = {"capacity": {FOO: "3"}, "allocatable": {FOO: "3"}}
            await client.patch(
                NODES, name_of(node), {"status": amounts}, subresource="status", content_type=STRATEGIC_MERGE_PATCH
            )
        for name, value in (("low", 1), ("medium", 100), ("high", 1000)):
            await client.create(PRIORITY_CLASSES, priority_class(name, value))
        yield client


def priority_class(name: str, value: int, **more: Any) -> Object:
    kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
    return {**kind, "metadata": {"name": name}, "value": value, **more}


def pod(name: str, priority: str, foo: int, *, namespace: str = "default", node: str = "", **spec: Any) -> Object:
    resources = {FOO: str(foo)}
    container = {"name": "c", "image": "app:1", "resources": {"requests": resources, "limits": resources}}
    if node:
        spec["nodeSelector"] = {HOST: node}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"name": name}},
        "spec": {"containers": [container], "priorityClassName": priority, **spec},
    }


async def node_names(client: Client) -> list[str]:
    return sorted(name_of(node) for node in (await client.list(NODES))["items"])


async def running(client: Client, *names: str) -> dict[str, Object]:
    """Wait until exactly these pods are there, and all of them run."""
    found = await eventually(
        client,
        PODS,
        lambda pods: (
            sorted(map(name_of, pods)) == sorted(names)
            and all((p.get("status") or {}).get("phase") == "Running" for p in pods)
        ),
    )
    return {name_of(p): p for p in found}


async def full_nodes(client: Client) -> None:
    first, second = await node_names(client)
    await client.create(PODS, pod("victim", "low", 2, node=first))
    await client.create(PODS, pod("bystander", "medium", 2, node=second))
    await running(client, "victim", "bystander")


async def test_a_more_important_pod_takes_the_place_of_the_least_important(client: Client) -> None:
    await full_nodes(client)
    await client.create(PODS, pod("preemptor", "high", 2))
    pods = await running(client, "preemptor", "bystander")
    assert pods["preemptor"]["spec"]["nodeName"] == (await node_names(client))[0]
    assert not pods["preemptor"]["status"].get("nominatedNodeName")


async def test_a_critical_pod_of_the_system_preempts(client: Client) -> None:
    await full_nodes(client)
    await client.create(PODS, pod("critical", "system-cluster-critical", 2, namespace="kube-system"))
    await running(client, "critical", "bystander")


async def test_a_pod_that_never_preempts_waits_in_front_of_the_less_important(client: Client) -> None:
    await client.create(PRIORITY_CLASSES, priority_class("patient", 500, preemptionPolicy="Never"))
    await full_nodes(client)
    await client.create(PODS, pod("patient", "patient", 2))

    def message(found: list[Object]) -> str:
        return next(
            str((condition_of(p, "PodScheduled") or {}).get("message", "")) for p in found if name_of(p) == "patient"
        )

    found = await eventually(client, PODS, lambda pods: "not eligible due to preemptionPolicy=Never" in message(pods))
    assert message(found) == (
        f"0/2 nodes are available: 2 Insufficient {FOO}. no new claims to deallocate, "
        "preemption: not eligible due to preemptionPolicy=Never."
    )
    await client.delete(PODS, "victim", "default", grace_period_seconds=0)
    await running(client, "patient", "bystander")


async def test_victims_say_who_disrupted_them_and_end_gracefully(client: Client) -> None:
    """A finalizer keeps the victim to be looked at; its place is free as soon as its containers have ended."""
    first = (await node_names(client))[0]
    victim = pod("victim", "low", 3, node=first)
    victim["metadata"]["finalizers"] = ["example.com/look-at-it"]
    await client.create(PODS, victim)
    await running(client, "victim")
    await client.create(PODS, pod("preemptor", "high", 3, node=first))
    found = await eventually(
        client,
        PODS,
        lambda pods: any(name_of(p) == "preemptor" and p["spec"].get("nodeName") for p in pods),
    )
    kept = next(p for p in found if name_of(p) == "victim")
    condition = condition_of(kept, "DisruptionTarget")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("True", "PreemptionByScheduler")
    assert kept["status"]["phase"] in ("Succeeded", "Failed")
    assert kept["metadata"]["deletionTimestamp"]
    await client.patch(PODS, "victim", {"metadata": {"finalizers": None}}, "default")
    await running(client, "preemptor")


async def test_a_budget_is_broken_only_when_nothing_else_helps(client: Client) -> None:
    first, second = await node_names(client)
    await client.create(PODS, pod("guarded", "low", 3, node=first))
    await client.create(PODS, pod("free", "medium", 3, node=second))
    await running(client, "guarded", "free")
    await client.create(
        POD_DISRUPTION_BUDGETS,
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "guard", "namespace": "default"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"name": "guarded"}}},
        },
    )
    await eventually(
        client, POD_DISRUPTION_BUDGETS, lambda found: (found[0].get("status") or {}).get("expectedPods") == 1
    )
    await client.create(PODS, pod("high-1", "high", 3))
    await running(client, "guarded", "high-1")
    await client.create(PODS, pod("high-2", "high", 3))
    await running(client, "high-1", "high-2")


def has_available(count: int) -> Callable[[list[Object]], bool]:
    """Whether so many sets have their one replica available."""
    return lambda sets: sum((one.get("status") or {}).get("availableReplicas") == 1 for one in sets) == count


async def test_replica_sets_are_preempted_once_and_no_more(client: Client) -> None:
    """Three sets fill a node; a fourth, most important pod evicts a replica of two of them, whose successors wait."""
    first = (await node_names(client))[0]
    amounts = {"capacity": {"example.com/fakecpu": "1k"}, "allocatable": {"example.com/fakecpu": "1k"}}
    await client.patch(NODES, first, {"status": amounts}, subresource="status", content_type=STRATEGIC_MERGE_PATCH)
    created: list[str] = []

    def fake(name: str, priority: int, amount: str) -> Object:
        made = pod(name, f"p{priority}", 0, node=first)
        resources = {"example.com/fakecpu": amount}
        made["spec"]["containers"][0]["resources"] = {"requests": resources, "limits": resources}
        return made

    for number in range(1, 5):
        await client.create(PRIORITY_CLASSES, priority_class(f"p{number}", number))
    for number, amount in ((1, "200"), (2, "300"), (3, "450")):
        made = fake(f"pod{number}", number, amount)
        labels = {"name": f"pod{number}"}
        spec = {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": made["spec"]},
        }
        metadata = {"name": f"rs-pod{number}", "namespace": "default"}
        kind = {"apiVersion": "apps/v1", "kind": "ReplicaSet"}
        await client.create(REPLICA_SETS, {**kind, "metadata": metadata, "spec": spec})
        await eventually(
            client,
            REPLICA_SETS,
            has_available(number),
        )
    created += [name_of(p) for p in (await client.list(PODS))["items"]]
    await client.create(PODS, fake("pod4", 4, "500"))

    def is_settled(pods: list[Object]) -> bool:
        for p in pods:
            if name_of(p) not in created:
                created.append(name_of(p))
        waiting = [p for p in pods if (condition_of(p, "PodScheduled") or {}).get("reason") == "Unschedulable"]
        runs = any(name_of(p) == "pod4" and (p.get("status") or {}).get("phase") == "Running" for p in pods)
        return runs and len(waiting) == 2 and len(pods) == 4

    await eventually(client, PODS, is_settled, namespace="default")
    counts = [sum(name.startswith(f"rs-pod{number}-") for name in created) for number in (1, 2, 3)]
    assert counts == [2, 2, 1]


async def test_spread_constraints_decide_how_many_are_evicted(client: Client) -> None:
    """Room for the pod takes one victim, an even spread takes two."""
    first, second = await node_names(client)
    key, resource, label = "example.com/half", "example.com/spread", {"spread": ""}
    amounts = {"capacity": {resource: "10"}, "allocatable": {resource: "10"}}
    for name in (first, second):
        await client.patch(NODES, name, {"metadata": {"labels": {key: name}}})
        await client.patch(NODES, name, {"status": amounts}, subresource="status", content_type=STRATEGIC_MERGE_PATCH)

    def spread(name: str, priority: str, amount: str, **spec: Any) -> Object:
        made = pod(name, priority, 0, **spec)
        made["metadata"]["labels"] = label
        made["spec"]["containers"][0]["resources"] = {"requests": {resource: amount}, "limits": {resource: amount}}
        return made

    await client.create(PODS, spread("high", "high", "9"))
    await running(client, "high")
    for number in (1, 2, 3):
        await client.create(PODS, spread(f"low{number}", "low", "3"))
    await running(client, "high", "low1", "low2", "low3")
    constraint = {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchExpressions": [{"key": "spread", "operator": "Exists"}]},
    }
    await client.create(PODS, spread("medium", "medium", "3", topologySpreadConstraints=[constraint]))
    pods = await eventually(
        client,
        PODS,
        lambda pods: len(pods) == 3 and all((p.get("status") or {}).get("phase") == "Running" for p in pods),
        namespace="default",
    )
    assert sorted(name_of(p).rstrip("123") for p in pods) == ["high", "low", "medium"]


async def test_priority_classes_keep_their_value(client: Client) -> None:
    for change in ({"value": 10}, {"preemptionPolicy": "Never"}):
        with pytest.raises(errors.Invalid):
            await client.patch(PRIORITY_CLASSES, "low", change)
    changed = await client.patch(PRIORITY_CLASSES, "low", {"description": "updated"})
    assert (changed["value"], changed["description"]) == (1, "updated")
    with pytest.raises(errors.Invalid):
        await client.update(PRIORITY_CLASSES, {**changed, "value": 2})
    updated = await client.update(PRIORITY_CLASSES, {**changed, "description": "again"})
    assert updated["description"] == "again"
