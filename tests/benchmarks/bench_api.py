"""The API over HTTPS with 32 clients, each figure beside that of a bare aiohttp.web with TLS in the same run."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys

import aiohttp
import orjson

from tests.benchmarks.processes import Running, orchestrator, pod, rate, wait_for_account

CLIENTS = 32
STORED_PODS = 10_000
"""Over which the memory of one is measured."""
PODS = "/api/v1/namespaces/default/pods"
JSON_HEADERS = {"Content-Type": "application/json"}
MERGE_HEADERS = {"Content-Type": "application/merge-patch+json"}


async def run() -> dict[str, float]:
    """POST, GET, LIST of 300 pods and PATCH: rates, latencies, ratios to the bare server; memory of a stored pod."""
    results: dict[str, float] = {}
    async with orchestrator("--runtime", "hollow", "--nodes", "0") as running, running.session(CLIENTS) as session:
        floor = await bare_rates(running)
        results.update({f"bare_{name}_per_second": value for name, value in floor.items()})
        ours = await api_rates(session, results)
        for name, value in ours.items():
            results[f"{name}_per_second"] = value
        for name in ("post", "get", "list"):
            results[f"{name}_ratio_to_bare"] = ours[name] / floor[name]
        results["rss_mib_after"] = running.rss_mib()
        results["kib_per_stored_pod"] = await kib_per_stored_pod(running, session)
    return results


async def api_rates(session: aiohttp.ClientSession, results: dict[str, float]) -> dict[str, float]:
    """The rates of our API; latencies go into `results`."""

    await wait_for_account(session)
    rates: dict[str, float] = {}

    async def post(number: int) -> None:
        await post_pod(session, f"p{number}")

    rates["post"], latency = await rate(post, count=3000, concurrency=CLIENTS)
    results.update({f"post_{key}": value for key, value in latency.items()})

    async def get(number: int) -> None:
        async with session.get(f"{PODS}/p{number % 3000}") as response:
            assert response.status == 200
            await response.read()

    rates["get"], latency = await rate(get, count=10_000, concurrency=CLIENTS)
    results.update({f"get_{key}": value for key, value in latency.items()})

    async def list_page(_: int) -> None:
        async with session.get(f"{PODS}?limit=300") as response:
            assert response.status == 200
            await response.read()

    rates["list"], latency = await rate(list_page, count=1500, concurrency=CLIENTS)
    results.update({f"list_{key}": value for key, value in latency.items()})

    async def patch(number: int) -> None:
        body = orjson.dumps({"metadata": {"labels": {"round": str(number)}}})
        async with session.patch(f"{PODS}/p0", data=body, headers=MERGE_HEADERS) as response:
            assert response.status == 200, await response.text()
            await response.read()

    rates["serial_patch"], latency = await rate(patch, count=500, concurrency=1)
    results.update({f"serial_patch_{key}": value for key, value in latency.items()})
    return rates


async def post_pod(session: aiohttp.ClientSession, name: str) -> None:
    """Store a pod that nobody schedules."""
    body = orjson.dumps(pod(name, scheduler="nobody"))
    async with session.post(PODS, data=body, headers=JSON_HEADERS) as response:
        assert response.status == 201, await response.text()
        await response.read()


async def kib_per_stored_pod(running: Running, session: aiohttp.ClientSession) -> float:
    """The growth of resident memory for each of many pods: the stored bytes, history, and every component's caches."""

    async def post(number: int) -> None:
        await post_pod(session, f"stored-{number}")

    before = running.rss_mib()
    await rate(post, count=STORED_PODS, concurrency=CLIENTS)
    return (running.rss_mib() - before) * 1024 / STORED_PODS


async def bare_rates(running: Running) -> dict[str, float]:
    """The same requests against aiohttp.web with nothing behind it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.bare_server", str(running.data_dir / "pki"),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    context = ssl.create_default_context(cafile=str(running.data_dir / "pki" / "ca.crt"))
    connector = aiohttp.TCPConnector(ssl=context, limit=CLIENTS)
    rates: dict[str, float] = {}
    body = orjson.dumps(pod("p"))
    try:
        async with aiohttp.ClientSession(base_url=f"https://127.0.0.1:{port}", connector=connector) as session:

            async def post(_: int) -> None:
                async with session.post("/one", data=body, headers=JSON_HEADERS) as response:
                    await response.read()

            async def get(_: int) -> None:
                async with session.get("/one") as response:
                    await response.read()

            async def list_page(_: int) -> None:
                async with session.get("/list") as response:
                    await response.read()

            rates["post"], _latency = await rate(post, count=5000, concurrency=CLIENTS)
            rates["get"], _latency = await rate(get, count=10_000, concurrency=CLIENTS)
            rates["list"], _latency = await rate(list_page, count=1500, concurrency=CLIENTS)
    finally:
        process.terminate()
        await process.wait()
    return rates


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
