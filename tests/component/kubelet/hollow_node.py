"""A real API server with one hollow node whose time the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object
from orchestrator.api.resources import EVENTS, PODS, SERVICE_ACCOUNTS
from orchestrator.client.client import Client
from orchestrator.client.informer import Informers
from orchestrator.cluster.cluster import Cluster, Parts
from orchestrator.cluster.users import KUBELETS
from orchestrator.config import Config
from orchestrator.kubelet.eviction.evictor import ReadSignals
from orchestrator.kubelet.hollow import HollowRuntime
from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.nodes import Kubelets
from orchestrator.kubelet.parts import Hooks
from orchestrator.kubelet.probes.actions import Actions
from orchestrator.testing import ManualClock, eventually, settle

MakeHooks = Callable[[Clock], Hooks]


class Node:
    """A node under test and what a test wants to ask of it."""

    def __init__(
        self, cluster: Cluster, clock: ManualClock, actions: Actions | None = None, hooks: MakeHooks | None = None
    ) -> None:
        self.cluster = cluster
        self.clock = clock
        self.client: Client = cluster.client()
        self.runtime = HollowRuntime(clock=clock, pod_cidr="10.244.1.0/24", missing_images="missing")
        self.actions = actions
        self.hooks = hooks(clock) if hooks is not None else None
        self.options = NodeOptions(name="node-1", ip="172.30.0.2", pod_cidr="10.244.1.0/24")
        self.read_signals: ReadSignals | None = None
        self.prepare()
        self.kubelets: Kubelets | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def prepare(self) -> None:
        """For nodes that differ: called before the start."""

    async def start(self) -> None:
        informers = Informers(self.cluster.client(KUBELETS, ()), clock=self.clock, detect_mutations=True)
        self.kubelets = Kubelets(
            client_for=lambda name: self.cluster.client(KUBELETS, ()),
            informers=informers,
            clock=self.clock,
            detect_mutations=True,
        )
        self.kubelets.add(
            self.options, self.runtime, actions=self.actions, hooks=self.hooks, read_signals=self.read_signals
        )
        self._tasks = [
            asyncio.create_task(informers.run(), name="informers"),
            asyncio.create_task(self.kubelets.run(), name="kubelets"),
        ]
        await settle()

    async def stop(self) -> None:
        """As if the process were killed: nothing is said to anybody."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        if self.kubelets is not None:
            assert not self.kubelets.failing(), self.kubelets.failing()

    async def create(self, name: str, **spec: Any) -> Object:
        annotations = spec.pop("annotations", {})
        spec.setdefault("containers", [{"name": "a", "image": "app:1"}])
        metadata = {"name": name, "namespace": "default", "annotations": annotations}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": "node-1", **spec}}
        return await self.client.create(PODS, pod)

    async def get(self, name: str) -> Object:
        return await self.client.get(PODS, name, "default")

    async def wait(self, name: str, predicate: Callable[[Object], bool]) -> Object:
        found = await eventually(
            self.client,
            PODS,
            lambda pods: any(p["metadata"]["name"] == name and predicate(p) for p in pods),
            timeout_seconds=5.0,
        )
        return next(p for p in found if p["metadata"]["name"] == name)

    async def wait_phase(self, name: str, phase: str) -> Object:
        return await self.wait(name, lambda pod: (pod.get("status") or {}).get("phase") == phase)

    async def wait_gone(self, name: str) -> None:
        await eventually(
            self.client, PODS, lambda pods: all(p["metadata"]["name"] != name for p in pods), timeout_seconds=5.0
        )

    async def event_messages(self, name: str) -> list[str]:
        await settle()
        listed = await self.client.list(EVENTS, "default")
        return [f"{e['reason']}: {e['message']}" for e in listed["items"] if e["involvedObject"]["name"] == name]

    def container_id(self, pod: Object, index: int = 0) -> str:
        return str(pod["status"]["containerStatuses"][index]["containerID"].partition("://")[2])


@asynccontextmanager
async def hollow_node(
    tmp_path: Any, *, actions: Actions | None = None, hooks: MakeHooks | None = None, kind: type[Node] = Node
) -> AsyncIterator[Node]:
    """A cluster of an API server and one hollow node."""
    clock = ManualClock()
    config = Config(data_dir=tmp_path, listen="127.0.0.1:0", nodes=0, runtime="hollow", ephemeral=True)
    parts = Parts(https=False, controllers=False, scheduler=False, nodes=False, network=False)
    async with Cluster(config, clock=clock, parts=parts, detect_mutations=True) as cluster:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await cluster.client().create(SERVICE_ACCOUNTS, account, "default")
        node = kind(cluster, clock, actions, hooks)
        await node.start()
        try:
            yield node
        finally:
            await node.stop()


def state(pod: dict[str, Any], index: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = pod["status"]["containerStatuses"][index]["state"]
    return found


def restart_count(pod: dict[str, Any]) -> int:
    return int(pod["status"]["containerStatuses"][0]["restartCount"])
