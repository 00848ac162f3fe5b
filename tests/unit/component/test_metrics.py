"""What the metrics page says about work queues."""

from __future__ import annotations

import gc

from prometheus_client import CollectorRegistry

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.workqueue import WorkQueue
from orchestrator.component.metrics import WorkQueues
from orchestrator.testing import ManualClock


def test_queues_of_one_name_are_summed_and_vanish_with_their_owner() -> None:
    registry, shown = CollectorRegistry(), WorkQueues()
    registry.register(shown)

    def value(name: str, queue: str) -> float | None:
        return registry.get_sample_value(name, {"name": queue})

    clock = ManualClock()
    first, second, other = (WorkQueue[str](clock=clock, backoff=ItemBackoff(base_seconds=1.0)) for _ in range(3))
    for name, queue in (("job", first), ("job", second), ("cronjob", other)):
        shown.show(name, queue)
    first.add("a")
    first.add("a")
    second.add("b")
    second.add_rate_limited("c")
    assert value("workqueue_depth", "job") == 2
    assert value("workqueue_adds_total", "job") == 2
    assert value("workqueue_retries_total", "job") == 1
    assert value("workqueue_depth", "cronjob") == 0
    clock.advance(1.5)
    assert value("workqueue_depth", "job") == 3
    assert value("workqueue_unfinished_work_seconds", "job") == 0
    del other, queue
    gc.collect()
    assert value("workqueue_depth", "cronjob") is None


async def test_queues_know_how_long_keys_wait_and_are_worked_on() -> None:
    registry, shown = CollectorRegistry(), WorkQueues()
    registry.register(shown)
    clock = ManualClock()
    queue = WorkQueue[str](clock=clock)
    shown.show("job", queue)
    queue.add("a")
    clock.advance(2)
    queue.add("a")
    queue.add("b")
    assert await queue.get() == "a"
    assert queue.waited_seconds("a") == 2
    clock.advance(3)
    assert await queue.get() == "b"
    assert queue.waited_seconds("b") == 3
    clock.advance(1)
    assert registry.get_sample_value("workqueue_unfinished_work_seconds", {"name": "job"}) == 5
    assert registry.get_sample_value("workqueue_longest_running_processor_seconds", {"name": "job"}) == 4
    queue.add("a")  # while it is processed
    queue.done("a")
    queue.done("b")
    assert registry.get_sample_value("workqueue_unfinished_work_seconds", {"name": "job"}) == 0
    clock.advance(1)
    assert await queue.get() == "a"
    assert queue.waited_seconds("a") == 1
