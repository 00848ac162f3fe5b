"""Counting finished pods exactly once although they can be deleted at any time. Pure.

A finished pod holds the finalizer `batch.kubernetes.io/job-tracking`; its uid is first written to
`status.uncountedTerminatedPods`, then the finalizer is removed, and only then it moves from there
into the counters (KEP-2307). Indexes of Indexed Jobs need no such list: a set cannot count twice.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api.objects import Object, is_terminating, uid_of
from orchestrator.controllers.job.failures import Judgement, finished_at, judge
from orchestrator.controllers.job.indexes import format_indexes, index_of
from orchestrator.controllers.job.state import (
    INDEX_IGNORED_FAILURE_COUNT,
    JobPlan,
    Look,
    failure_count,
    has_finalizer,
    set_or_drop,
)
from orchestrator.controllers.pods import is_finished, phase_of

UNCOUNTED_MAX = 500


def count(look: Look, status: dict[str, Any], plan: JobPlan) -> int:
    """Move pods through uncounted into the counters, and find the pods that can be released.

    Returns the number of failures that are held back: with a limit for each index, the last failed pod of an index
    tells how often it failed, and stays until the next one says so (KEP-3850).
    """
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
    held_back = _last_failures(look, completed, failed_indexes)
    failures_held_back = 0
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
            judgement = _judge(look, pod)
            if index is not None and held_back.get(index) is pod and not _is_index_failed(look, pod, judgement):
                failures_held_back += judgement.action != "Ignore"
                continue
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
    return failures_held_back


def release_all(look: Look, status: dict[str, Any], plan: JobPlan, *, is_failed: bool = False) -> None:
    """Release every pod, as the Job ends; when it failed, those that still run count as failed."""
    uncounted = status.get("uncountedTerminatedPods") or {}
    failed = list(uncounted.get("failed") or ())
    known = {*failed, *(uncounted.get("succeeded") or ())}
    released = {uid_of(pod) for pod in plan.release}
    for pod in sorted(look.pods, key=finished_at):
        uid = uid_of(pod)
        if uid in released or not has_finalizer(pod):
            continue
        is_counted = look.has_failed(pod) or (is_failed and phase_of(pod) != "Succeeded")
        if phase_of(pod) == "Succeeded" or (is_counted and len(known) >= UNCOUNTED_MAX):
            continue  # one of those that have to wait until others are accounted for
        plan.release.append(pod)
        if is_counted and uid not in known and _has_place(look, pod) and _judge(look, pod).action != "Ignore":
            failed.append(uid)
            known.add(uid)
    if failed:
        status["uncountedTerminatedPods"] = {**uncounted, "failed": failed}


def _has_place(look: Look, pod: Object) -> bool:
    """Whether a pod is one of those that the Job needs; a pod of an Indexed Job needs an index."""
    if not look.indexed:
        return True
    index = index_of(pod)
    return index is not None and index < (look.completions or 0)


def _judge(look: Look, pod: Object) -> Judgement:
    return judge(look.job, pod) if look.spec.get("podFailurePolicy") else Judgement()


def _last_failures(look: Look, completed: set[int], failed_indexes: set[int]) -> dict[int, Object]:
    """The last failed pod of each index that has still to be tried again."""
    if not look.indexed or look.spec.get("backoffLimitPerIndex") is None:
        return {}
    settled = completed | failed_indexes | {index_of(pod) for pod in look.active}
    settled |= {index_of(pod) for pod in look.pods if phase_of(pod) == "Succeeded"}
    last: dict[int, Object] = {}
    for pod in look.pods:
        index = index_of(pod)
        if index is None or index in settled or not look.has_failed(pod):
            continue
        if index not in last or _attempt(pod) >= _attempt(last[index]):
            last[index] = pod
    return last


def _attempt(pod: Object) -> tuple[int, datetime]:
    failures = failure_count(pod) + failure_count(pod, INDEX_IGNORED_FAILURE_COUNT)
    return failures, finished_at(pod)


def _is_index_failed(look: Look, pod: Object, judgement: Judgement) -> bool:
    limit = look.spec.get("backoffLimitPerIndex")
    if limit is None or judgement.action == "Ignore":
        return False
    return judgement.action == "FailIndex" or failure_count(pod) >= limit


def totals(status: dict[str, Any]) -> tuple[int, int]:
    """(succeeded, failed), those included that are only on their way into the counters."""
    uncounted = status.get("uncountedTerminatedPods") or {}
    succeeded = (status.get("succeeded") or 0) + len(uncounted.get("succeeded") or ())
    return succeeded, (status.get("failed") or 0) + len(uncounted.get("failed") or ())
