"""The scheduler's metrics, named as kube-scheduler names them."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from orchestrator.component.metrics import REGISTRY

ATTEMPTS = Counter(
    "scheduler_schedule_attempts", "Attempts to place a pod, by result and profile.", ["result", "profile"],
    registry=REGISTRY,
)  # fmt: skip
PENDING = Gauge("scheduler_pending_pods", "Pods that wait, by queue.", ["queue"], registry=REGISTRY)
ATTEMPT_SECONDS = Histogram(
    "scheduler_scheduling_algorithm_duration_seconds", "How long one decision took.",
    registry=REGISTRY, buckets=(0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0),
)  # fmt: skip
PREEMPTION_VICTIMS = Counter("scheduler_preemption_victims", "Pods evicted for others.", registry=REGISTRY)
