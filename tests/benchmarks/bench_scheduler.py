"""The scheduler's decisions in memory, by shape of workload.

Counts decisions with the bookkeeping of the cache and without the API, in CPU time, so that other work on the
machine does not matter. `bench_scheduler_perf` measures the same shapes with the API and the binding,
`bench_scheduler_scale` what a decision costs as the cluster grows.
Sizes: ORCHESTRATOR_BENCH_NODES and ORCHESTRATOR_BENCH_PODS (5,000 and 10,000).
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from orchestrator.api.objects import Object
from orchestrator.scheduler.cache import Cache
from orchestrator.scheduler.planner import Placed, Planner
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.profile import default_profile
from tests.benchmarks.scheduler_workloads import SHAPES, daemon, node, pod

NODE_COUNT = int(os.environ.get("ORCHESTRATOR_BENCH_NODES", "5000"))
POD_COUNT = int(os.environ.get("ORCHESTRATOR_BENCH_PODS", "10000"))


def cluster(nodes: int = NODE_COUNT) -> Cache:
    cache = Cache()
    for number in range(nodes):
        cache.set_node(node(number))
    return cache


def place(cache: Cache, planner: Planner, pods: Iterable[Object]) -> tuple[float, int]:
    """CPU seconds for all these pods, and how many found a node."""
    waiting = list(pods)
    gc.collect()
    found = 0
    started = time.process_time()
    for obj in waiting:
        info = PodInfo(obj)
        decision = planner.plan(info)
        if isinstance(decision, Placed):
            cache.assume(info, decision.node)
            found += 1
    return time.process_time() - started, found


def run() -> dict[str, float]:
    """All figures by name."""
    figures: dict[str, float] = {"nodes": float(NODE_COUNT), "pods": float(POD_COUNT)}
    profile = default_profile()

    def measure(name: str, count: int, make: Callable[[int], Object], cache: Cache, *, placed: bool = True) -> None:
        seconds, found = place(cache, Planner(profile, cache), (make(number) for number in range(count)))
        if (found == count) is not placed:
            raise AssertionError(f"{name}: {found} of {count} pods found a node")
        figures[f"{name}_decisions_per_cpu_s"] = count / seconds

    for name, spec in SHAPES.items():
        count = min(POD_COUNT, NODE_COUNT) if name == "pod_anti_affinity" else POD_COUNT
        if name == "pod_affinity":
            count = min(count, NODE_COUNT * 4)  # what one zone holds
        measure(name, count, lambda number, spec=spec: pod(f"p{number}", spec), cluster())  # type: ignore[misc]
    measure("daemonset", POD_COUNT, lambda number: pod(f"p{number}", daemon(number % NODE_COUNT)), cluster())
    measure("unschedulable", POD_COUNT, lambda number: pod(f"p{number}", {}, cpu="64"), cluster(), placed=False)
    # Mixed signatures: twenty kinds of pods by turns.
    measure("mixed", POD_COUNT, lambda number: pod(f"p{number}", {}, cpu=f"{10 + number % 20}m"), cluster())
    figures["basic_without_heap_decisions_per_cpu_s"] = without_heap(profile)
    figures["preemption_decisions_per_cpu_s"] = preemption(profile)
    return figures


def without_heap(profile: Any, count: int = 50) -> float:
    """What the heap saves: the same pods, each by a pass over all nodes."""
    cache = cluster()
    planner = Planner(profile, cache)
    started = time.process_time()
    for number in range(count):
        info = PodInfo(pod(f"p{number}", {}))
        decision = planner._plan_over_all(planner.cycle(info))
        assert isinstance(decision, Placed)
        cache.assume(info, decision.node)
    return count / (time.process_time() - started)


def preemption(profile: Any, count: int = 1_000) -> float:
    """Decisions of important pods on a cluster full of unimportant ones, the first (slow) one included."""
    cache = cluster()
    for number in range(NODE_COUNT * 4):
        low = pod(f"low{number}", {"nodeName": f"node-{number % NODE_COUNT}"}, cpu="900m")
        cache.set_pod(PodInfo(low))
    planner = Planner(profile, cache)
    count = min(count, NODE_COUNT // 2)
    started = time.process_time()
    for number in range(count):
        info = PodInfo(pod(f"high{number}", {}, cpu="3", priority=10))
        decision = planner.plan(info)
        assert not isinstance(decision, Placed)
        assert decision.preemption is not None
        planner.nominations.set(info, decision.preemption.node.name)
    return count / (time.process_time() - started)
