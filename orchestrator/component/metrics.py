"""Metrics of the components, in Prometheus' terms; the API server serves them under /metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator.aiokit.workqueue import WorkQueue

REGISTRY = CollectorRegistry()
"""The process's own registry; prometheus-client's global one would start collectors that nobody asked for."""

_RECONCILES = Counter(
    "orchestrator_controller_reconcile", "Reconciles by controller and result.", ["controller", "result"],
    registry=REGISTRY,
)  # fmt: skip
_RECONCILE_SECONDS = Histogram(
    "orchestrator_controller_reconcile_duration_seconds", "How long one reconcile took.", ["controller"],
    registry=REGISTRY, buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0),
)  # fmt: skip
COMPONENT_RESTARTS = Counter(
    "orchestrator_component_restarts", "Restarts of a component after an escaped exception.", ["component"],
    registry=REGISTRY,
)  # fmt: skip
COMPONENT_UP = Gauge(
    "orchestrator_component_up", "How many of this component run: 1, or all kubelets of the process.", ["component"],
    registry=REGISTRY,
)  # fmt: skip


def reconciled(controller: str, result: str, seconds: float) -> None:
    """Count one reconcile."""
    _RECONCILES.labels(controller, result).inc()
    _RECONCILE_SECONDS.labels(controller).observe(seconds)


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
        for name in sorted(set(self._names.values())):
            queues = [queue for queue, owner in self._names.items() if owner == name]
            depth.add_metric([name], sum(map(len, queues)))
            adds.add_metric([name], sum(queue.added_total for queue in queues))
            retries.add_metric([name], sum(queue.retries_total for queue in queues))
        yield from (depth, adds, retries)


WORK_QUEUES = WorkQueues()
REGISTRY.register(WORK_QUEUES)
