"""Graceful node shutdown (KEP-2000): in which order the pods of a node end, and how long each may take.

Pure functions. Mirrors pkg/kubelet/nodeshutdown with its two classes of pods.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from orchestrator.api.objects import Object, uid_of
from orchestrator.kubelet.pod import SYSTEM_CRITICAL_PRIORITY, grace_seconds_of, priority_of

REASON = "Terminated"
MESSAGE = "Pod was terminated in response to imminent node shutdown."
REFUSAL = ("NodeShutdown", "Pod was rejected as the node is shutting down.")
NOT_READY = "node is shutting down"


class ShutdownPeriods(Struct, frozen=True):
    """shutdownGracePeriod and shutdownGracePeriodCriticalPods; 0: a node that stops leaves its pods alone."""

    total_seconds: float = 0.0
    critical_seconds: float = 0.0
    """What of the total is kept for critical pods, which end last."""


class ShutdownStep(Struct, frozen=True):
    """Pods that end together."""

    seconds: float
    """How long they may take in all."""
    grace_seconds: dict[str, int]
    """The grace period of each, by uid."""


def plan_shutdown(pods: Iterable[Object], periods: ShutdownPeriods) -> list[ShutdownStep]:
    """Regular pods first, critical ones then; a pod never gets more than it asked for itself."""
    regular: dict[str, Object] = {}
    critical: dict[str, Object] = {}
    for pod in pods:
        is_last = priority_of(pod) >= SYSTEM_CRITICAL_PRIORITY
        (critical if is_last else regular)[uid_of(pod)] = pod
    steps = []
    for group, seconds in (
        (regular, periods.total_seconds - periods.critical_seconds),
        (critical, periods.critical_seconds),
    ):
        graces = {uid: min(int(seconds), grace_seconds_of(pod)) for uid, pod in group.items()}
        if graces:
            steps.append(ShutdownStep(seconds, graces))
    return steps
