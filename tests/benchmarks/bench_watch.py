"""Watch fan-out over HTTPS: how many events a second reach 1,000 watchers, how late, and what one costs in memory."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiohttp
import orjson

from tests.benchmarks.processes import Running, orchestrator, rate

WATCHERS = 1000
BURST_EVENTS = 300
PACED_EVENTS = 100
PACED_PER_SECOND = 25
"""Well below what the server can do, so that the lag is that of one event and not of a queue."""
PATH = "/api/v1/namespaces/default/configmaps"


async def run() -> dict[str, float]:
    """Deliveries per second in a burst, and the lag of events that come one by one."""
    results: dict[str, float] = {}
    async with orchestrator("--runtime", "hollow", "--nodes", "0") as running, running.session(16) as session:
        before = running.rss_mib()
        process = await _watchers(running)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            results["kib_per_watcher"] = (running.rss_mib() - before) * 1024 / WATCHERS
            cpu, started = running.cpu_seconds(), time.perf_counter()
            process.stdin.write(b"count %d\n" % BURST_EVENTS)
            await rate(lambda number: _create(session, f"burst-{number}"), count=BURST_EVENTS, concurrency=16)
            outcome = json.loads(await process.stdout.readline())
            elapsed = time.perf_counter() - started
            results["burst_deliveries_per_second"] = outcome["deliveries"] / elapsed
            results["burst_cpu_us_per_delivery"] = (running.cpu_seconds() - cpu) / outcome["deliveries"] * 1e6
            results["burst_lag_p99_ms"] = outcome["lag_p99_ms"]
            process.stdin.write(b"count %d\n" % PACED_EVENTS)
            for number in range(PACED_EVENTS):
                await _create(session, f"paced-{number}")
                await asyncio.sleep(1 / PACED_PER_SECOND)
            outcome = json.loads(await process.stdout.readline())
            results["paced_lag_p50_ms"] = outcome["lag_p50_ms"]
            results["paced_lag_p99_ms"] = outcome["lag_p99_ms"]
        finally:
            process.kill()
            await process.wait()
    return results


async def _watchers(running: Running) -> asyncio.subprocess.Process:
    port = running.url.rpartition(":")[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.watch_clients", port, str(running.data_dir / "pki"),
        f"{PATH}?watch=true&timeoutSeconds=600", str(WATCHERS),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    line = await process.stdout.readline()
    if line.strip() != b"ready":
        raise RuntimeError("the watchers did not start")
    return process


async def _create(session: aiohttp.ClientSession, name: str) -> None:
    body = {"metadata": {"name": name}, "data": {"sent": str(time.monotonic_ns()), "pad": "x" * 500}}
    async with session.post(PATH, data=orjson.dumps(body), headers={"Content-Type": "application/json"}) as response:
        assert response.status == 201, await response.text()
        await response.read()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
