"""create → Running over HTTPS on hollow nodes: a burst of pods, seen through one watch."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp
import orjson

from tests.benchmarks.processes import orchestrator, pod, rate, wait_for_account

PODS = 2000
MORE_PODS = 6000
"""Over which the memory of one more is measured: caches and history are full by then."""
NODES = 100


async def run() -> dict[str, float]:
    """Pods per second from the first POST to the last Running, each pod's own latency, the memory of one more."""
    async with orchestrator("--runtime", "hollow", "--nodes", str(NODES)) as running, running.session(33) as session:
        created: dict[str, float] = {}
        seen: dict[str, float] = {}
        watching = asyncio.create_task(_watch(session, seen, PODS))
        cpu_before = running.cpu_seconds()

        async def post(number: int) -> None:
            name = f"p{number}"
            created[name] = time.perf_counter()
            async with session.post(
                "/api/v1/namespaces/default/pods",
                data=orjson.dumps(pod(name)),
                headers={"Content-Type": "application/json"},
            ) as response:
                assert response.status == 201, await response.text()

        await wait_for_account(session)
        started = time.perf_counter()
        await rate(post, count=PODS, concurrency=32)
        posted = time.perf_counter()
        await asyncio.wait_for(watching, 120)
        elapsed = max(seen.values()) - started
        latencies = sorted(seen[name] - created[name] for name in created)
        results = {
            "pods_running_per_second": PODS / elapsed,
            "posted_per_second": PODS / (posted - started),
            "latency_p50_ms": latencies[PODS // 2] * 1000,
            "latency_p99_ms": latencies[int(PODS * 0.99)] * 1000,
            "cpu_seconds_per_1000_pods": (running.cpu_seconds() - cpu_before) / PODS * 1000,
            "rss_mib": running.rss_mib(),
        }
        before = running.rss_mib()
        watching = asyncio.create_task(_watch(session, seen, PODS + MORE_PODS))
        await rate(lambda number: post(PODS + number), count=MORE_PODS, concurrency=32)
        await asyncio.wait_for(watching, 120)
        return results | {"kib_per_running_pod": (running.rss_mib() - before) * 1024 / MORE_PODS}


async def _watch(session: aiohttp.ClientSession, seen: dict[str, float], count: int) -> None:
    """Note when pods run until so many do."""
    async with session.get(
        "/api/v1/namespaces/default/pods?watch=true", timeout=aiohttp.ClientTimeout(total=None), read_bufsize=2**20
    ) as response:
        async for line in response.content:
            obj = orjson.loads(line)["object"]
            if obj.get("status", {}).get("phase") == "Running":
                seen.setdefault(obj["metadata"]["name"], time.perf_counter())
                if len(seen) == count:
                    return


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
