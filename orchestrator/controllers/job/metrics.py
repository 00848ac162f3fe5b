"""What the Job controller counts, under the names that Kubernetes promises to keep (its stable metrics)."""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter, Histogram

from orchestrator.api.objects import Object
from orchestrator.component.metrics import REGISTRY, doubling
from orchestrator.controllers.job.state import JobPlan

_SYNC_LABELS = ("completion_mode", "action", "result")

_SYNCS = Counter("job_controller_job_syncs", "Looks at Jobs, by what they led to.", _SYNC_LABELS, registry=REGISTRY)
_SYNC_SECONDS = Histogram(
    "job_controller_job_sync_duration_seconds", "How long a look at a Job took.", _SYNC_LABELS,
    registry=REGISTRY, buckets=doubling(0.004, 15),
)  # fmt: skip
_FINISHED = Counter(
    "job_controller_jobs_finished", "Jobs that ended.", ["completion_mode", "result", "reason"], registry=REGISTRY
)
_PODS_FINISHED = Counter(
    "job_controller_job_pods_finished", "Pods that ended and are accounted for.", ["completion_mode", "result"],
    registry=REGISTRY,
)  # fmt: skip


def _mode_of(job: Object) -> str:
    return str(job["spec"].get("completionMode") or "NonIndexed")


def count_sync(job: Object, plan: JobPlan, seconds: float, *, is_success: bool) -> None:
    """One look at a Job, with what was planned."""
    action = "pods_created" if plan.create else "pods_deleted" if plan.delete else "tracking"
    labels = _mode_of(job), action, "success" if is_success else "error"
    _SYNCS.labels(*labels).inc()
    _SYNC_SECONDS.labels(*labels).observe(seconds)


def count_change(job: Object, before: dict[str, Any], after: dict[str, Any]) -> None:
    """What a written status says that the one before did not: pods that are accounted for, the end of the Job."""
    mode = _mode_of(job)
    for result in ("succeeded", "failed"):
        more = (after.get(result) or 0) - (before.get(result) or 0)
        if more > 0:
            _PODS_FINISHED.labels(mode, result).inc(more)
    known = {one["type"] for one in before.get("conditions") or () if one.get("status") == "True"}
    for one in after.get("conditions") or ():
        if one["type"] in ("Complete", "Failed") and one.get("status") == "True" and one["type"] not in known:
            result = "succeeded" if one["type"] == "Complete" else "failed"
            _FINISHED.labels(mode, result, one.get("reason") or "").inc()
