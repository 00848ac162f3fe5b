"""Everything that is decided about a Job in one look at it and its pods. Pure.

Finished pods are counted exactly once although pods can be deleted at any time: a finished pod holds
the finalizer `batch.kubernetes.io/job-tracking`; its uid is first written to
`status.uncountedTerminatedPods`, then the finalizer is removed, and only then it moves from there
into the counters (KEP-2307). Indexes of Indexed Jobs need no such list: a set cannot count twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, field

from orchestrator.aiokit.clock import format_time
from orchestrator.api.objects import (
    Object,
    annotations_of,
    copy_object,
    is_terminating,
    name_of,
    uid_of,
)
from orchestrator.controllers.conditions import condition, find, with_condition
from orchestrator.controllers.job.failures import Judgement, finished_at, judge, restarts
from orchestrator.controllers.job.indexes import INDEX_ANNOTATION, format_indexes, index_of, parse_indexes
from orchestrator.controllers.pods import is_finished, is_ready, phase_of, pod_from_template, time_of
from orchestrator.controllers.replicas import deletion_rank

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX_FAILURE_COUNT = "batch.kubernetes.io/job-index-failure-count"
INDEX_IGNORED_FAILURE_COUNT = "batch.kubernetes.io/job-index-ignored-failure-count"
INDEX_ENV = "JOB_COMPLETION_INDEX"
MANAGED_BY = "kubernetes.io/job-controller"

PODS_PER_SYNC_MAX = 500
UNCOUNTED_MAX = 500
BACKOFF_SECONDS = 10.0
BACKOFF_SECONDS_MAX = 600.0


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


class _Look:
    """The facts of one look; each property of the plan is derived from them."""

    def __init__(self, job: Object, pods: Sequence[Object], now: datetime) -> None:
        self.job, self.now = job, now
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


def plan_job(job: Object, pods: Sequence[Object], now: datetime, *, may_manage: bool = True) -> JobPlan:
    """What follows for a Job from its pods. `may_manage`: the cache shows all our own writes."""
    look = _Look(job, pods, now)
    old = job.get("status") or {}
    status: dict[str, Any] = copy_object(old)
    plan = JobPlan(status)
    if finished_condition(old):
        plan.release = [pod for pod in pods if has_finalizer(pod)]
        plan.delete = look.active
        return plan
    if not status.get("startTime") and not look.spec.get("suspend"):
        status["startTime"] = format_time(now)
    ended = _end_of(look, status)
    _count(look, status, plan)
    succeeded, failed = _totals(look, status)
    conditions = list(status.get("conditions") or ())
    verdict = ended or _judge_job(look, status, succeeded, failed)
    pending = find(conditions, "FailureTarget") or find(conditions, "SuccessCriteriaMet")
    if pending is not None and pending.get("status") == "True":
        verdict = (
            "Failed" if pending["type"] == "FailureTarget" else "Complete",
            pending["reason"],
            pending["message"],
        )
    is_suspended = bool(look.spec.get("suspend"))
    if verdict is not None:
        kind, reason, message = verdict
        first = "FailureTarget" if kind == "Failed" else "SuccessCriteriaMet"
        stamp = format_time(now)
        conditions = with_condition(conditions, condition(first, "True", reason, message, stamp))
        plan.delete = list(look.active)
        uncounted = status.get("uncountedTerminatedPods") or {}
        is_settled = not any(has_finalizer(pod) for pod in pods) and not any(uncounted.values())
        if is_settled and not look.active and not look.terminating:
            conditions = with_condition(conditions, condition(kind, "True", reason, message, stamp))
            if kind == "Complete":
                status["completionTime"] = stamp
                plan.events.append(("Normal", "Completed", "Job completed"))
            else:
                plan.events.append(("Warning", reason, message))
    elif is_suspended:
        conditions = _set_suspended(conditions, True, now, plan)
        _discard(plan, look.active)
        status.pop("startTime", None)
    else:
        if find(conditions, "Suspended") is not None:
            resumed = _set_suspended(conditions, False, now, plan)
            if resumed != conditions:
                status["startTime"] = format_time(now)
            conditions = resumed
        if may_manage and not is_terminating(job):
            _manage(look, status, succeeded, plan)
            leaving = {uid_of(pod) for pod in plan.delete}
            plan.hold = [pod for pod in look.active if not has_finalizer(pod) and uid_of(pod) not in leaving]
        _plan_deadline(look, status, plan)
    if conditions:
        status["conditions"] = conditions
    gone = {uid_of(pod) for pod in plan.delete}
    _set(status, "active", sum(uid_of(pod) not in gone for pod in look.active))
    _set(status, "ready", sum(is_ready(pod) and uid_of(pod) not in gone for pod in look.active), keep_zero=True)
    _set(status, "terminating", len(look.terminating) + len(gone), keep_zero=True)
    return plan


def _set(status: dict[str, Any], name: str, value: int, *, keep_zero: bool = False) -> None:
    if value or keep_zero:
        status[name] = value
    else:
        status.pop(name, None)


def _set_suspended(conditions: list[dict[str, Any]], suspended: bool, now: datetime, plan: JobPlan) -> list[Any]:
    current = find(conditions, "Suspended")
    if (current is not None and current.get("status") == "True") == suspended:
        return conditions
    reason, message = ("JobSuspended", "Job suspended") if suspended else ("JobResumed", "Job resumed")
    plan.events.append(("Normal", "Suspended" if suspended else "Resumed", message))
    return with_condition(conditions, condition("Suspended", str(suspended), reason, message, format_time(now)))


# Counting.


def _count(look: _Look, status: dict[str, Any], plan: JobPlan) -> None:
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
    completed = _indexes(look, status, "completedIndexes")
    failed_indexes = _indexes(look, status, "failedIndexes")
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
        _set_text(status, "completedIndexes", format_indexes(completed))
        if look.spec.get("backoffLimitPerIndex") is not None:
            status["failedIndexes"] = format_indexes(failed_indexes - completed)
        if completed:
            status["succeeded"] = len(completed)
    status["uncountedTerminatedPods"] = {name: uids for name, uids in uncounted.items() if uids}


def _set_text(status: dict[str, Any], name: str, text: str) -> None:
    if text:
        status[name] = text
    else:
        status.pop(name, None)


def _indexes(look: _Look, status: dict[str, Any], name: str) -> set[int]:
    return parse_indexes(status.get(name) or "", look.completions or 0) if look.indexed else set()


def _is_index_failed(look: _Look, pod: Object, judgement: Judgement) -> bool:
    limit = look.spec.get("backoffLimitPerIndex")
    if limit is None:
        return False
    return judgement.action == "FailIndex" or _failure_count(pod) >= limit


def _failure_count(pod: Object) -> int:
    text = annotations_of(pod).get(INDEX_FAILURE_COUNT, "0")
    return int(text) if text.isdecimal() else 0


def _totals(look: _Look, status: dict[str, Any]) -> tuple[int, int]:
    uncounted = status.get("uncountedTerminatedPods") or {}
    succeeded = (status.get("succeeded") or 0) + len(uncounted.get("succeeded") or ())
    return succeeded, (status.get("failed") or 0) + len(uncounted.get("failed") or ())


# Verdicts.


def _end_of(look: _Look, status: dict[str, Any]) -> tuple[str, str, str] | None:
    """FailJob of the pod failure policy, before pods are counted and lose their finalizer."""
    if not look.spec.get("podFailurePolicy"):
        return None
    for pod in look.pods:
        if phase_of(pod) == "Failed" and has_finalizer(pod):
            judgement = judge(look.job, pod)
            if judgement.action == "FailJob":
                return ("Failed", "PodFailurePolicy", judgement.message)
    return None


def _judge_job(look: _Look, status: dict[str, Any], succeeded: int, failed: int) -> tuple[str, str, str] | None:
    """Whether the Job is over: (Complete or Failed, reason, message)."""
    spec = look.spec
    if _is_past_deadline(look, status):
        return ("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    by_success = _match_success_policy(look, status)
    if by_success is not None:
        return ("Complete", "SuccessPolicy", f"Matched rules at index {by_success}")
    limit = spec.get("backoffLimit", 6)
    if failed > limit or _has_too_many_restarts(look, limit):
        return ("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if look.indexed and spec.get("backoffLimitPerIndex") is not None:
        failed_indexes = _indexes(look, status, "failedIndexes")
        most = spec.get("maxFailedIndexes")
        if most is not None and len(failed_indexes) > most:
            message = "Job has exceeded the specified maximal number of failed indexes"
            return ("Failed", "MaxFailedIndexesExceeded", message)
        if failed_indexes and succeeded + len(failed_indexes) >= (look.completions or 0) and not look.active:
            return ("Failed", "FailedIndexes", "Job has failed indexes")
    if look.completions is None:
        # A work queue: one success means that the queue is empty, the others only finish.
        is_done = succeeded > 0 and not look.active and not look.terminating
    else:
        is_done = succeeded >= look.completions
    if is_done:
        return ("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
    return None


def _is_past_deadline(look: _Look, status: dict[str, Any]) -> bool:
    seconds, started = look.spec.get("activeDeadlineSeconds"), time_of(status.get("startTime"))
    if seconds is None or started is None or look.spec.get("suspend"):
        return False
    return look.now - started >= timedelta(seconds=seconds)


def _plan_deadline(look: _Look, status: dict[str, Any], plan: JobPlan) -> None:
    seconds, started = look.spec.get("activeDeadlineSeconds"), time_of(status.get("startTime"))
    if seconds is not None and started is not None:
        left = (started - look.now).total_seconds() + seconds
        plan.again_seconds = left if plan.again_seconds is None else min(left, plan.again_seconds)


def _has_too_many_restarts(look: _Look, limit: int) -> bool:
    if (look.spec["template"].get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    total = sum(restarts(pod) for pod in look.active if phase_of(pod) in ("Running", "Pending"))
    return total > 0 if limit == 0 else total >= limit


def _match_success_policy(look: _Look, status: dict[str, Any]) -> int | None:
    rules = (look.spec.get("successPolicy") or {}).get("rules") or ()
    completed = _indexes(look, status, "completedIndexes") if rules else set()
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


# Pods to create and delete.


def _manage(look: _Look, status: dict[str, Any], succeeded: int, plan: JobPlan) -> None:
    active = list(look.active)
    if look.indexed:
        duplicates = _duplicates(look, active)
        _discard(plan, duplicates)
        active = [pod for pod in active if pod not in duplicates]
    busy = len(active) + (len(look.terminating) if look.only_replaces_failed else 0)
    if look.completions is None:
        wanted = len(active) if succeeded else look.parallelism
    else:
        wanted = min(max(0, look.completions - succeeded), look.parallelism)
    if len(active) > wanted:
        ranked = sorted(active, key=lambda pod: deletion_rank(pod, 0, look.now))
        _discard(plan, ranked[: len(active) - wanted])
        return
    missing = min(wanted - busy, PODS_PER_SYNC_MAX)
    if missing <= 0:
        return
    if look.indexed:
        _create_indexed(look, status, active, missing, plan)
        return
    wait = _backoff([pod for pod in look.pods if look.has_failed(pod)], look)
    if wait > 0:
        plan.again_seconds = wait
        return
    plan.create = [pod_for(look.job, None) for _ in range(missing)]


def _discard(plan: JobPlan, pods: Sequence[Object]) -> None:
    """Delete pods that are not needed: without their finalizer first, so that they never count as failed."""
    plan.release += [pod for pod in pods if has_finalizer(pod)]
    plan.delete += pods


def _duplicates(look: _Look, active: Sequence[Object]) -> list[Object]:
    seen: set[int] = set()
    surplus: list[Object] = []
    for pod in sorted(active, key=lambda one: deletion_rank(one, 0, look.now), reverse=True):
        index = index_of(pod)
        if index is None or index in seen or index >= (look.completions or 0):
            surplus.append(pod)
        else:
            seen.add(index)
    return surplus


def _create_indexed(look: _Look, status: dict[str, Any], active: Sequence[Object], missing: int, plan: JobPlan) -> None:
    taken = {index_of(pod) for pod in active}
    if look.only_replaces_failed:
        taken |= {index_of(pod) for pod in look.terminating}
    taken |= _indexes(look, status, "completedIndexes") | _indexes(look, status, "failedIndexes")
    per_index = look.spec.get("backoffLimitPerIndex") is not None
    failed = [pod for pod in look.pods if look.has_failed(pod)]
    if not per_index and (wait := _backoff(failed, look)) > 0:
        plan.again_seconds = wait
        return
    waits: list[float] = []
    for index in range(look.completions or 0):
        if len(plan.create) >= missing:
            break
        if index in taken:
            continue
        mine = [pod for pod in failed if index_of(pod) == index] if per_index else []
        last = max(mine, key=lambda pod: (_failure_count(pod), finished_at(pod)), default=None)
        if last is not None:
            wait = _delay(_failure_count(last) + 1, finished_at(last), look.now)
            if wait > 0:
                waits.append(wait)
                continue
        pod = pod_for(look.job, index)
        if per_index:
            count = 0 if last is None else _failure_count(last) + (judge(look.job, last).action != "Ignore")
            pod["metadata"]["annotations"][INDEX_FAILURE_COUNT] = str(count)
        plan.create.append(pod)
    if waits:
        plan.again_seconds = min(waits)


def _backoff(failed: Sequence[Object], look: _Look) -> float:
    """Seconds to wait before the next pod: 10 s, doubled with each failure since the last success, up to 10 min."""
    if not failed:
        return 0.0
    successes = [finished_at(pod) for pod in look.pods if phase_of(pod) == "Succeeded"]
    last_success = max(successes, default=None)
    recent = [finished_at(pod) for pod in failed]
    if last_success is not None:
        recent = [moment for moment in recent if moment > last_success]
    if not recent:
        return 0.0
    return _delay(len(recent), max(recent), look.now)


def _delay(failures: int, since: datetime, now: datetime) -> float:
    seconds = min(BACKOFF_SECONDS * 2.0 ** min(failures - 1, 20), BACKOFF_SECONDS_MAX)
    return max(0.0, seconds - (now - since).total_seconds())


def pod_for(job: Object, index: int | None) -> Object:
    """A pod of the Job, with tracking finalizer; for an index also annotation, label, hostname and environment."""
    prefix = name_of(job) if index is None else f"{name_of(job)}-{index}"
    pod = pod_from_template(job["spec"]["template"], job, prefix=prefix)
    metadata = pod["metadata"]
    metadata["finalizers"] = [*(metadata.get("finalizers") or ()), FINALIZER]
    if index is None:
        return pod
    metadata.setdefault("annotations", {})[INDEX_ANNOTATION] = str(index)
    metadata.setdefault("labels", {})[INDEX_ANNOTATION] = str(index)
    pod["spec"]["hostname"] = f"{name_of(job)}-{index}"
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX_ANNOTATION}']"}}
    for container in [*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ())]:
        env = container.setdefault("env", [])
        if not any(variable["name"] == INDEX_ENV for variable in env):
            env.append({"name": INDEX_ENV, "valueFrom": source})
    return pod
