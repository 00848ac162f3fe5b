"""What a node says of its runtime: slow is not down, and the lease does not wait for it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from orchestrator.api.resources import LEASES, NODES
from orchestrator.kubelet.hollow import HollowRuntime
from orchestrator.kubelet.runtime import RuntimeInfo
from tests.component.kubelet.hollow_node import Node, hollow_node


class SlowRuntime(HollowRuntime):
    """Answers nothing about itself while it is told to be silent."""

    speaks: asyncio.Event

    async def info(self) -> RuntimeInfo:
        await self.speaks.wait()
        return await super().info()


class SlowNode(Node):
    def prepare(self) -> None:
        self.slow = SlowRuntime(clock=self.clock, pod_cidr="10.244.1.0/24")
        self.slow.speaks = asyncio.Event()
        self.slow.speaks.set()
        self.runtime = self.slow

    async def ready(self) -> dict[str, Any]:
        node = await self.client.get(NODES, "node-1")
        return next(one for one in node["status"]["conditions"] if one["type"] == "Ready")

    async def lease_age_seconds(self) -> float:
        lease = await self.client.get(LEASES, "node-1", "kube-node-lease")
        return (self.clock.now() - datetime.fromisoformat(lease["spec"]["renewTime"])).total_seconds()


async def test_a_runtime_is_down_once_it_said_nothing_for_half_a_minute(tmp_path: Any) -> None:
    async with hollow_node(tmp_path, kind=SlowNode) as node:
        assert isinstance(node, SlowNode)
        await node.clock.run(15)
        node.slow.speaks.clear()
        await node.clock.run(25)
        assert (await node.ready())["status"] == "True", "a busy machine makes everything late"
        node.slow.speaks.set()
        await node.clock.run(15)
        node.slow.speaks.clear()
        await node.clock.run(50)
        ready = await node.ready()
        assert (ready["status"], ready["message"]) == ("False", "container runtime is down: no answer within 30 s")
        node.slow.speaks.set()
        await node.clock.run(15)
        assert (await node.ready())["status"] == "True"


async def test_the_lease_of_a_node_does_not_wait_for_its_runtime(tmp_path: Any) -> None:
    async with hollow_node(tmp_path, kind=SlowNode) as node:
        assert isinstance(node, SlowNode)
        await node.clock.run(15)
        node.slow.speaks.clear()
        for _ in range(12):
            await node.clock.run(5)
            assert await node.lease_age_seconds() <= 10
