"""Real containers that die or are probed: death → restarted beside the Engine's own event, and what a probe costs."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import Any

import aiohttp
import orjson

from tests.benchmarks.processes import Running, orchestrator, wait_for_account

BUSYBOX, WEB = "orchestrator.test/busybox:1", "orchestrator.test/web:1"
DEATHS = 15
"""Each of a pod of its own: only the first restart of a container comes without a back-off."""
PROBED_PODS = 10
PROBE_SECONDS = 15.0
PROBES: dict[str, dict[str, Any]] = {
    "http": {"httpGet": {"port": 8080, "path": "/healthz"}},
    "tcp": {"tcpSocket": {"port": 8080}},
    "exec": {"exec": {"command": ["/bin/true"]}},
}
PODS = "/api/v1/namespaces/default/pods"
ENGINE = "/var/run/docker.sock"


async def run() -> dict[str, float]:
    """Medians in milliseconds from the kill of a container; CPU of our process for each probe, in microseconds."""
    results: dict[str, float] = {}
    async with orchestrator("--runtime", "docker", "--nodes", "1") as running, running.session(60) as session:
        await wait_for_account(session)
        results |= await _deaths(session)
        results |= await _probes(running, session)
    return results


async def _deaths(session: aiohttp.ClientSession) -> dict[str, float]:
    connector = aiohttp.UnixConnector(ENGINE)
    async with aiohttp.ClientSession(base_url="http://docker", connector=connector) as engine:
        told, restarted = [], []
        for number in range(DEATHS):
            event, again = await _death(session, engine, f"dies-{number}")
            told.append(event)
            restarted.append(again)
    return {
        "death_to_engine_event_ms_median": statistics.median(told) * 1000,
        "death_to_restarted_ms_median": statistics.median(restarted) * 1000,
    }


async def _death(session: aiohttp.ClientSession, engine: aiohttp.ClientSession, name: str) -> tuple[float, float]:
    """Seconds from the kill until the Engine tells of it, and until the API shows the next container running."""
    endless = aiohttp.ClientTimeout(total=None)
    container = {"name": "app", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sleep", "1000"]}
    async with session.get(f"{PODS}?watch=true&fieldSelector=metadata.name%3D{name}", timeout=endless) as events:
        await _create(session, name, container)
        pod = await _until(events, lambda pod: _is_running(pod, restarts=0))
        container_id = pod["status"]["containerStatuses"][0]["containerID"].partition("://")[2]
        filters = json.dumps({"container": [container_id], "event": ["die"]})
        async with engine.get("/events", params={"filters": filters}, timeout=endless) as deaths:
            started = time.perf_counter()
            dying = asyncio.create_task(deaths.content.readline())
            again = asyncio.create_task(_until(events, lambda pod: _is_running(pod, restarts=1)))
            async with engine.post(f"/containers/{container_id}/kill") as response:
                assert response.status == 204, await response.text()
            await dying
            told = time.perf_counter() - started
            await again
            restarted = time.perf_counter() - started
        await _delete(session, events, name)
    return told, restarted


async def _probes(running: Running, session: aiohttp.ClientSession) -> dict[str, float]:
    results = {}
    plain = await _cpu_with_pods(running, session, "plain", {})
    for kind, action in PROBES.items():
        probe = {"readinessProbe": {**action, "periodSeconds": 1}}
        more = await _cpu_with_pods(running, session, kind, probe) - plain
        results[f"probe_{kind}_cpu_us"] = max(0.0, more) / (PROBED_PODS * PROBE_SECONDS) * 1e6
    return results


async def _cpu_with_pods(
    running: Running, session: aiohttp.ClientSession, name: str, probe: dict[str, Any]
) -> float:  # fmt: skip
    """CPU seconds of our process in a quiet time with pods that are probed once a second."""
    container = {"name": "app", "image": WEB, "imagePullPolicy": "Never", **probe}
    endless = aiohttp.ClientTimeout(total=None)
    async with session.get(f"{PODS}?watch=true", timeout=endless, read_bufsize=2**20) as events:
        names = [f"{name}-{number}" for number in range(PROBED_PODS)]
        await asyncio.gather(*(_create(session, each, container) for each in names))
        waiting = set(names)

        def all_ready(pod: dict[str, Any]) -> bool:
            statuses = pod.get("status", {}).get("containerStatuses", ())
            if any(status["ready"] for status in statuses):
                waiting.discard(pod["metadata"]["name"])
            return not waiting

        await _until(events, all_ready)
        before = running.cpu_seconds()
        await asyncio.sleep(PROBE_SECONDS)
        used = running.cpu_seconds() - before
        for each in names:
            await _delete(session, events, each)
    return used


async def _create(session: aiohttp.ClientSession, name: str, container: dict[str, Any]) -> None:
    spec = {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False, "containers": [container]}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    async with session.post(PODS, json=manifest) as response:
        assert response.status == 201, await response.text()


async def _delete(session: aiohttp.ClientSession, events: aiohttp.ClientResponse, name: str) -> None:
    async with session.delete(f"{PODS}/{name}", json={"gracePeriodSeconds": 0}) as response:
        await response.read()
    async for line in events.content:
        event = orjson.loads(line)
        if event["type"] == "DELETED" and event["object"]["metadata"]["name"] == name:
            return


async def _until(events: aiohttp.ClientResponse, reached: Any) -> dict[str, Any]:
    async for line in events.content:
        pod: dict[str, Any] = orjson.loads(line)["object"]
        if reached(pod):
            return pod
    raise AssertionError("the watch ended too soon")


def _is_running(pod: dict[str, Any], *, restarts: int) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses", ())
    return any(status["restartCount"] == restarts and "running" in status["state"] for status in statuses)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
