"""What one pod costs the scheduler as the cluster grows: pods of the shape `basic`, 100 to 5,000 nodes.

`bound_us_at_<nodes>_nodes` is the CPU time of a bound pod with everything included (informers, queue, decision,
binding, store, watch), `decision_us_at_...` that of the decision alone, for one more pod of a kind that is known.
Both are also drawn over the logarithm of the nodes, beside a line that grows with it, to build/bench/scheduler.svg.
Sizes: ORCHESTRATOR_BENCH_NODES (a list) and ORCHESTRATOR_BENCH_PODS (2,000).
"""

from __future__ import annotations

import gc
import math
import os
from pathlib import Path

from orchestrator.cli.up import COLLECTOR_THRESHOLDS
from orchestrator.scheduler.planner import Planner
from orchestrator.scheduler.profile import default_profile
from tests.benchmarks.bench_scheduler import cluster, place
from tests.benchmarks.bench_scheduler_perf import Bench, bench_with, plain
from tests.benchmarks.scheduler_workloads import pod
from tests.benchmarks.svg_plot import Panel, svg

SIZES = tuple(int(part) for part in os.environ.get("ORCHESTRATOR_BENCH_NODES", "100,300,1000,3000,5000").split(","))
POD_COUNT = int(os.environ.get("ORCHESTRATOR_BENCH_PODS", "2000"))
PLOT = Path(__file__).parents[2] / "build" / "bench" / "scheduler.svg"
DECISION_REPEATS, BOUND_REPEATS = 5, 3
"""The least of so many counts: other work on the machine only ever adds."""


def decision_us(nodes: int) -> float:
    """CPU microseconds of one more decision for a kind of pod that is known."""
    profile = default_profile()
    least = math.inf
    for _ in range(DECISION_REPEATS):
        cache = cluster(nodes)
        planner = Planner(profile, cache)
        place(cache, planner, (pod(f"first{number}", {}, cpu="1m") for number in range(2)))
        count = min(POD_COUNT, nodes * 50)
        seconds, found = place(cache, planner, (pod(f"p{number}", {}, cpu="1m") for number in range(count)))
        if found != count:
            raise AssertionError(f"{found} of {count} pods found a node")
        least = min(least, seconds / count * 1e6)
    return least


async def bound_us(bench: Bench) -> float:
    """CPU microseconds of one bound pod, everything included."""
    count = min(POD_COUNT, bench.nodes * 35)  # what the nodes hold
    return min([(await bench.measure(plain(count)))[1] / count * 1e6 for _ in range(BOUND_REPEATS)])


async def run() -> dict[str, float]:
    """All figures by name."""
    gc.set_threshold(*COLLECTOR_THRESHOLDS)  # as in a process of its own
    bound: dict[int, float] = {}
    decision: dict[int, float] = {}
    for nodes in SIZES:
        async with bench_with(nodes) as bench:
            bound[nodes] = await bound_us(bench)
        decision[nodes] = decision_us(nodes)
    panels = [
        Panel("CPU time of a bound pod, API server included", "µs", bound),
        Panel("CPU time of the decision alone", "µs", decision),
    ]
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    PLOT.write_text(svg(panels, "nodes"))
    figures = {f"bound_us_at_{nodes}_nodes": cost for nodes, cost in bound.items()}
    return figures | {f"decision_us_at_{nodes}_nodes": cost for nodes, cost in decision.items()}
