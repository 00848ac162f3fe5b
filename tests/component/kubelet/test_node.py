"""The Node of a kubelet, and what is asked of its containers."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.api.objects import condition_of
from orchestrator.api.resources import LEASES, NODES
from orchestrator.component.kubelet_api import PodLogOptions
from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.node.plan import NodeHealth
from orchestrator.kubelet.node.reporter import NodeReporter
from orchestrator.kubelet.runtime import Image, RuntimeInfo, RuntimeUnavailable
from tests.component.kubelet.hollow_node import Node


async def test_node_is_registered_with_lease_and_conditions(node: Node) -> None:
    obj = await node.client.get(NODES, "node-1")
    assert obj["metadata"]["labels"]["kubernetes.io/hostname"] == "node-1"
    assert obj["spec"]["podCIDR"] == "10.244.1.0/24"
    ready = condition_of(obj, "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("True", "KubeletReady")
    assert obj["status"]["addresses"][0] == {"type": "InternalIP", "address": "172.30.0.2"}
    lease = await node.client.get(LEASES, "node-1", "kube-node-lease")
    assert lease["metadata"]["ownerReferences"][0]["uid"] == obj["metadata"]["uid"]
    before = lease["spec"]["renewTime"]
    await node.clock.run(25)
    after = await node.client.get(LEASES, "node-1", "kube-node-lease")
    assert after["spec"]["renewTime"] > before


async def test_logs_and_exec_through_the_kubelets_door(node: Node) -> None:
    await node.create("web")
    await node.wait_phase("web", "Running")
    assert node.kubelets is not None
    door = node.kubelets.kubelet("node-1")
    assert door is not None
    assert node.kubelets.kubelet("other") is None
    chunks = [chunk async for chunk in await door.logs("default", "web", PodLogOptions(container="a"))]
    assert b"".join(chunks) == b"a: a hollow container has no output\n"
    with pytest.raises(errors.BadRequest, match="container b is not valid for pod web"):
        await door.logs("default", "web", PodLogOptions(container="b"))
    with pytest.raises(errors.BadRequest, match='previous terminated container "a" in pod "web" not found'):
        await door.logs("default", "web", PodLogOptions(container="a", previous=True))
    with pytest.raises(errors.InternalError, match="hollow"):
        await door.exec("default", "web", "a", ["ls"], stdin=False, stdout=True, stderr=True, tty=False)


async def test_images_that_came_are_shown_with_the_next_report(node: Node) -> None:
    reporter = NodeReporter(client=node.client, clock=node.clock, options=NodeOptions(name="other", ip="172.30.0.9"))
    info, health = RuntimeInfo("docker", "1"), NodeHealth()
    await reporter.register(info, health, [])
    version = (await node.client.get(NODES, "other"))["metadata"]["resourceVersion"]
    await reporter.report(info, health, [])
    assert (await node.client.get(NODES, "other"))["metadata"]["resourceVersion"] == version
    await reporter.report(info, health, [Image("sha256:1", ("app:1",), (), 5)])
    assert (await node.client.get(NODES, "other"))["status"]["images"] == [{"names": ["app:1"], "sizeBytes": 5}]


async def test_deleted_node_registers_again(node: Node) -> None:
    await node.client.delete(NODES, "node-1")
    await node.clock.run(320)
    assert (await node.client.get(NODES, "node-1"))["status"]["conditions"]


async def test_runtime_that_does_not_answer_makes_the_node_not_ready(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> Any:
        raise RuntimeUnavailable("no such socket")

    await node.create("web")
    await node.wait_phase("web", "Running")
    with monkeypatch.context() as patch:
        patch.setattr(node.runtime, "info", broken)
        await node.clock.run(15)
        ready = condition_of(await node.client.get(NODES, "node-1"), "Ready")
        assert ready is not None
        assert (ready["status"], ready["reason"]) == ("False", "KubeletNotReady")
        assert "no such socket" in ready["message"]
    await node.clock.run(30)
    ready = condition_of(await node.client.get(NODES, "node-1"), "Ready")
    assert ready is not None
    assert ready["status"] == "True"
    assert len(node.runtime.pods()) == 1
