"""Benchmarks of the store: durable and memory writes per second, replay, watch fan-out.

`run()` returns figures by name; as a program it prints them as JSON. Measures, asserts nothing about time.
Disk figures come from the file system of the temporary directory (TMPDIR).
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestrator.aiokit.clock import SystemClock
from orchestrator.store import Key, MvccStore, open_store

FANOUT_WATCHERS = 1000


def pod(name: str) -> dict[str, Any]:
    """An object of about the size of a small pod: 1 KB of JSON."""
    container = {
        "name": "main",
        "image": "registry.example/web:1.2.3",
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "env": [{"name": f"VARIABLE_{number}", "value": "x" * 20} for number in range(8)],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}, "uid": name},
        "spec": {"containers": [container], "nodeName": "node-1", "restartPolicy": "Always"},
        "status": {"phase": "Pending"},
    }


async def create_many(store: MvccStore, *, prefix: str, count: int, writers: int) -> float:
    """Creates per second with this many writers at a time, each waiting for its own acknowledgement."""

    async def write(writer: int) -> None:
        for number in range(writer, count, writers):
            name = f"{prefix}-{number}"
            await store.create(Key("pods", "default", name), pod(name))

    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for writer in range(writers):
            group.create_task(write(writer))
    return count / (time.perf_counter() - start)


async def fan_out(watchers: int, events: int) -> float:
    """Deliveries per second to readers that all watch the same resource."""
    store = MvccStore(clock=SystemClock())

    async def read() -> None:
        watch = store.watch("pods", since=since)
        seen = 0
        while seen < events:
            seen += len(await watch.next_batch())
        watch.close()

    since = store.revision
    async with asyncio.TaskGroup() as group:
        for _ in range(watchers):
            group.create_task(read())
        await asyncio.sleep(0)  # every reader waits
        start = time.perf_counter()
        for number in range(events):
            await store.create(Key("pods", "default", f"p{number}"), pod(f"p{number}"))
            if number % 10 == 9:
                await asyncio.sleep(0)  # as between requests
    elapsed = time.perf_counter() - start
    await store.close()
    return watchers * events / elapsed


async def run() -> dict[str, float]:
    """All figures of the store, by name."""
    figures: dict[str, float] = {}
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "state" / "store.db"
        store = await open_store(path, clock=clock, history_limit=200_000)
        for writers, count in ((1, 1000), (32, 10_000), (256, 20_000)):
            figures[f"store_durable_writes_per_second_{writers}"] = await create_many(
                store, prefix=f"w{writers}", count=count, writers=writers
            )
        missing = 100_000 - (store.revision - 1)
        await create_many(store, prefix="fill", count=missing, writers=256)
        await store.close()
        start = time.perf_counter()
        store = await open_store(path, clock=clock)
        figures["store_replay_100000_rows_seconds"] = time.perf_counter() - start
        start = time.perf_counter()
        page = await store.list("pods")
        figures["store_list_100000_seconds"] = time.perf_counter() - start
        assert len(page.records) == 100_000
        await store.close()
    memory = MvccStore(clock=clock)
    figures["store_memory_writes_per_second"] = await create_many(memory, prefix="m", count=20_000, writers=1)
    await memory.close()
    figures[f"store_watch_deliveries_per_second_{FANOUT_WATCHERS}"] = await fan_out(FANOUT_WATCHERS, 500)
    return {name: round(value, 4) for name, value in figures.items()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run()), indent=2))
