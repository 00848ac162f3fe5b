"""Everything that is decided about a Job in one look at it and its pods. Pure.

First finished pods are counted (`counting`), then it is decided whether the Job is over (`verdict`), and if it goes
on, which pods come and go (`pods`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.aiokit.clock import format_time
from orchestrator.api.objects import Object, copy_object, is_terminating, uid_of
from orchestrator.controllers.conditions import Condition, condition, find, with_condition
from orchestrator.controllers.job.counting import count, release_all
from orchestrator.controllers.job.pods import discard, manage
from orchestrator.controllers.job.state import JobPlan, Look, finished_condition, has_finalizer, set_or_drop
from orchestrator.controllers.job.verdict import Verdict, end_of, judge_job
from orchestrator.controllers.pods import is_ready, time_of


def plan_job(
    job: Object,
    pods: Sequence[Object],
    now: datetime,
    *,
    may_manage: bool = True,
    remembered: Mapping[str, datetime] | None = None,
) -> JobPlan:
    """What follows for a Job from its pods.

    `may_manage`: the cache shows all our own writes. `remembered`: as `plan_memory` made it at the last look.
    """
    look = Look(job, pods, now, remembered)
    old = job.get("status") or {}
    status: dict[str, Any] = copy_object(old)
    plan = JobPlan(status)
    if finished_condition(old):
        plan.release = [pod for pod in pods if has_finalizer(pod)]
        plan.delete = look.active
        return plan
    if not status.get("startTime") and not look.spec.get("suspend"):
        status["startTime"] = format_time(now)
    failed_by_policy = end_of(look)
    failures_held_back = count(look, status, plan)
    conditions: list[Condition] = list(status.get("conditions") or ())
    verdict = _told(conditions) or failed_by_policy or judge_job(look, status, failures_held_back)
    if verdict is not None:
        conditions = _conclude(look, verdict, status, conditions, plan)
    elif is_terminating(job):
        release_all(look, status, plan)  # whoever deletes the Job deletes its pods, and must not wait for us
    elif look.spec.get("suspend"):
        conditions = _set_suspended(conditions, True, now, plan)
        discard(plan, look.active)
        status.pop("startTime", None)
    else:
        conditions = _go_on(look, status, conditions, plan, may_manage=may_manage)
    if conditions:
        status["conditions"] = conditions
    gone = {uid_of(pod) for pod in plan.delete}
    staying = [pod for pod in look.active if uid_of(pod) not in gone]
    set_or_drop(status, "active", len(staying))
    status["ready"] = sum(map(is_ready, staying))
    status["terminating"] = len(look.terminating) + len(gone)
    return plan


def _told(conditions: Sequence[Condition]) -> Verdict | None:
    """The verdict that the status tells already; it is final."""
    pending = find(conditions, "FailureTarget") or find(conditions, "SuccessCriteriaMet")
    if pending is None or pending.get("status") != "True":
        return None
    is_failure = pending["type"] == "FailureTarget"
    return Verdict("Failed" if is_failure else "Complete", pending["reason"], pending["message"])


def _conclude(
    look: Look, verdict: Verdict, status: dict[str, Any], conditions: list[Condition], plan: JobPlan
) -> list[Condition]:  # fmt: skip
    """End the Job: the interim condition at once, the final one when no pod is left to wait for (KEP-3939)."""
    kind, reason, message = verdict
    first = "FailureTarget" if kind == "Failed" else "SuccessCriteriaMet"
    conditions = _with(conditions, first, "True", reason, message, look.now)
    release_all(look, status, plan, is_failed=kind == "Failed")
    plan.delete = list(look.active)
    uncounted = status.get("uncountedTerminatedPods") or {}
    if any(map(has_finalizer, look.pods)) or any(uncounted.values()) or look.active or look.terminating:
        return conditions
    if kind == "Complete":
        status["completionTime"] = format_time(look.now)
        plan.events.append(("Normal", "Completed", "Job completed"))
    else:
        plan.events.append(("Warning", reason, message))
    return _with(conditions, kind, "True", reason, message, look.now)


def _go_on(
    look: Look, status: dict[str, Any], conditions: list[Condition], plan: JobPlan, *, may_manage: bool
) -> list[Condition]:  # fmt: skip
    if find(conditions, "Suspended") is not None:
        resumed = _set_suspended(conditions, False, look.now, plan)
        if resumed != conditions:
            status["startTime"] = format_time(look.now)
        conditions = resumed
    if may_manage:
        manage(look, status, plan)
        leaving = {uid_of(pod) for pod in plan.delete}
        plan.hold = [pod for pod in look.active if not has_finalizer(pod) and uid_of(pod) not in leaving]
    _plan_deadline(look, status, plan)
    return conditions


def _set_suspended(conditions: list[Condition], suspended: bool, now: datetime, plan: JobPlan) -> list[Condition]:
    current = find(conditions, "Suspended")
    if (current is not None and current.get("status") == "True") == suspended:
        return conditions
    reason, message = ("JobSuspended", "Job suspended") if suspended else ("JobResumed", "Job resumed")
    plan.events.append(("Normal", "Suspended" if suspended else "Resumed", message))
    return _with(conditions, "Suspended", str(suspended), reason, message, now)


def _with(
    conditions: list[Condition], condition_type: str, status: str, reason: str, message: str, now: datetime
) -> list[Condition]:
    """The conditions with this one, unless it has that status already; those of Jobs carry two times."""
    current = find(conditions, condition_type)
    if current is not None and current.get("status") == status:
        return conditions
    stamp = format_time(now)
    new = condition(condition_type, status, reason, message, stamp)
    return with_condition(conditions, {**new, "lastProbeTime": stamp})


def _plan_deadline(look: Look, status: dict[str, Any], plan: JobPlan) -> None:
    seconds, started = look.spec.get("activeDeadlineSeconds"), time_of(status.get("startTime"))
    if seconds is not None and started is not None:
        left = (started - look.now).total_seconds() + seconds
        plan.again_seconds = left if plan.again_seconds is None else min(left, plan.again_seconds)
