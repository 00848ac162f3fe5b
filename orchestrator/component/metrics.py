"""Metrics of the components, in Prometheus' terms; the API server serves them under /metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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
    "orchestrator_component_up", "1 while the component runs.", ["component"], registry=REGISTRY
)  # fmt: skip


def reconciled(controller: str, result: str, seconds: float) -> None:
    """Count one reconcile."""
    _RECONCILES.labels(controller, result).inc()
    _RECONCILE_SECONDS.labels(controller).observe(seconds)
