"""Bound pods per second by shape of workload, everything included: informers, queue, decision, binding, store, watch.

The shapes are those of Kubernetes' scheduler_perf, at 500 and 5,000 nodes without kubelets, on a memory store and
through the in-process transport. The pods exist before the scheduler starts; measured is from its start to the last
binding. `<shape>_at_<nodes>_pods_per_s` is by the clock on the wall, `..._per_cpu_s` by the CPU time of the whole
process, the API server's included, which other work on the machine does not distort.
`<shape>_of_threshold` compares the latter at 5,000 nodes with the throughput that kube-scheduler's own performance
tests ask of it (`THRESHOLDS`), measured there on another machine, with an API server in the same process too.
Sizes: ORCHESTRATOR_BENCH_NODES (a list) and ORCHESTRATOR_BENCH_PODS (2,000 of each shape).
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from orchestrator.aiokit.clock import SystemClock
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import NODES, PODS, SERVICE_ACCOUNTS
from orchestrator.cli.up import COLLECTOR_THRESHOLDS
from orchestrator.client.client import Client
from orchestrator.client.informer import Informer, Informers
from orchestrator.cluster.cluster import Cluster
from orchestrator.component.events import EventRecorder
from orchestrator.scheduler.pod_writer import EVENT_ACTIONS
from orchestrator.scheduler.scheduler import Scheduler
from tests.benchmarks.scheduler_workloads import SHAPES, THRESHOLDS, daemon, node, pod

SIZES = tuple(int(part) for part in os.environ.get("ORCHESTRATOR_BENCH_NODES", "500,5000").split(","))
POD_COUNT = int(os.environ.get("ORCHESTRATOR_BENCH_PODS", "2000"))
AT_ONCE = 16
WAIT_SECONDS_MAX = 240
CHURN_SECONDS = 0.1


class Bench:
    """A cluster with nodes, and a scheduler that runs for one shape at a time."""

    def __init__(self, cluster: Cluster, nodes: int) -> None:
        self.cluster = cluster
        self.client = cluster.client()
        self.nodes = nodes

    async def each(self, count: int, work: Callable[[int], object]) -> None:
        numbers = iter(range(count))

        async def worker() -> None:
            for number in numbers:
                await work(number)  # type: ignore[misc]

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    async def create(self, pods: Sequence[Object]) -> None:
        async def one(number: int) -> None:
            made = pods[number]
            del made["metadata"]["uid"]
            await self.client.create(PODS, made)

        await self.each(len(pods), one)

    async def clear(self) -> None:
        """Delete every pod."""
        names = [name_of(item) for item in (await self.client.list(PODS))["items"]]

        async def one(number: int) -> None:
            await self.client.delete(PODS, names[number], "default", grace_period_seconds=0)

        await self.each(len(names), one)

    async def measure(
        self, pods: Sequence[Object], *, before: Sequence[Object] = (), churn: bool = False
    ) -> tuple[float, float]:
        """(wall, CPU) seconds from the scheduler's start until all `pods` are bound; `before` exist beside them."""
        await self.create(before)
        await self.create(pods)
        wanted = {name_of(item) for item in pods}
        own = self.cluster.client("system:kube-scheduler", ())
        clock = SystemClock()
        informers = Informers(own, clock=clock)
        recorder = EventRecorder(own, component="default-scheduler", clock=clock, actions=EVENT_ACTIONS)
        scheduler = Scheduler(client=own, informers=informers, recorder=recorder, clock=clock)
        done = asyncio.Event()

        def on_pod(old: Object | None, new: Object | None) -> None:
            if new is not None and new["spec"].get("nodeName"):
                wanted.discard(name_of(new))
                if not wanted:
                    done.set()

        informer: Informer = informers.informer(PODS)
        informer.add_handler(on_pod)
        tasks = [asyncio.create_task(part.run()) for part in (informers, recorder)]
        await informer.wait_synced()
        await informers.informer(NODES).wait_synced()
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        tasks.append(asyncio.create_task(scheduler.run()))
        if churn:
            tasks.append(asyncio.create_task(self._churn(self.client)))
        await asyncio.wait_for(done.wait(), WAIT_SECONDS_MAX)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.clear()
        return wall, cpu

    async def _churn(self, client: Client) -> None:
        """Nodes and unschedulable pods that come and go all the time."""
        number = 0
        while True:
            number += 1
            made = node(1_000_000 + number)
            large = pod(f"churn-{number}", {}, cpu="64", priority=10)
            del large["metadata"]["uid"], large["spec"]["priority"]
            await client.create(NODES, made)
            await client.create(PODS, large)
            await asyncio.sleep(CHURN_SECONDS)
            await client.delete(NODES, name_of(made))
            await client.delete(PODS, name_of(large), "default", grace_period_seconds=0)


def plain(count: int, prefix: str = "p", **options: object) -> list[Object]:
    return [unprioritized(pod(f"{prefix}{number}", {}, **options)) for number in range(count)]  # type: ignore[arg-type]


def unprioritized(made: Object) -> Object:
    made["spec"].pop("priority", None)  # admission computes it
    return made


@asynccontextmanager
async def bench_with(nodes: int) -> AsyncIterator[Bench]:
    """A cluster of this many nodes, ready to be measured."""
    from orchestrator.testing import running_cluster

    async with running_cluster(nodes=0, controllers=(), scheduler=False, detect_mutations=False) as cluster:
        bench = Bench(cluster, nodes)
        metadata = {"name": "default", "namespace": "default"}
        await bench.client.create(
            SERVICE_ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
        )

        async def add_node(number: int) -> None:
            made = node(number)
            name = name_of(made)
            await bench.client.create(NODES, made)
            await bench.client.patch(NODES, name, {"spec": {"taints": None}})

        await bench.each(nodes, add_node)
        yield bench


async def measure_size(nodes: int) -> dict[str, float]:
    """All shapes on a cluster of this size."""
    figures: dict[str, float] = {}
    async with bench_with(nodes) as bench:

        async def shape(
            name: str, pods: Sequence[Object], *, before: Sequence[Object] = (), churn: bool = False
        ) -> None:
            wall, cpu = await bench.measure(pods, before=before, churn=churn)
            figures[f"{name}_at_{nodes}_pods_per_s"] = len(pods) / wall
            figures[f"{name}_at_{nodes}_pods_per_cpu_s"] = len(pods) / cpu

        for name, spec in SHAPES.items():
            count = min(POD_COUNT, nodes) if name == "pod_anti_affinity" else POD_COUNT
            await shape(name, [unprioritized(pod(f"p{number}", spec)) for number in range(count)])
        await shape("daemonset", [unprioritized(pod(f"p{n}", daemon(n % nodes))) for n in range(POD_COUNT)])
        await shape("unschedulable", plain(POD_COUNT), before=plain(200, "stuck", cpu="64"))
        gate = {"schedulingGates": [{"name": "example.com/wait"}]}
        gated = [unprioritized(pod(f"gated{number}", gate)) for number in range(POD_COUNT)]
        await shape("gated", plain(POD_COUNT), before=gated)
        await shape("churn", plain(POD_COUNT), churn=True)
        wall, cpu, count = await preemption(bench)
        figures[f"preemption_at_{nodes}_pods_per_s"] = count / wall
        figures[f"preemption_at_{nodes}_pods_per_cpu_s"] = count / cpu
    return figures


async def preemption(bench: Bench) -> tuple[float, float, int]:
    """Every node full of four unimportant pods; each important one evicts three of them."""
    from orchestrator.api.resources import PRIORITY_CLASSES

    kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
    await bench.client.create(PRIORITY_CLASSES, {**kind, "metadata": {"name": "high"}, "value": 10})
    low = []
    for number in range(bench.nodes * 4):
        spec = {"nodeName": f"node-{number % bench.nodes}", "terminationGracePeriodSeconds": 0}
        low.append(unprioritized(pod(f"low{number}", spec, cpu="900m")))
    count = min(2_000, bench.nodes // 2)
    high = [unprioritized(pod(f"high{number}", {"priorityClassName": "high"}, cpu="3")) for number in range(count)]
    wall, cpu = await bench.measure(high, before=low)
    return wall, cpu, count


async def run() -> dict[str, float]:
    """All figures by name."""
    gc.set_threshold(*COLLECTOR_THRESHOLDS)  # as in a process of its own
    figures: dict[str, float] = {"pods_of_each_shape": float(POD_COUNT)}
    for nodes in SIZES:
        figures |= await measure_size(nodes)
    for shape, threshold in THRESHOLDS.items():
        rate = figures.get(f"{shape}_at_5000_pods_per_cpu_s")
        if rate is not None:
            figures[f"{shape}_of_threshold"] = rate / threshold
    return figures
