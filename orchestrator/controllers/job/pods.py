"""Which pods a Job creates and deletes, and what they look like. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from orchestrator.api.objects import Object, is_terminating, name_of, uid_of
from orchestrator.controllers.job.counting import totals
from orchestrator.controllers.job.failures import finished_at, judge
from orchestrator.controllers.job.indexes import INDEX_ANNOTATION, index_of
from orchestrator.controllers.job.state import (
    FINALIZER,
    INDEX_FAILURE_COUNT,
    INDEX_IGNORED_FAILURE_COUNT,
    JobPlan,
    Look,
    failure_count,
    has_finalizer,
)
from orchestrator.controllers.pods import NAME_PREFIX_MAX, phase_of, pod_from_template
from orchestrator.controllers.replicas import deletion_rank

INDEX_ENV = "JOB_COMPLETION_INDEX"
PODS_PER_SYNC_MAX = 500
BACKOFF_SECONDS = 10.0
BACKOFF_SECONDS_MAX = 600.0
FAILURES_REMEMBERED_MAX = 10
"""More of them make no pod wait any longer."""


def manage(look: Look, status: dict[str, Any], plan: JobPlan) -> None:
    """Plan the pods that are missing, or those that are too many."""
    succeeded, _ = totals(status)
    active = list(look.active)
    if look.indexed:
        duplicates = _duplicates(look, active)
        discard(plan, duplicates)
        active = [pod for pod in active if pod not in duplicates]
    busy = len(active) + (len(look.terminating) if look.only_replaces_failed else 0)
    if look.completions is None:
        wanted = len(active) if succeeded else look.parallelism
    else:
        wanted = min(max(0, look.completions - succeeded), look.parallelism)
    if len(active) > wanted:
        ranked = sorted(active, key=lambda pod: deletion_rank(pod, 0, look.now))
        discard(plan, ranked[: len(active) - wanted])
        return
    missing = min(wanted - busy, PODS_PER_SYNC_MAX)
    if missing <= 0:
        return
    if look.indexed:
        _create_indexed(look, status, active, missing, plan)
        return
    wait = _backoff(look)
    if wait > 0:
        plan.again_seconds = wait
        return
    plan.create = [pod_for(look.job, None) for _ in range(missing)]


def discard(plan: JobPlan, pods: Sequence[Object]) -> None:
    """Delete pods that are not needed: without their finalizer first, so that they never count as failed."""
    plan.release += [pod for pod in pods if has_finalizer(pod)]
    plan.delete += pods


def _duplicates(look: Look, active: Sequence[Object]) -> list[Object]:
    seen: set[int] = set()
    surplus: list[Object] = []
    for pod in sorted(active, key=lambda one: deletion_rank(one, 0, look.now), reverse=True):
        index = index_of(pod)
        if index is None or index in seen or index >= (look.completions or 0):
            surplus.append(pod)
        else:
            seen.add(index)
    return surplus


def _create_indexed(look: Look, status: dict[str, Any], active: Sequence[Object], missing: int, plan: JobPlan) -> None:
    taken = {index_of(pod) for pod in active}
    if look.only_replaces_failed:
        taken |= {index_of(pod) for pod in look.terminating}
    taken |= look.indexes(status, "completedIndexes") | look.indexes(status, "failedIndexes")
    per_index = look.spec.get("backoffLimitPerIndex") is not None
    failed = [pod for pod in look.pods if has_finalizer(pod) and look.has_failed(pod)]
    if not per_index and (wait := _backoff(look)) > 0:
        plan.again_seconds = wait
        return
    waits: list[float] = []
    # An index that has to wait keeps its place among those that may run: the ones behind it do not overtake it.
    pending = islice((index for index in range(look.completions or 0) if index not in taken), missing)
    for index in pending:
        mine = [pod for pod in failed if index_of(pod) == index] if per_index else []
        last = max(mine, key=lambda pod: (failure_count(pod), finished_at(pod)), default=None)
        if last is not None:
            wait = _delay(sum(_failures_after(look, last)), finished_at(last), look.now)
            if wait > 0:
                waits.append(wait)
                continue
        pod = pod_for(look.job, index)
        if per_index:
            counted, ignored = (0, 0) if last is None else _failures_after(look, last)
            pod["metadata"]["annotations"][INDEX_FAILURE_COUNT] = str(counted)
            if ignored:
                pod["metadata"]["annotations"][INDEX_IGNORED_FAILURE_COUNT] = str(ignored)
        plan.create.append(pod)
    if waits:
        plan.again_seconds = min(waits)


def _failures_after(look: Look, pod: Object) -> tuple[int, int]:
    """How often an index failed, this failed pod included: (what counts, what the failure policy ignores)."""
    is_ignored = judge(look.job, pod).action == "Ignore"
    return (
        failure_count(pod) + (not is_ignored),
        failure_count(pod, INDEX_IGNORED_FAILURE_COUNT) + is_ignored,
    )


def plan_memory(look: Look) -> dict[str, datetime]:
    """When pods failed since the last success, by uid, those included that are gone.

    A pod that was let go (its finalizer went before it was deleted) did not fail.
    """
    failures = dict(look.remembered)
    for pod in look.pods:
        if look.has_failed(pod) and (has_finalizer(pod) or not is_terminating(pod)):
            failures[uid_of(pod)] = finished_at(pod)
    last_success = max((finished_at(pod) for pod in look.pods if phase_of(pod) == "Succeeded"), default=None)
    if last_success is not None:
        failures = {uid: moment for uid, moment in failures.items() if moment > last_success}
    return dict(sorted(failures.items(), key=lambda item: item[1])[-FAILURES_REMEMBERED_MAX:])


def _backoff(look: Look) -> float:
    """Seconds to wait before the next pod: 10 s, doubled with each failure since the last success, up to 10 min."""
    failures = plan_memory(look)
    return _delay(len(failures), max(failures.values()), look.now) if failures else 0.0


def _delay(failures: int, since: datetime, now: datetime) -> float:
    seconds = min(BACKOFF_SECONDS * 2.0 ** min(failures - 1, 20), BACKOFF_SECONDS_MAX)
    return max(0.0, seconds - (now - since).total_seconds())


def pod_for(job: Object, index: int | None) -> Object:
    """A pod of the Job, with tracking finalizer; for an index also annotation, label, hostname and environment."""
    prefix = name_of(job)
    if index is not None:
        # Cut before the index, so that it stays in the name of a pod of a Job with a long one.
        prefix = f"{prefix[: NAME_PREFIX_MAX - len(f'-{index}-')]}-{index}"
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
