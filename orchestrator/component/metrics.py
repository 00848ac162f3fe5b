"""Metrics of the components, in Prometheus' terms; the API server serves them under /metrics."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator.aiokit.workqueue import WorkQueue

disable_created_metrics()  # type: ignore[no-untyped-call]  # client_golang shows none
REGISTRY = CollectorRegistry()
"""The process's own registry; prometheus-client's global one would start collectors that nobody asked for."""
_QUEUE_BUCKETS = tuple(10.0**power for power in range(-8, 2))


def doubling(first: float, count: int) -> tuple[float, ...]:
    """The bounds of a histogram's buckets, each twice the one before."""
    return tuple(first * 2**power for power in range(count))


_RECONCILES = Counter(
    "orchestrator_controller_reconcile", "Reconciles by controller and result.", ["controller", "result"],
    registry=REGISTRY,
)  # fmt: skip
_WAIT_SECONDS = Histogram(
    "workqueue_queue_duration_seconds", "How long a key waited for a worker.", ["name"],
    registry=REGISTRY, buckets=_QUEUE_BUCKETS,
)  # fmt: skip
_WORK_SECONDS = Histogram(
    "workqueue_work_duration_seconds", "How long the work on a key took.", ["name"],
    registry=REGISTRY, buckets=_QUEUE_BUCKETS,
)  # fmt: skip
COMPONENT_RESTARTS = Counter(
    "orchestrator_component_restarts", "Restarts of a component after an escaped exception.", ["component"],
    registry=REGISTRY,
)  # fmt: skip
COMPONENT_UP = Gauge(
    "orchestrator_component_up", "How many of this component run: 1, or all kubelets of the process.", ["component"],
    registry=REGISTRY,
)  # fmt: skip


def reconciled(controller: str, result: str, *, waited_seconds: float, seconds: float) -> None:
    """Count one reconcile."""
    count, waits, works = _of(controller, result)
    count.inc()
    waits.observe(waited_seconds)
    works.observe(seconds)


@cache
def _of(controller: str, result: str) -> tuple[Counter, Histogram, Histogram]:
    """The metrics of one controller; to look them up takes longer than to change them."""
    return (
        _RECONCILES.labels(controller, result),
        _WAIT_SECONDS.labels(controller),
        _WORK_SECONDS.labels(controller),
    )


class WorkQueues(Collector):
    """The numbers that work queues keep of themselves, under client-go's names; read when somebody asks for them.

    A queue is shown for as long as its owner keeps it.
    """

    def __init__(self) -> None:
        self._names: WeakKeyDictionary[WorkQueue[Any], str] = WeakKeyDictionary()

    def show(self, name: str, queue: WorkQueue[Any]) -> None:
        """Show this queue under the name of the controller whose it is."""
        self._names[queue] = name

    def collect(self) -> Iterator[Metric]:
        """One family for each number, one sample for each name."""
        depth = GaugeMetricFamily("workqueue_depth", "Keys that wait.", labels=["name"])
        adds = CounterMetricFamily("workqueue_adds", "Keys that were added.", labels=["name"])
        retries = CounterMetricFamily("workqueue_retries", "Keys that were put back with back-off.", labels=["name"])
        unfinished = GaugeMetricFamily(
            "workqueue_unfinished_work_seconds", "How long the keys that are worked on have been so, together.",
            labels=["name"],
        )  # fmt: skip
        longest = GaugeMetricFamily(
            "workqueue_longest_running_processor_seconds", "How long the longest of them has been.", labels=["name"]
        )
        for name in sorted(set(self._names.values())):
            queues = [queue for queue, owner in self._names.items() if owner == name]
            depth.add_metric([name], sum(map(len, queues)))
            adds.add_metric([name], sum(queue.added_total for queue in queues))
            retries.add_metric([name], sum(queue.retries_total for queue in queues))
            running = [seconds for queue in queues for seconds in queue.processing_seconds()]
            unfinished.add_metric([name], sum(running))
            longest.add_metric([name], max(running, default=0.0))
        yield from (depth, adds, retries, unfinished, longest)


WORK_QUEUES = WorkQueues()
REGISTRY.register(WORK_QUEUES)
