"""Where pods may run, as the conformance suite asks it of a running cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.api.objects import Object, condition_of, name_of
from orchestrator.api.resources import NODES, PODS, RUNTIME_CLASSES
from orchestrator.client.client import Client
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.testing import eventually, running_cluster
from tests.component.scheduler.objects import add_default_account, add_node, pod

HOST = "kubernetes.io/hostname"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Two nodes of one core, without kubelets."""
    async with running_cluster(nodes=0, controllers=()) as running:
        client = running.client()
        await add_default_account(client)
        for name in ("a", "b"):
            await add_node(client, name, cpu="1")
        yield client


async def outcome(client: Client, name: str) -> str:
    """The node of a pod, or why it has none."""

    def verdict(one: Object) -> str:
        refused = condition_of(one, "PodScheduled") or {}
        return str(one["spec"].get("nodeName") or (refused.get("status") == "False" and refused["message"]) or "")

    found = await eventually(client, PODS, lambda pods: any(name_of(p) == name and verdict(p) for p in pods))
    return next(verdict(p) for p in found if name_of(p) == name)


async def test_limits_count_as_requests_and_a_full_cluster_takes_no_more(client: Client) -> None:
    for name in ("fill-a", "fill-b"):
        filler = pod(name, cpu="700m", nodeSelector={HOST: name[-1]})
        filler["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "700m"}}
        await client.create(PODS, filler)
        assert await outcome(client, name) == name[-1]
    await client.create(PODS, pod("additional", cpu="500m"))
    assert (await outcome(client, "additional")).startswith("0/2 nodes are available: 2 Insufficient cpu.")


async def test_overhead_of_the_runtime_class_counts(client: Client) -> None:
    await client.create(
        RUNTIME_CLASSES,
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": "heavy"},
            "handler": "heavy",
            "overhead": {"podFixed": {"cpu": "600m"}},
        },
    )
    await client.create(PODS, pod("first", cpu="300m", runtimeClassName="heavy", nodeSelector={HOST: "a"}))
    assert await outcome(client, "first") == "a"
    await client.create(PODS, pod("second", cpu="200m", nodeSelector={HOST: "a"}))
    message = await outcome(client, "second")
    assert message.startswith(
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector."
    )


async def test_a_label_that_a_node_gets_later_lets_the_pod_run(client: Client) -> None:
    await client.create(PODS, pod("picky", cpu="1m", nodeSelector={"example.com/e2e": "42"}))
    assert "2 node(s) didn't match Pod's node affinity/selector" in await outcome(client, "picky")
    await client.patch(NODES, "b", {"metadata": {"labels": {"example.com/e2e": "42"}}})
    await eventually(client, PODS, lambda pods: pods[0]["spec"].get("nodeName") == "b")


async def test_a_taint_that_is_removed_lets_the_pod_run(client: Client) -> None:
    taint = {"key": "example.com/e2e", "value": "x", "effect": "NoSchedule"}
    for name in ("a", "b"):
        await client.patch(NODES, name, {"spec": {"taints": [taint]}}, content_type=STRATEGIC_MERGE_PATCH)
    await client.create(PODS, pod("tolerant", cpu="1m", tolerations=[{**taint, "operator": "Equal"}]))
    assert await outcome(client, "tolerant") in ("a", "b")
    await client.create(PODS, pod("plain", cpu="1m"))
    assert "2 node(s) had untolerated taint(s)" in await outcome(client, "plain")
    await client.patch(NODES, "a", {"spec": {"taints": None}})
    await eventually(client, PODS, lambda pods: all(p["spec"].get("nodeName") for p in pods))


def with_port(name: str, host_ip: str, protocol: str = "TCP") -> Object:
    made = pod(name, cpu="1m", nodeSelector={HOST: "a"})
    port: dict[str, Any] = {"containerPort": 8080, "hostPort": 54321, "protocol": protocol}
    if host_ip:
        port["hostIP"] = host_ip
    made["spec"]["containers"][0]["ports"] = [port]
    return made


async def test_one_host_port_for_other_addresses_and_other_protocols(client: Client) -> None:
    for name, address, protocol in (
        ("tcp-1", "127.0.0.1", "TCP"),
        ("tcp-2", "10.0.0.2", "TCP"),
        ("udp-2", "10.0.0.2", "UDP"),
    ):
        await client.create(PODS, with_port(name, address, protocol))
        assert await outcome(client, name) == "a"


@pytest.mark.parametrize(("first", "second"), [("", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("", "")])
async def test_every_address_conflicts_with_each(client: Client, first: str, second: str) -> None:
    await client.create(PODS, with_port("first", first))
    assert await outcome(client, "first") == "a"
    await client.create(PODS, with_port("second", second))
    assert "1 node(s) didn't have free ports for the requested pod ports" in await outcome(client, "second")
