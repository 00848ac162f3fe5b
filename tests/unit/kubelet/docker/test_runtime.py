"""Events as keys, and the Protocol that the runtime keeps; the rest needs a real Engine."""

from __future__ import annotations

import asyncio

from orchestrator.kubelet.docker.runtime import EVENTS_PENDING_MAX, DockerRuntime, EventQueue
from orchestrator.kubelet.runtime import ContainerRuntime, RuntimeEvent


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
