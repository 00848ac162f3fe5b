"""Which statuses of Jobs are valid, and which changes of them (KEP-3998, "Job status validation").

Mirrors validateJobStatus and ValidateJobStatusUpdate of k8s.io/kubernetes/pkg/apis/batch/validation; like there, what
was stored already and does not change is not complained about.
"""

from __future__ import annotations

from typing import Any

from orchestrator.api import fields
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.apps.rollout_validation import non_negative
from orchestrator.api.kinds.batch.indexes import IndexesError, find_overlap, parse_indexes
from orchestrator.api.kinds.columns import parse_time
from orchestrator.api.objects import Object, condition_of

_TERMINAL = ("Failed", "Complete", "FailureTarget")


class _State:
    """What a Job's status says, under the names that the rules use."""

    def __init__(self, job: Object) -> None:
        self.status: dict[str, Any] = job.get("status") or {}
        self.complete, self.failed = self._has(job, "Complete"), self._has(job, "Failed")
        self.failing, self.succeeding = self._has(job, "FailureTarget"), self._has(job, "SuccessCriteriaMet")
        self.finished = self.complete or self.failed

    @staticmethod
    def _has(job: Object, kind: str) -> bool:
        condition = condition_of(job, kind)
        return bool(condition and condition.get("status") == "True")

    def number(self, key: str) -> int:
        return self.status.get(key) or 0


def validate_job_status_update(new: Object, old: Object) -> list[Cause]:
    """Counters, indexes, times and conditions fit together, and nothing that is final is taken back."""
    spec, state, before = new.get("spec") or {}, _State(new), _State(old)
    causes: list[Cause] = []
    for key in ("active", "succeeded", "failed", "ready", "terminating"):
        causes += non_negative(state.status, key, "status")
    causes += _validate_uncounted(state.status.get("uncountedTerminatedPods") or {})
    causes += _validate_completion(state, before)
    causes += _validate_finished(state, before, spec)
    causes += _validate_indexes(state, before, spec)
    causes += _validate_success(state, spec)
    return causes + _validate_changes(state, before, spec)


def _conditions(detail: str) -> Cause:
    return fields.invalid("status.conditions", fields.OMIT, detail)


def _validate_uncounted(uncounted: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for key in ("succeeded", "failed"):
        for position, uid in enumerate(uncounted.get(key) or ()):
            where = fields.index(f"status.uncountedTerminatedPods.{key}", position)
            if not uid:
                causes.append(fields.invalid(where, uid, "must not be empty"))
            elif uid in seen:
                causes.append(fields.duplicate(where, uid))
            seen.add(uid)
    return causes


def _differs(state: _State, before: _State, *keys: str) -> bool:
    return any((state.status.get(key) or None) != (before.status.get(key) or None) for key in keys)


def _validate_completion(state: _State, before: _State) -> list[Cause]:
    causes: list[Cause] = []
    path = "status.completionTime"
    completes, fails = state.complete != before.complete, state.failed != before.failed
    timed = _differs(state, before, "completionTime")
    completed_at, started_at = state.status.get("completionTime"), state.status.get("startTime")
    if (completes or fails) and state.complete and state.failed:
        causes.append(_conditions("cannot set Complete=True and Failed=true conditions"))
    if (completes or state.failing != before.failing) and state.complete and state.failing:
        causes.append(_conditions("cannot set Complete=True and FailureTarget=true conditions"))
    if completes or timed:
        if completed_at and not state.complete:
            detail = "cannot set completionTime when there is no Complete=True condition"
            causes.append(fields.invalid(path, completed_at, detail))
        if not completed_at and state.complete:
            causes.append(fields.required(path, "completionTime is required for Complete jobs"))
    if timed or _differs(state, before, "startTime"):
        ended, started = parse_time(completed_at or ""), parse_time(started_at or "")
        if ended is not None and started is not None and ended < started:
            causes.append(fields.invalid(path, completed_at, "completionTime cannot be set before startTime"))
    if (fails or state.failing != before.failing) and state.failed and not state.failing:
        causes.append(_conditions("cannot set Failed=True condition without the FailureTarget=true condition"))
    if (completes or state.succeeding != before.succeeding) and state.complete and not state.succeeding:
        causes.append(_conditions("cannot set Complete=True condition without the SuccessCriteriaMet=true condition"))
    return causes


def _validate_finished(state: _State, before: _State, spec: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    finishes, active = state.finished != before.finished, state.number("active")

    def counts(*keys: str) -> bool:
        return state.finished and (finishes or _differs(state, before, *keys))

    if counts("active") and active > 0:
        causes.append(fields.invalid("status.active", active, "active>0 is invalid for finished job"))
    never_begins = spec.get("suspend") and spec.get("completions") == 0
    if counts("startTime") and not state.status.get("startTime") and not never_begins:
        causes.append(fields.required("status.startTime", "startTime is required for finished job"))
    uncounted = state.status.get("uncountedTerminatedPods") or {}
    if counts("uncountedTerminatedPods") and (uncounted.get("failed") or uncounted.get("succeeded")):
        detail = "uncountedTerminatedPods needs to be empty for finished job"
        causes.append(fields.invalid("status.uncountedTerminatedPods", uncounted, detail))
    if counts("terminating") and (terminating := state.number("terminating")) > 0:
        causes.append(fields.invalid("status.terminating", terminating, "terminating>0 is invalid for finished job"))
    if _differs(state, before, "ready", "active") and (ready := state.number("ready")) > active:
        causes.append(fields.invalid("status.ready", ready, "cannot set more ready pods than active"))
    return causes


def _validate_indexes(state: _State, before: _State, spec: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    completions = spec.get("completions")
    completed, failed = state.status.get("completedIndexes") or "", state.status.get("failedIndexes")
    new_completed, new_failed = _differs(state, before, "completedIndexes"), _differs(state, before, "failedIndexes")
    has_own_limit = spec.get("backoffLimitPerIndex") is not None
    for key, indexes, counts in (
        ("completedIndexes", completed, new_completed),
        ("failedIndexes", failed or "", new_failed and has_own_limit),
    ):
        if counts and completions is not None:
            try:
                parse_indexes(indexes, completions)
            except IndexesError as error:
                causes.append(fields.invalid(f"status.{key}", indexes, f"error parsing {key}: {error}"))
    if new_completed and completed and spec.get("completionMode") != "Indexed":
        detail = "cannot set non-empty completedIndexes when non-indexed completion mode"
        causes.append(fields.invalid("status.completedIndexes", completed, detail))
    if new_failed and failed is not None and not has_own_limit:
        detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        causes.append(fields.invalid("status.failedIndexes", failed, detail))
    if (new_completed or new_failed) and completions is not None and failed:
        overlap = find_overlap(completed, failed, completions)
        if overlap is not None:
            detail = f"failedIndexes and completedIndexes overlap at index: {overlap}"
            causes.append(fields.invalid("status.failedIndexes", failed, detail))
    return causes


def _validate_success(state: _State, spec: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    if state.succeeding and state.failed:
        causes.append(_conditions("cannot set SuccessCriteriaMet=True and Failed=true conditions"))
    if state.succeeding and state.failing:
        causes.append(_conditions("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"))
    if spec.get("successPolicy") is not None and state.complete and not state.succeeding:
        detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
        causes.append(_conditions(detail))
    return causes


def _validate_changes(state: _State, before: _State, spec: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    for kind, was, has in zip(
        _TERMINAL,
        (before.failed, before.complete, before.failing),
        (state.failed, state.complete, state.failing),
        strict=True,
    ):
        if was and not has:
            causes.append(_conditions(f"cannot disable the terminal {kind}=True condition"))
    if state.number("failed") < before.number("failed"):
        causes.append(fields.invalid("status.failed", state.number("failed"), "cannot decrease the failed counter"))
    # Indexed Jobs that are made smaller forget what their last indexes did.
    is_elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    succeeded = state.number("succeeded")
    if not is_elastic and succeeded < before.number("succeeded"):
        causes.append(fields.invalid("status.succeeded", succeeded, "cannot decrease the succeeded counter"))
    completed_at = state.status.get("completionTime")
    if completed_at and before.status.get("completionTime") not in (None, completed_at):
        causes.append(fields.invalid("status.completionTime", completed_at, "completionTime cannot be mutated"))
    started = before.status.get("startTime")
    if started and started != state.status.get("startTime") and not spec.get("suspend"):
        causes.append(fields.required("status.startTime", "startTime cannot be removed for unsuspended job"))
    if before.succeeding and not state.succeeding:
        causes.append(_conditions("cannot disable the SuccessCriteriaMet=True condition"))
    if before.complete and not before.succeeding and state.succeeding:
        detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"
        causes.append(_conditions(detail))
    return causes
