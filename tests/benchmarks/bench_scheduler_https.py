"""Bound pods per second over HTTPS, with the API and the scheduler in one process and clients in another.

A burst of pods is posted over 32 TLS connections to a cluster with 100, 1,000 or 5,000 nodes without kubelets;
measured is from the first POST to the last binding, seen through one watch. To compare with: a real control plane on
a machine of two cores bound 328, 175 and 198 pods per second at these sizes (`CONTROL_PLANE`);
`of_control_plane_at_<nodes>` is the ratio, `cpu_ms_per_pod_at_<nodes>` what one pod cost the orchestrator.
Sizes: ORCHESTRATOR_BENCH_NODES (a list) and ORCHESTRATOR_BENCH_PODS (2,000).
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import orjson

from orchestrator.api.objects import Object, name_of
from tests.benchmarks.processes import orchestrator, rate, wait_for_account
from tests.benchmarks.scheduler_workloads import node, pod

SIZES = tuple(int(part) for part in os.environ.get("ORCHESTRATOR_BENCH_NODES", "100,1000,5000").split(","))
POD_COUNT = int(os.environ.get("ORCHESTRATOR_BENCH_PODS", "2000"))
CONTROL_PLANE = {100: 328, 1_000: 175, 5_000: 198}
WAIT_SECONDS_MAX = 120
JSON = {"Content-Type": "application/json"}
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
PODS = "/api/v1/namespaces/default/pods"


async def send(session: aiohttp.ClientSession, method: str, path: str, body: Any, headers: dict[str, str]) -> None:
    async with session.request(method, path, data=orjson.dumps(body), headers=headers) as response:
        assert response.status in (200, 201), await response.text()


async def add_node(session: aiohttp.ClientSession, made: Object) -> None:
    """A node that is ready for pods: without the taint that admission gives new ones."""
    path = f"/api/v1/nodes/{name_of(made)}"
    await send(session, "POST", "/api/v1/nodes", made, JSON)
    await send(session, "PATCH", path, {"spec": {"taints": None}}, MERGE_PATCH)


async def watch(session: aiohttp.ClientSession) -> float:
    """When the last pod was seen bound."""
    bound: set[str] = set()
    async with session.get(
        f"{PODS}?watch=true", timeout=aiohttp.ClientTimeout(total=None), read_bufsize=2**20
    ) as response:
        async for line in response.content:
            obj = orjson.loads(line)["object"]
            if obj["spec"].get("nodeName"):
                bound.add(name_of(obj))
                if len(bound) == POD_COUNT:
                    break
    return time.perf_counter()


async def measure(nodes: int) -> dict[str, float]:
    with TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        # Nobody looks after these nodes: their life cycle must not either.
        config.write_text("controllers: [serviceaccount]\nnodes: 0\nruntime: hollow\nephemeral: true\n")
        async with orchestrator("--config", str(config)) as running, running.session(33) as session:
            await wait_for_account(session)
            await rate(lambda number: add_node(session, node(number)), count=nodes, concurrency=16)
            pods = [pod(f"p{number}", {}) for number in range(POD_COUNT)]
            for made in pods:
                del made["metadata"]["uid"], made["spec"]["priority"]
            watching = asyncio.create_task(watch(session))
            cpu, started = running.cpu_seconds(), time.perf_counter()
            await rate(lambda number: send(session, "POST", PODS, pods[number], JSON), count=POD_COUNT, concurrency=32)
            seconds = await asyncio.wait_for(watching, WAIT_SECONDS_MAX) - started
            figures = {
                f"bound_pods_per_s_at_{nodes}": POD_COUNT / seconds,
                f"cpu_ms_per_pod_at_{nodes}": (running.cpu_seconds() - cpu) / POD_COUNT * 1000,
            }
    if nodes in CONTROL_PLANE:
        figures[f"of_control_plane_at_{nodes}"] = POD_COUNT / seconds / CONTROL_PLANE[nodes]
    return figures


async def run() -> dict[str, float]:
    """All figures by name."""
    figures: dict[str, float] = {}
    for nodes in SIZES:
        figures |= await measure(nodes)
    return figures
