"""The scheduler's speed: decisions in memory by shape of workload, and bound pods through the API in process.

Shapes are those of Kubernetes' scheduler_perf. `*_pods_per_s` counts decisions with the bookkeeping of the
cache, without the API; `bound_*` is everything: informer, queue, decision, binding, store, watch.
Sizes: ORCHESTRATOR_BENCH_NODES and ORCHESTRATOR_BENCH_PODS (5,000 and 10,000).
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from orchestrator.aiokit.clock import SystemClock
from orchestrator.api.objects import Object
from orchestrator.api.resources import NODES, PODS, SERVICE_ACCOUNTS
from orchestrator.client.client import Client
from orchestrator.client.informer import Informers
from orchestrator.component.events import EventRecorder
from orchestrator.scheduler.cache import Cache
from orchestrator.scheduler.planner import Placed, Planner
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.profile import default_profile
from orchestrator.scheduler.scheduler import Scheduler

NODE_COUNT = int(os.environ.get("ORCHESTRATOR_BENCH_NODES", "5000"))
POD_COUNT = int(os.environ.get("ORCHESTRATOR_BENCH_PODS", "10000"))
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
SELECTOR = {"matchLabels": {"app": "bench"}}

Spec = dict[str, Any]


def node(number: int) -> Object:
    labels = {HOST: f"node-{number}", ZONE: f"zone-{number % 10}"}
    room = {"cpu": "4", "memory": "32Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{number}", "labels": labels},
        "spec": {},
        "status": {"allocatable": room, "capacity": room},
    }


def pod(number: int, spec: Spec, *, cpu: str = "100m", priority: int = 0) -> Object:
    container = {
        "name": "c",
        "image": "registry.k8s.io/pause:3.10",
        "resources": {"requests": {"cpu": cpu, "memory": "500Mi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"pod-{number}",
            "namespace": "default",
            "uid": f"uid-{number}",
            "labels": {"app": "bench"},
        },
        "spec": {"containers": [container], "priority": priority, **spec},
    }


def required(side: str, key: str) -> Spec:
    terms = [{"topologyKey": key, "labelSelector": SELECTOR}]
    return {"affinity": {side: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


def preferred(side: str, key: str) -> Spec:
    terms = [{"weight": 1, "podAffinityTerm": {"topologyKey": key, "labelSelector": SELECTOR}}]
    return {"affinity": {side: {"preferredDuringSchedulingIgnoredDuringExecution": terms}}}


def spread(when: str) -> Spec:
    constraint = {"maxSkew": 5, "topologyKey": ZONE, "whenUnsatisfiable": when, "labelSelector": SELECTOR}
    return {"topologySpreadConstraints": [constraint]}


def node_affinity() -> Spec:
    terms = [{"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["zone-1", "zone-2", "zone-3"]}]}]
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    }


def daemon(number: int) -> Spec:
    fields = [{"key": "metadata.name", "operator": "In", "values": [f"node-{number % NODE_COUNT}"]}]
    terms = [{"matchFields": fields}]
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    }


SHAPES: dict[str, Spec] = {
    "basic": {},
    "node_affinity": node_affinity(),
    "topology_spread": spread("DoNotSchedule"),
    "preferred_topology_spread": spread("ScheduleAnyway"),
    "pod_affinity": required("podAffinity", ZONE),
    "pod_anti_affinity": required("podAntiAffinity", HOST),
    "preferred_pod_affinity": preferred("podAffinity", HOST),
    "preferred_pod_anti_affinity": preferred("podAntiAffinity", HOST),
}


def cluster() -> Cache:
    cache = Cache()
    for number in range(NODE_COUNT):
        cache.set_node(node(number))
    return cache


def place(cache: Cache, planner: Planner, pods: Iterable[Object]) -> tuple[float, int]:
    """Seconds for all these pods, and how many found a node."""
    waiting = list(pods)
    gc.collect()
    found = 0
    started = time.perf_counter()
    for obj in waiting:
        info = PodInfo(obj)
        decision = planner.plan(info)
        if isinstance(decision, Placed):
            cache.assume(info, decision.node)
            found += 1
    return time.perf_counter() - started, found


def in_memory() -> dict[str, float]:
    figures: dict[str, float] = {}
    profile = default_profile()

    def measure(name: str, count: int, make: Callable[[int], Object], cache: Cache, *, placed: bool = True) -> None:
        seconds, found = place(cache, Planner(profile, cache), (make(number) for number in range(count)))
        if (found == count) is not placed:
            raise AssertionError(f"{name}: {found} of {count} pods found a node")
        figures[f"{name}_pods_per_s"] = count / seconds

    for name, spec in SHAPES.items():
        count = min(POD_COUNT, NODE_COUNT) if name == "pod_anti_affinity" else POD_COUNT
        if name == "pod_affinity":
            count = min(count, NODE_COUNT * 4)  # what one zone holds
        measure(name, count, lambda number, spec=spec: pod(number, spec), cluster())  # type: ignore[misc]
    measure("daemonset", POD_COUNT, lambda number: pod(number, daemon(number)), cluster())
    measure("unschedulable", POD_COUNT, lambda number: pod(number, {}, cpu="64"), cluster(), placed=False)
    # Mixed signatures: twenty kinds of pods by turns.
    measure("mixed", POD_COUNT, lambda number: pod(number, {}, cpu=f"{10 + number % 20}m"), cluster())
    # What the heap saves: the same pods, each by a pass over all nodes.
    cache = cluster()
    planner = Planner(profile, cache)
    count = 50
    started = time.perf_counter()
    for number in range(count):
        info = PodInfo(pod(number, {}))
        decision = planner._plan_over_all(planner.cycle(info))
        assert isinstance(decision, Placed)
        cache.assume(info, decision.node)
    figures["basic_without_heap_pods_per_s"] = count / (time.perf_counter() - started)
    figures["preemption_decisions_per_s"] = preemption(profile)
    return figures


def preemption(profile: Any) -> float:
    """Decisions of important pods on a cluster full of unimportant ones."""
    cache = cluster()
    for number in range(NODE_COUNT * 4):
        low = pod(number, {"nodeName": f"node-{number % NODE_COUNT}"}, cpu="900m")
        cache.set_pod(PodInfo(low))
    planner = Planner(profile, cache)
    count = 100
    started = time.perf_counter()
    for number in range(count):
        info = PodInfo(pod(10**6 + number, {}, cpu="3", priority=10))
        decision = planner.plan(info)
        assert not isinstance(decision, Placed)
        assert decision.preemption is not None
        planner.nominations.set(info, decision.preemption.node.name)
    return count / (time.perf_counter() - started)


async def bound() -> dict[str, float]:
    """Bound pods per second through the API in process, memory store."""
    from orchestrator.testing import running_cluster

    async with running_cluster(nodes=0, controllers=(), scheduler=False, detect_mutations=False) as running:
        client = running.client()
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": "default"},
        }
        await client.create(SERVICE_ACCOUNTS, account)
        for number in range(NODE_COUNT):
            made = node(number)
            await client.create(NODES, made)
            await client.patch(NODES, made["metadata"]["name"], {"status": made["status"]}, subresource="status")
            await client.patch(NODES, made["metadata"]["name"], {"spec": {"taints": None}})
        for number in range(POD_COUNT):
            made = pod(number, {})
            del made["metadata"]["uid"]
            await client.create(PODS, made)
        clock = SystemClock()
        own: Client = running.client("system:kube-scheduler", ())
        informers = Informers(own, clock=clock)
        recorder = EventRecorder(own, component="default-scheduler", clock=clock)
        scheduler = Scheduler(client=own, informers=informers, recorder=recorder, clock=clock)
        pods = informers.informer(PODS)
        done = asyncio.Event()
        count = 0
        began = 0.0

        def on_pod(old: Object | None, new: Object | None) -> None:
            nonlocal count, began
            if new is not None and old is not None and new["spec"].get("nodeName") and not old["spec"].get("nodeName"):
                count += 1
                began = began or time.perf_counter()
                if count == POD_COUNT:
                    done.set()

        pods.add_handler(on_pod)
        tasks = [asyncio.create_task(part.run()) for part in (informers, recorder)]
        await pods.wait_synced()
        await informers.informer(NODES).wait_synced()
        gc.collect()
        started = time.perf_counter()
        tasks.append(asyncio.create_task(scheduler.run()))
        await done.wait()
        seconds = time.perf_counter() - started
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {"bound_pods_per_s": POD_COUNT / seconds, "bound_first_pod_after_s": began - started}


async def run() -> dict[str, float]:
    """All figures by name."""
    figures = {"nodes": float(NODE_COUNT), "pods": float(POD_COUNT)}
    figures.update(in_memory())
    figures.update(await bound())
    return figures
