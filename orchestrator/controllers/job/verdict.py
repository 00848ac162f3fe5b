"""Whether a Job is over, and how. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal, NamedTuple

from orchestrator.controllers.job.counting import totals
from orchestrator.controllers.job.failures import judge, restarts
from orchestrator.controllers.job.indexes import parse_indexes
from orchestrator.controllers.job.state import Look, has_finalizer
from orchestrator.controllers.pods import phase_of, time_of


class Verdict(NamedTuple):
    """How a Job ends."""

    kind: Literal["Complete", "Failed"]
    reason: str
    message: str


def end_of(look: Look) -> Verdict | None:
    """FailJob of the pod failure policy, before pods are counted and lose their finalizer."""
    if not look.spec.get("podFailurePolicy"):
        return None
    for pod in look.pods:
        if phase_of(pod) == "Failed" and has_finalizer(pod):
            judgement = judge(look.job, pod)
            if judgement.action == "FailJob":
                return Verdict("Failed", "PodFailurePolicy", judgement.message)
    return None


def judge_job(look: Look, status: dict[str, Any], failures_held_back: int = 0) -> Verdict | None:
    """Whether the Job is over, once its pods are counted. A reason to fail goes before success."""
    spec = look.spec
    succeeded, failed = totals(status)
    limit = spec.get("backoffLimit", 6)
    if failed + failures_held_back > limit or _has_too_many_restarts(look, limit):
        return Verdict("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if _is_past_deadline(look, status):
        return Verdict("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    if look.indexed and spec.get("backoffLimitPerIndex") is not None:
        failed_indexes = look.indexes(status, "failedIndexes")
        most = spec.get("maxFailedIndexes")
        if most is not None and len(failed_indexes) > most:
            message = "Job has exceeded the specified maximal number of failed indexes"
            return Verdict("Failed", "MaxFailedIndexesExceeded", message)
        if failed_indexes and succeeded + len(failed_indexes) >= (look.completions or 0):
            return Verdict("Failed", "FailedIndexes", "Job has failed indexes")
    by_success = _match_success_policy(look, status)
    if by_success is not None:
        return Verdict("Complete", "SuccessPolicy", f"Matched rules at index {by_success}")
    if look.completions is None:
        # A work queue: one success means that the queue is empty, the others only finish.
        is_done = succeeded > 0 and not look.active
    else:
        is_done = succeeded >= look.completions
    if is_done:
        return Verdict("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
    return None


def _is_past_deadline(look: Look, status: dict[str, Any]) -> bool:
    seconds, started = look.spec.get("activeDeadlineSeconds"), time_of(status.get("startTime"))
    if seconds is None or started is None or look.spec.get("suspend"):
        return False
    return look.now - started >= timedelta(seconds=seconds)


def _has_too_many_restarts(look: Look, limit: int) -> bool:
    if (look.spec["template"].get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    total = sum(restarts(pod) for pod in look.pods if phase_of(pod) in ("Running", "Pending"))
    return total > 0 if limit == 0 else total >= limit


def _match_success_policy(look: Look, status: dict[str, Any]) -> int | None:
    rules = (look.spec.get("successPolicy") or {}).get("rules") or ()
    completed = look.indexes(status, "completedIndexes") if rules else set()
    for number, rule in enumerate(rules):
        wanted = rule.get("succeededIndexes")
        of_interest = parse_indexes(wanted, look.completions or 0) if wanted is not None else None
        counted = completed if of_interest is None else completed & of_interest
        if rule.get("succeededCount") is not None:
            if len(counted) >= rule["succeededCount"]:
                return number
        elif of_interest is not None and counted == of_interest:
            return number
    return None
