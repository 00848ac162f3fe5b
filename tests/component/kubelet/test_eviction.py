"""A node under pressure, with measurements that the test invents."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec.structs import replace

from orchestrator.api.objects import Object, condition_of
from orchestrator.api.resources import NODES
from orchestrator.kubelet.eviction.plan import Signal, parse_thresholds
from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.node.shutdown import ShutdownPeriods
from orchestrator.testing import settle
from tests.component.kubelet.hollow_node import Node, hollow_node

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
        await self.clock.run(HEARTBEAT)
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


class Patient(Pressed):
    """A node that waits before it evicts, and gives pods some time to end."""

    def prepare(self) -> None:
        super().prepare()
        self.options = replace(
            self.options,
            eviction_thresholds=parse_thresholds("memory.available<100Mi", {"memory.available": 25.0}),
            eviction_pod_grace_seconds=5,
        )


async def test_a_soft_threshold_has_patience_and_its_victims_have_time(tmp_path: Any) -> None:
    async with hollow_node(tmp_path, kind=Patient) as node:
        assert isinstance(node, Patient)
        slow = {"name": "a", "image": "app:1", "lifecycle": {"preStop": {"sleep": {"seconds": 20}}}}
        await node.create("web", containers=[slow])
        await node.wait_phase("web", "Running")
        node.memory = LITTLE
        for _ in range(3):
            await node.heartbeat()
        assert (await node.get("web"))["status"]["phase"] == "Running"
        assert _pressure(await node.client.get(NODES, "node-1")) == "True"
        node.memory = PLENTY
        await node.heartbeat()
        node.memory = LITTLE
        for _ in range(3):
            await node.heartbeat()
        assert (await node.get("web"))["status"]["phase"] == "Running", "the time began anew"
        await node.heartbeat()
        assert (await node.get("web"))["status"]["phase"] == "Running", "its hook runs"
        await node.clock.run(8)
        evicted = await node.wait_phase("web", "Failed")
        assert evicted["status"]["reason"] == "Evicted"


async def test_a_node_that_shuts_down_ends_its_pods_in_order_and_takes_no_more(tmp_path: Any) -> None:
    class Ending(Node):
        def prepare(self) -> None:
            self.options = replace(self.options, shutdown=ShutdownPeriods(total_seconds=30, critical_seconds=10))

    async with hollow_node(tmp_path, kind=Ending) as node:
        slow = {"name": "a", "image": "app:1", "lifecycle": {"preStop": {"sleep": {"seconds": 15}}}}
        await node.create("web", containers=[slow])
        await node.create("needed", priorityClassName="system-cluster-critical")
        for name in ("web", "needed"):
            await node.wait_phase(name, "Running")
        assert node.kubelets is not None
        ending = asyncio.create_task(node.kubelets.shut_down())
        await settle()
        ready = condition_of(await node.client.get(NODES, "node-1"), "Ready")
        assert ready is not None
        assert (ready["status"], ready["message"]) == ("False", "node is shutting down")
        await node.create("late")
        refused = await node.wait_phase("late", "Failed")
        assert refused["status"]["reason"] == "NodeShutdown"
        for name in ("web", "needed"):
            assert (await node.get(name))["status"]["phase"] == "Running"
        await node.clock.run(16)
        ended = await node.wait_phase("web", "Failed")
        assert (ended["status"]["reason"], ended["status"]["message"]) == (
            "Terminated",
            "Pod was terminated in response to imminent node shutdown.",
        )
        disruption = condition_of(ended, "DisruptionTarget")
        assert disruption is not None
        assert disruption["reason"] == "TerminationByKubelet"
        await node.wait_phase("needed", "Failed")
        await ending


def _pressure(node: Object) -> str:
    condition = condition_of(node, "MemoryPressure")
    assert condition is not None
    return str(condition["status"])
