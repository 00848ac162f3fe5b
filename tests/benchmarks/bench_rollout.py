"""10,000 pods of 100 Deployments on 1,000 hollow nodes: all Ready, then a rolling update of all, then idleness."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import aiohttp
import orjson

from tests.benchmarks.processes import Running, orchestrator, pod, rate

NODES = 1000
DEPLOYMENTS = 100
REPLICAS = 100
SETTLE_SECONDS = 30.0
"""When the last Deployment is complete, the last old pods are still being removed."""
IDLE_SECONDS = 30.0
TIMEOUT_SECONDS = 400.0
PATH = "/apis/apps/v1/namespaces/default/deployments"
JSON_HEADERS = {"Content-Type": "application/json"}
MERGE_HEADERS = {"Content-Type": "application/merge-patch+json"}


async def run() -> dict[str, float]:
    """Seconds, CPU seconds and RSS of each phase, and what the cluster costs when nothing happens."""
    results: dict[str, float] = {}
    async with orchestrator("--runtime", "hollow", "--nodes", str(NODES)) as running, running.session(33) as session:
        results["start_seconds"] = running.start_seconds

        async def create(number: int) -> None:
            body = orjson.dumps(_deployment(f"web-{number}"))
            async with session.post(PATH, data=body, headers=JSON_HEADERS) as response:
                assert response.status == 201, await response.text()

        async def update(number: int) -> None:
            template = {"spec": {"template": {"metadata": {"annotations": {"round": "2"}}}}}
            async with session.patch(
                f"{PATH}/web-{number}", data=orjson.dumps(template), headers=MERGE_HEADERS
            ) as response:
                assert response.status == 200, await response.text()

        await _phase(running, session, "ready", lambda: rate(create, count=DEPLOYMENTS, concurrency=32), results)
        await _phase(running, session, "rolled", lambda: rate(update, count=DEPLOYMENTS, concurrency=32), results)
        await asyncio.sleep(SETTLE_SECONDS)
        before = running.cpu_seconds()
        await asyncio.sleep(IDLE_SECONDS)
        results["idle_cpu_percent_of_a_core"] = (running.cpu_seconds() - before) / IDLE_SECONDS * 100
        results["rss_mib"] = running.rss_mib()
    return results


async def _phase(
    running: Running,
    session: aiohttp.ClientSession,
    name: str,
    begin: Callable[[], Awaitable[object]],
    results: dict[str, float],
) -> None:
    """Begin something and wait until every Deployment says that it is done."""
    cpu, started = running.cpu_seconds(), time.perf_counter()
    done = asyncio.create_task(_all_done(session))
    await begin()
    await asyncio.wait_for(done, TIMEOUT_SECONDS)
    results[f"{name}_seconds"] = time.perf_counter() - started
    results[f"{name}_cpu_seconds"] = running.cpu_seconds() - cpu
    results[f"{name}_rss_mib"] = running.rss_mib()


async def _all_done(session: aiohttp.ClientSession) -> None:
    """Return when the status of every Deployment has caught up with a generation that this phase made."""
    async with session.get(PATH) as response:
        known = {each["metadata"]["name"]: each["metadata"]["generation"] for each in (await response.json())["items"]}
    done: set[str] = set()
    async with session.get(
        f"{PATH}?watch=true", timeout=aiohttp.ClientTimeout(total=None), read_bufsize=2**20
    ) as response:
        async for line in response.content:
            obj = orjson.loads(line)["object"]
            name, status = obj["metadata"]["name"], obj.get("status", {})
            if (
                obj["metadata"]["generation"] > known.get(name, 0)
                and status.get("observedGeneration") == obj["metadata"]["generation"]
                and status.get("updatedReplicas") == status.get("availableReplicas") == REPLICAS
                and status.get("replicas") == REPLICAS
            ):
                done.add(name)
                if len(done) == DEPLOYMENTS:
                    return


def _deployment(name: str) -> dict[str, object]:
    template = pod(name)
    labels = {"app": name}
    spec = template["spec"]
    assert isinstance(spec, dict)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
