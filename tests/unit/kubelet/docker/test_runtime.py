"""Events as keys, and the Protocol that the runtime keeps; the rest needs a real Engine."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, cast

import pytest

from orchestrator.kubelet.docker.engine import DockerEngine, EngineError
from orchestrator.kubelet.docker.event_queue import EVENTS_PENDING_MAX, EventQueue
from orchestrator.kubelet.docker.runtime import REMOVAL_SECONDS_MAX, DockerRuntime
from orchestrator.kubelet.network.pod_network import PodNetwork
from orchestrator.kubelet.runtime import ContainerRuntime, RuntimeEvent, RuntimeFailure
from orchestrator.testing import ManualClock


def as_protocol(runtime: DockerRuntime) -> ContainerRuntime:
    """Checked by mypy: every method has the shape that the Protocol names."""
    return runtime


async def test_what_waits_twice_is_delivered_once() -> None:
    queue = EventQueue()
    for kind in ("started", "died"):
        queue.put(RuntimeEvent("u1", "c1", kind))
    queue.put(RuntimeEvent("u2", "c2", "started"))
    assert await anext(queue) == RuntimeEvent("u1", "c1", "died")
    assert await anext(queue) == RuntimeEvent("u2", "c2", "started")


async def test_a_gap_swallows_what_waits() -> None:
    queue = EventQueue()
    queue.put(RuntimeEvent("u1", "c1", "started"))
    queue.put(RuntimeEvent("", "", "gap"))
    queue.put(RuntimeEvent("u2", "c2", "started"))
    assert await anext(queue) == RuntimeEvent("", "", "gap")
    queue.put(RuntimeEvent("u3", "c3", "started"))
    assert (await anext(queue)).pod_uid == "u3"


async def test_too_much_becomes_a_gap() -> None:
    queue = EventQueue()
    for number in range(EVENTS_PENDING_MAX + 1):
        queue.put(RuntimeEvent(f"u{number}", "c", "started"))
    assert (await anext(queue)).pod_uid == ""


async def test_a_waiting_reader_is_woken() -> None:
    queue = EventQueue()
    reader = asyncio.ensure_future(anext(queue))
    await asyncio.sleep(0)
    queue.put(RuntimeEvent("u", "c", "started"))
    assert (await asyncio.wait_for(reader, 5)).pod_uid == "u"


class RemovingEngine:
    """Says that each container is being removed already, and never that it is gone."""

    def changes(self, key: str = "") -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def call(self, method: str, path: str, **options: Any) -> Any:
        if method == "DELETE":
            raise EngineError(409, f"removal of container {path} is already in progress")
        await asyncio.Event().wait()


async def test_a_removal_that_does_not_end_is_tried_again_soon() -> None:
    clock = ManualClock()
    engine, network = cast(DockerEngine, RemovingEngine()), cast(PodNetwork, None)
    runtime = DockerRuntime(engine=engine, network=network, cluster_id="c", node_name="node-1", clock=clock)
    removal = asyncio.ensure_future(runtime.remove_container("c1"))
    await clock.run(REMOVAL_SECONDS_MAX - 1)
    assert not removal.done()
    await clock.run(1)
    with pytest.raises(RuntimeFailure, match="c1 is not removed after 10 s"):
        await asyncio.wait_for(removal, 5)
