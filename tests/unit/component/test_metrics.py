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
    del other, queue
    gc.collect()
    assert value("workqueue_depth", "cronjob") is None
