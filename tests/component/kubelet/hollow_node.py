"""A real API server with one hollow node whose time the test moves."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
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
from orchestrator.testing import eventually

MakeHooks = Callable[[Clock], Hooks]


class SteppedClock:
    """A clock that only `advance` moves."""

    def __init__(self) -> None:
        self._wall = datetime(2026, 1, 1, tzinfo=UTC)
        self._seconds = 0.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._numbers = itertools.count()

    def now(self) -> datetime:
        return self._wall + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: None if future.done() else future.set_result(None))
        try:
            await future
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> _Timer:
        timer = _Timer(callback)
        heapq.heappush(self._timers, (self._seconds + seconds, next(self._numbers), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Move on; everything that falls due on the way happens at its own time."""
        end = self._seconds + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self._seconds = max(self._seconds, due)
            if timer.callback is not None:
                timer.callback()
                await settle()
        self._seconds = end
        await settle()


class _Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


async def settle(turns: int = 60) -> None:
    """Let everything that can happen without time passing happen (all is in this process)."""
    for _ in range(turns):
        await asyncio.sleep(0)


class Node:
    """A node under test and what a test wants to ask of it."""

    def __init__(
        self, cluster: Cluster, clock: SteppedClock, actions: Actions | None = None, hooks: MakeHooks | None = None
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
    clock = SteppedClock()
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
