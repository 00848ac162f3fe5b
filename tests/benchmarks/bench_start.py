"""Start-up to the ready line, and what an idle cluster costs."""

from __future__ import annotations

import asyncio
import json
import statistics

from tests.benchmarks.processes import orchestrator

STARTS = 7
IDLE_SECONDS = 20.0


async def run() -> dict[str, float]:
    """Median start with an empty data dir and again on the same one; RSS and CPU while idle."""
    results: dict[str, float] = {}
    for runtime in ("hollow", "docker"):
        starts = []
        for _ in range(STARTS):
            async with orchestrator("--runtime", runtime, "--nodes", "1") as running:
                starts.append(running.start_seconds)
        results[f"start_{runtime}_seconds_median"] = statistics.median(starts)
        results[f"start_{runtime}_seconds_max"] = max(starts)
    async with orchestrator("--runtime", "docker", "--nodes", "1") as running:
        await asyncio.sleep(5)  # what a start leaves to do afterwards is not idleness
        before = running.cpu_seconds()
        await asyncio.sleep(IDLE_SECONDS)
        results["idle_cpu_percent_of_a_core"] = (running.cpu_seconds() - before) / IDLE_SECONDS * 100
        results["idle_rss_mib"] = running.rss_mib()
    return results


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
