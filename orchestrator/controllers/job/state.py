"""The facts of one look at a Job and its pods, and the plan that is made from them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from orchestrator.api.objects import Object, annotations_of, is_terminating
from orchestrator.controllers.job.indexes import parse_indexes
from orchestrator.controllers.pods import is_finished, phase_of

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX_FAILURE_COUNT = "batch.kubernetes.io/job-index-failure-count"
INDEX_IGNORED_FAILURE_COUNT = "batch.kubernetes.io/job-index-ignored-failure-count"
MANAGED_BY = "kubernetes.io/job-controller"


class JobPlan(Struct):
    """What to do, in this order: write the status, release pods, delete pods, hold pods, create pods."""

    status: dict[str, Any]
    release: list[Object] = field(default_factory=list)
    """Pods whose tracking finalizer goes now that the status accounts for them."""
    delete: list[Object] = field(default_factory=list)
    hold: list[Object] = field(default_factory=list)
    """Active pods without the finalizer: adopted ones, and those that a crash spared when they were to be deleted."""
    create: list[Object] = field(default_factory=list)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    again_seconds: float | None = None


def is_indexed(job: Object) -> bool:
    """Whether each completion has an index."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def finished_condition(job_or_status: Object) -> dict[str, Any] | None:
    """The Complete or Failed condition that ends a Job."""
    for one in job_or_status.get("conditions") or ():
        if one.get("type") in ("Complete", "Failed") and one.get("status") == "True":
            found: dict[str, Any] = one
            return found
    return None


def has_finalizer(pod: Object) -> bool:
    """Whether the pod is not accounted for yet."""
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


class Look:
    """The facts of one look; each property of the plan is derived from them."""

    def __init__(
        self, job: Object, pods: Sequence[Object], now: datetime, remembered: Mapping[str, datetime] | None = None
    ) -> None:
        self.job, self.now = job, now
        self.remembered = remembered or {}
        """When pods failed, by uid, from earlier looks; they may be gone."""
        self.spec = job["spec"]
        self.pods = pods
        self.indexed = is_indexed(job)
        self.completions: int | None = self.spec.get("completions")
        self.parallelism: int = self.spec.get("parallelism", 1)
        replacement = self.spec.get("podReplacementPolicy")
        self.only_replaces_failed = replacement == "Failed" or bool(self.spec.get("podFailurePolicy"))
        self.active = [pod for pod in pods if not is_finished(pod) and not is_terminating(pod)]
        self.terminating = [pod for pod in pods if not is_finished(pod) and is_terminating(pod)]

    def has_failed(self, pod: Object) -> bool:
        """A pod that is deleted before it finished failed too, unless only finished ones count."""
        if phase_of(pod) == "Failed":
            return True
        return is_terminating(pod) and not is_finished(pod) and not self.only_replaces_failed

    def indexes(self, status: dict[str, Any], name: str) -> set[int]:
        """The indexes that a field of the status names; none when completions have no index."""
        return parse_indexes(status.get(name) or "", self.completions or 0) if self.indexed else set()


def failure_count(pod: Object, annotation: str = INDEX_FAILURE_COUNT) -> int:
    """How often the index of this pod had failed when it was made."""
    text = annotations_of(pod).get(annotation, "0")
    return int(text) if text.isdecimal() else 0


def set_or_drop(status: dict[str, Any], name: str, value: int | str) -> None:
    """Set a field of the status that is not shown while it is empty."""
    if value:
        status[name] = value
    else:
        status.pop(name, None)
