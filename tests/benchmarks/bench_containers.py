"""Real containers: pod create → Running, against the bare Engine's create + start of the same two containers.

The floor is measured in the same run: a pause container on the default bridge network, and an
application container that joins it, both with the seccomp profile that the pod's containers have.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
import uuid
from typing import Any

import aiohttp
import orjson

from orchestrator.kubelet.docker.pause import PAUSE_IMAGE
from tests.benchmarks.processes import orchestrator, wait_for_account

IMAGE = "orchestrator.test/busybox:1"
ONE_BY_ONE = 15
AT_ONCE = 50
SLEEP = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"]


async def run() -> dict[str, float]:
    """Medians one by one, and the whole time for 50 at once, ours and the bare Engine's."""
    results: dict[str, float] = {}
    async with orchestrator("--runtime", "docker", "--nodes", "1") as running, running.session(60) as session:
        await wait_for_account(session)
        await _pod_seconds(session, "warm-up")  # loads the pause image and opens connections
        ours, bare = [], []
        for number in range(ONE_BY_ONE):  # in turn, so that both see the same machine
            bare.append(await _bare_seconds())
            ours.append(await _pod_seconds(session, f"one-{number}"))
        results["pod_start_ms_median"] = statistics.median(ours) * 1000
        results["bare_start_ms_median"] = statistics.median(bare) * 1000
        results["one_by_one_ratio"] = statistics.median(ours) / statistics.median(bare)
        started = time.perf_counter()
        await asyncio.gather(*(_bare_seconds() for _ in range(AT_ONCE)))
        results["bare_50_seconds"] = time.perf_counter() - started
        started = time.perf_counter()
        await asyncio.gather(*(_pod_seconds(session, f"many-{number}", delete=False) for number in range(AT_ONCE)))
        results["pods_50_seconds"] = time.perf_counter() - started
        results["at_once_ratio"] = results["pods_50_seconds"] / results["bare_50_seconds"]
        before = running.cpu_seconds()
        await asyncio.sleep(20)
        results["idle_with_50_pods_cpu_percent"] = (running.cpu_seconds() - before) / 20 * 100
        results["rss_mib_with_50_pods"] = running.rss_mib()
    return results


async def _pod_seconds(session: aiohttp.ClientSession, name: str, *, delete: bool = True) -> float:
    """From the POST of a pod until a watch shows it Running."""
    pods = "/api/v1/namespaces/default/pods"
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "containers": [{"name": "app", "image": IMAGE, "command": SLEEP, "imagePullPolicy": "Never"}],
        },
    }
    watch = f"{pods}?watch=true&fieldSelector=metadata.name%3D{name}&timeoutSeconds=300"
    async with session.get(watch, timeout=aiohttp.ClientTimeout(total=None)) as events:
        started = time.perf_counter()
        async with session.post(
            pods, data=orjson.dumps(manifest), headers={"Content-Type": "application/json"}
        ) as response:
            assert response.status == 201, await response.text()
        async for line in events.content:
            if orjson.loads(line)["object"].get("status", {}).get("phase") == "Running":
                elapsed = time.perf_counter() - started
                break
        if delete:
            async with session.delete(f"{pods}/{name}", json={"gracePeriodSeconds": 1}) as response:
                await response.read()
            async for line in events.content:
                if orjson.loads(line)["type"] == "DELETED":
                    break
    return elapsed


async def _bare_seconds() -> float:
    """Create and start the same two containers on the bridge network through the Engine's API alone."""
    connector = aiohttp.UnixConnector("/var/run/docker.sock")
    async with aiohttp.ClientSession(base_url="http://docker", connector=connector) as engine:
        started = time.perf_counter()
        host: dict[str, Any] = {"NetworkMode": "bridge", "IpcMode": "shareable", "SecurityOpt": ["seccomp=unconfined"]}
        pause = await _create(
            engine, {"Image": PAUSE_IMAGE, "HostConfig": host, "Labels": {"orchestrator.bench": "bare"}}
        )
        joined = {
            "NetworkMode": f"container:{pause}",
            "IpcMode": f"container:{pause}",
            "SecurityOpt": ["seccomp=unconfined"],
        }
        app = await _create(
            engine, {"Image": IMAGE, "Cmd": SLEEP, "HostConfig": joined, "Labels": {"orchestrator.bench": "bare"}}
        )
        elapsed = time.perf_counter() - started
        for container in (app, pause):
            async with engine.delete(f"/containers/{container}?force=true") as response:
                await response.read()
    return elapsed


async def _create(engine: aiohttp.ClientSession, spec: dict[str, Any]) -> str:
    async with engine.post(f"/containers/create?name=bench-{uuid.uuid4().hex[:12]}", json=spec) as response:
        assert response.status == 201, await response.text()
        container: str = (await response.json())["Id"]
    async with engine.post(f"/containers/{container}/start") as response:
        assert response.status == 204, await response.text()
    return container


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
