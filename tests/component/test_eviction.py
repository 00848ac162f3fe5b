"""A node under pressure, with measurements that the test invents."""

from __future__ import annotations

import asyncio
from typing import Any

from orchestrator.api.objects import Object, condition_of
from orchestrator.api.resources import NODES
from orchestrator.kubelet.eviction import Signal, parse_thresholds
from orchestrator.kubelet.node import NodeOptions

from .kubelet_cluster import Node, hollow_node, settle

HEARTBEAT = 10.0
PLENTY, LITTLE = Signal(1 << 30, 1 << 32), Signal(1 << 20, 1 << 32)


class Pressed(Node):
    """A node whose free memory the test sets."""

    memory = PLENTY

    def prepare(self) -> None:
        self.options = NodeOptions(
            name="node-1",
            ip="172.30.0.2",
            pod_cidr="10.244.1.0/24",
            eviction_thresholds=parse_thresholds("memory.available<100Mi"),
        )
        self.read_signals = lambda: {"memory.available": self.memory}

    async def heartbeat(self) -> None:
        """Let one pass; the signals are read in a thread."""
        await self.clock.advance(HEARTBEAT)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, lambda: None)
        await settle()


async def test_one_pod_goes_and_the_next_is_refused(tmp_path: Any) -> None:
    async with hollow_node(tmp_path, kind=Pressed) as node:
        assert isinstance(node, Pressed)
        claim = "hollow.orchestrator.dev/memory-usage"
        await node.create("small", annotations={claim: "1Mi"})
        await node.create("large", annotations={claim: "900Mi"})
        for name in ("small", "large"):
            await node.wait_phase(name, "Running")
        node.memory = LITTLE
        await node.heartbeat()
        evicted = await node.wait_phase("large", "Failed")
        assert evicted["status"]["reason"] == "Evicted"
        assert evicted["status"]["message"].startswith("The node was low on resource: memory. ")
        disruption = condition_of(evicted, "DisruptionTarget")
        assert disruption is not None
        assert (disruption["status"], disruption["reason"]) == ("True", "TerminationByKubelet")
        assert any(message.startswith("Evicted: ") for message in await node.event_messages("large"))

        assert _pressure(await node.client.get(NODES, "node-1")) == "True"
        node.memory = PLENTY
        await node.create("late")
        refused = await node.wait_phase("late", "Failed")
        assert refused["status"]["message"] == "The node had condition: [MemoryPressure]. "
        assert (await node.get("small"))["status"]["phase"] == "Running"

        for _ in range(32):
            await node.heartbeat()
        assert _pressure(await node.client.get(NODES, "node-1")) == "False"
        await node.create("welcome")
        await node.wait_phase("welcome", "Running")


def _pressure(node: Object) -> str:
    condition = condition_of(node, "MemoryPressure")
    assert condition is not None
    return str(condition["status"])
