"""The scheduler's metrics, with the names, labels and buckets of kube-scheduler's stable ones.

https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from __future__ import annotations

from functools import cache
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from orchestrator.component.metrics import REGISTRY, doubling

ATTEMPTS = Counter(
    "scheduler_schedule_attempts", "Attempts to place a pod, by result and profile.", ["result", "profile"],
    registry=REGISTRY,
)  # fmt: skip
ATTEMPT_SECONDS = Histogram(
    "scheduler_scheduling_attempt_duration_seconds", "How long an attempt took, the binding included.",
    ["result", "profile"], registry=REGISTRY, buckets=doubling(0.001, 15),
)  # fmt: skip
DECISION_SECONDS = Histogram(
    "scheduler_scheduling_algorithm_duration_seconds", "How long one decision took.",
    registry=REGISTRY, buckets=doubling(0.001, 15),
)  # fmt: skip
ATTEMPTS_OF_POD = Histogram(
    "scheduler_pod_scheduling_attempts", "Attempts that it took to place a pod.", registry=REGISTRY,
    buckets=doubling(1, 5),
)  # fmt: skip
POD_SECONDS = Histogram(
    "scheduler_pod_scheduling_sli_duration_seconds", "From a pod's coming to its binding, by attempts.", ["attempts"],
    registry=REGISTRY, buckets=doubling(0.01, 20),
)  # fmt: skip
PENDING = Gauge("scheduler_pending_pods", "Pods that wait, by queue.", ["queue"], registry=REGISTRY)
INCOMING = Counter(
    "scheduler_queue_incoming_pods", "Pods that were put into a queue, by what put them there.", ["queue", "event"],
    registry=REGISTRY,
)  # fmt: skip
PREEMPTION_ATTEMPTS = Counter(
    "scheduler_preemption_attempts", "Pods for which others were to be evicted.", registry=REGISTRY
)
PREEMPTION_VICTIMS = Histogram(
    "scheduler_preemption_victims", "Pods evicted for another one.", registry=REGISTRY, buckets=doubling(1, 7)
)

WAITING: Final = ("active", "backoff", "unschedulable", "gated")
"""The queues in which pods are shown to be pending."""
_ATTEMPTS_SHOWN_MAX: Final = 15


@cache
def _incoming(queue: str, event: str) -> Counter:
    return INCOMING.labels(queue, event)


def came_in(queue: str, event: str) -> None:
    """Count a pod that was put into a queue."""
    _incoming(queue, event).inc()


# Children are kept: to look one up takes longer than to change it.


@cache
def _attempt(result: str, profile: str) -> tuple[Counter, Histogram]:
    return ATTEMPTS.labels(result, profile), ATTEMPT_SECONDS.labels(result, profile)


@cache
def _pod_seconds(attempts: int) -> Histogram:
    return POD_SECONDS.labels(str(attempts) if attempts < _ATTEMPTS_SHOWN_MAX else f"{_ATTEMPTS_SHOWN_MAX}+")


def attempted(result: str, profile: str, seconds: float) -> None:
    """Count an attempt to place a pod."""
    count, durations = _attempt(result, profile)
    count.inc()
    durations.observe(seconds)


def placed(attempts: int, seconds: float) -> None:
    """Count a pod that got its node after so many attempts, so long after it came."""
    ATTEMPTS_OF_POD.observe(attempts)
    _pod_seconds(min(attempts, _ATTEMPTS_SHOWN_MAX)).observe(seconds)
