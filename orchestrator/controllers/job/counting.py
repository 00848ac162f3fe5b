"""Counting finished pods exactly once although they can be deleted at any time. Pure.

A finished pod holds the finalizer `batch.kubernetes.io/job-tracking`; its uid is first written to
`status.uncountedTerminatedPods`, then the finalizer is removed, and only then it moves from there
into the counters (KEP-2307). Indexes of Indexed Jobs need no such list: a set cannot count twice.
"""

from __future__ import annotations

from typing import Any

from orchestrator.api.objects import Object, is_terminating, uid_of
from orchestrator.controllers.job.failures import Judgement, finished_at, judge
from orchestrator.controllers.job.indexes import format_indexes, index_of
from orchestrator.controllers.job.state import JobPlan, Look, failure_count, has_finalizer, set_or_drop
from orchestrator.controllers.pods import is_finished, phase_of

UNCOUNTED_MAX = 500


def count(look: Look, status: dict[str, Any], plan: JobPlan) -> None:
    """Move pods through uncounted into the counters, and find the pods that can be released."""
    by_uid = {uid_of(pod): pod for pod in look.pods}
    uncounted = status.get("uncountedTerminatedPods") or {}
    for outcome in ("succeeded", "failed"):
        kept: list[str] = []
        for uid in uncounted.get(outcome) or ():
            pod = by_uid.get(uid)
            if pod is not None and has_finalizer(pod):
                kept.append(uid)
                plan.release.append(pod)
            else:
                status[outcome] = (status.get(outcome) or 0) + 1
        uncounted = {**uncounted, outcome: kept}
    known = {*uncounted["succeeded"], *uncounted["failed"]}
    completed = look.indexes(status, "completedIndexes")
    failed_indexes = look.indexes(status, "failedIndexes")
    for pod in sorted(look.pods, key=finished_at):
        uid = uid_of(pod)
        if uid in known or not has_finalizer(pod):
            continue
        index = index_of(pod) if look.indexed else None
        if look.indexed and (index is None or index >= (look.completions or 0)):
            if is_finished(pod) or is_terminating(pod):
                plan.release.append(pod)
            continue
        if len(known) >= UNCOUNTED_MAX:
            break  # the rest follows once these are accounted for; an object has a size limit
        if phase_of(pod) == "Succeeded":
            if index is not None:
                completed.add(index)
                plan.release.append(pod)
            else:
                uncounted["succeeded"].append(uid)
                known.add(uid)
                plan.release.append(pod)
        elif look.has_failed(pod):
            judgement = judge(look.job, pod) if look.spec.get("podFailurePolicy") else Judgement()
            if judgement.action == "Ignore":
                plan.release.append(pod)
                continue
            uncounted["failed"].append(uid)
            known.add(uid)
            plan.release.append(pod)
            if index is not None and _is_index_failed(look, pod, judgement):
                failed_indexes.add(index)
    if look.indexed:
        set_or_drop(status, "completedIndexes", format_indexes(completed))
        if look.spec.get("backoffLimitPerIndex") is not None:
            status["failedIndexes"] = format_indexes(failed_indexes - completed)
        if completed:
            status["succeeded"] = len(completed)
    status["uncountedTerminatedPods"] = {name: uids for name, uids in uncounted.items() if uids}


def _is_index_failed(look: Look, pod: Object, judgement: Judgement) -> bool:
    limit = look.spec.get("backoffLimitPerIndex")
    if limit is None:
        return False
    return judgement.action == "FailIndex" or failure_count(pod) >= limit


def totals(status: dict[str, Any]) -> tuple[int, int]:
    """(succeeded, failed), those included that are only on their way into the counters."""
    uncounted = status.get("uncountedTerminatedPods") or {}
    succeeded = (status.get("succeeded") or 0) + len(uncounted.get("succeeded") or ())
    return succeeded, (status.get("failed") or 0) + len(uncounted.get("failed") or ())
