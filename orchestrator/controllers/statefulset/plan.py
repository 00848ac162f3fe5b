"""Which pods of a StatefulSet to create, delete and repair now. Pure.

Vocabulary: *replicas* have an ordinal that should exist, *condemned* pods one that should not. A pod
is *healthy* when it runs, is ready and is not being deleted. With OrderedReady, one step is made at a
time: the first thing that has to be waited for ends the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from orchestrator.api.intstr import scaled_value
from orchestrator.api.objects import Object, is_terminating, labels_of, name_of
from orchestrator.controllers.history import REVISION_LABEL, template_of
from orchestrator.controllers.pods import available_in_seconds, is_available, is_ready, phase_of
from orchestrator.controllers.statefulset.identity import (
    new_pod,
    ordinal_of,
    ordinals_of,
    plan_labels,
    revision_of,
    start_of,
)


class StatefulSetPlan(Struct):
    """What to do, in this order: claims, owners of claims, labels, creations, deletions."""

    create: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    relabel: list[Object] = field(default_factory=list)
    claims_for: list[Object] = field(default_factory=list)
    """Pods that exist but wait for claims which may be missing."""
    again_seconds: float | None = None


def is_ordered(stateful_set: Object) -> bool:
    """Whether pods come and go one by one."""
    return (stateful_set["spec"].get("podManagementPolicy") or "OrderedReady") == "OrderedReady"


def _strategy(stateful_set: Object) -> tuple[str, dict[str, Any]]:
    strategy = stateful_set["spec"].get("updateStrategy") or {}
    return strategy.get("type") or "RollingUpdate", strategy.get("rollingUpdate") or {}


def partition_of(stateful_set: Object) -> int:
    """Ordinals from `start + partition` on are updated."""
    return int(_strategy(stateful_set)[1].get("partition") or 0)


def max_unavailable(stateful_set: Object) -> int:
    """How many pods may be unavailable during an update; at least 1 (KEP-961)."""
    value = _strategy(stateful_set)[1].get("maxUnavailable", 1)
    return max(1, scaled_value(value, len(ordinals_of(stateful_set)), round_up=False))


def _min_ready_seconds(stateful_set: Object) -> int:
    return int(stateful_set["spec"].get("minReadySeconds") or 0)


def _is_running_and_ready(pod: Object) -> bool:
    return phase_of(pod) == "Running" and is_ready(pod)


def plan_pods(
    stateful_set: Object, pods: Sequence[Object], current: Object, update: Object, now: datetime
) -> StatefulSetPlan:
    """One look at the pods of a set, with its current and its update revision."""
    plan = StatefulSetPlan()
    wanted = ordinals_of(stateful_set)
    by_ordinal = {ordinal_of(pod): pod for pod in pods}
    replicas = [by_ordinal.get(ordinal) for ordinal in wanted]
    condemned = [by_ordinal[ordinal] for ordinal in sorted(by_ordinal, reverse=True) if ordinal not in wanted]
    _plan_waits(stateful_set, pods, plan, now)
    if not _plan_replicas(stateful_set, replicas, current, update, plan, now):
        return plan
    if not _plan_condemned(stateful_set, replicas, condemned, plan, now):
        return plan
    if _strategy(stateful_set)[0] == "RollingUpdate" and not plan.create:
        _plan_update(stateful_set, [pod for pod in replicas if pod is not None], update, plan, now)
    return plan


def _plan_waits(stateful_set: Object, pods: Sequence[Object], plan: StatefulSetPlan, now: datetime) -> None:
    seconds = _min_ready_seconds(stateful_set)
    waits = [available_in_seconds(pod, seconds, now) for pod in pods if not is_terminating(pod)]
    plan.again_seconds = min((wait for wait in waits if wait), default=None)


def _plan_replicas(
    stateful_set: Object,
    replicas: Sequence[Object | None],
    current: Object,
    update: Object,
    plan: StatefulSetPlan,
    now: datetime,
) -> bool:
    """Create what is missing, replace what ended; False when the rest has to wait."""
    ordered = is_ordered(stateful_set)
    for ordinal, pod in zip(ordinals_of(stateful_set), replicas, strict=True):
        if pod is None:
            plan.create.append(_versioned_pod(stateful_set, current, update, ordinal))
            if ordered:
                return False
            continue
        if phase_of(pod) in ("Failed", "Succeeded"):
            # Its name is free only when it is gone; the new pod follows then.
            if not is_terminating(pod):
                plan.delete.append(pod)
            if ordered:
                return False
            continue
        if phase_of(pod) == "Pending":
            plan.claims_for.append(pod)
        if ordered and (is_terminating(pod) or not _is_available(stateful_set, pod, now)):
            return False
        if plan_labels(pod) and not is_terminating(pod):
            plan.relabel.append(pod)
    return True


def _versioned_pod(stateful_set: Object, current: Object, update: Object, ordinal: int) -> Object:
    strategy, _ = _strategy(stateful_set)
    is_held_back = strategy == "RollingUpdate" and ordinal < start_of(stateful_set) + partition_of(stateful_set)
    revision = current if is_held_back else update
    return new_pod(stateful_set, template_of(revision), name_of(revision), ordinal)


def _is_available(stateful_set: Object, pod: Object, now: datetime) -> bool:
    return _is_running_and_ready(pod) and is_available(pod, _min_ready_seconds(stateful_set), now)


def _plan_condemned(
    stateful_set: Object,
    replicas: Sequence[Object | None],
    condemned: Sequence[Object],
    plan: StatefulSetPlan,
    now: datetime,
) -> bool:
    """Delete what should not be, the highest ordinal first; False when the rest has to wait."""
    if not is_ordered(stateful_set):
        plan.delete += [pod for pod in condemned if not is_terminating(pod)]
        return True
    everything = [pod for pod in replicas if pod is not None] + sorted(condemned, key=ordinal_of)
    unhealthy = [pod for pod in everything if is_terminating(pod) or not _is_available(stateful_set, pod, now)]
    first_unhealthy = unhealthy[0] if unhealthy else None
    for pod in condemned:
        if is_terminating(pod):
            return False
        # A pod goes only while its predecessors are well; the first one that is not well may go itself.
        if not _is_available(stateful_set, pod, now) and pod is not first_unhealthy:
            return False
        plan.delete.append(pod)
        return False
    return True


def _plan_update(
    stateful_set: Object, replicas: Sequence[Object], update: Object, plan: StatefulSetPlan, now: datetime
) -> None:
    """Delete pods of older revisions from the highest ordinal down, within `maxUnavailable`."""
    first = start_of(stateful_set) + partition_of(stateful_set)
    in_reach = [pod for pod in reversed(replicas) if ordinal_of(pod) >= first]
    leaving = {name_of(pod) for pod in plan.delete}

    def is_well(pod: Object) -> bool:
        return not is_terminating(pod) and name_of(pod) not in leaving and _is_available(stateful_set, pod, now)

    most = max_unavailable(stateful_set)
    budget = most - sum(not is_well(pod) for pod in in_reach)
    for pod in in_reach:
        if revision_of(pod) == name_of(update) or is_terminating(pod) or name_of(pod) in leaving:
            if most == 1 and not is_well(pod):
                return  # one at a time also means in order
            continue
        if not is_well(pod):
            plan.delete.append(pod)  # it is unavailable already, and only the update may help it
        elif budget > 0:
            plan.delete.append(pod)
            budget -= 1
        else:
            continue
        if most == 1:
            return


def plan_status(
    stateful_set: Object,
    pods: Sequence[Object],
    current: Object,
    update: Object,
    collision_count: int | None,
    now: datetime,
) -> dict[str, Any]:
    """The status of a set; when every pod runs the update revision, that becomes the current one."""
    seconds = _min_ready_seconds(stateful_set)
    running = [pod for pod in pods if phase_of(pod) == "Running"]
    alive = [pod for pod in pods if not is_terminating(pod)]
    updated = sum(labels_of(pod).get(REVISION_LABEL) == name_of(update) for pod in alive)
    in_current = sum(labels_of(pod).get(REVISION_LABEL) == name_of(current) for pod in alive)
    ready = sum(is_ready(pod) for pod in running)
    current_name = name_of(current)
    replicas = len(ordinals_of(stateful_set))
    is_rolling = _strategy(stateful_set)[0] == "RollingUpdate"
    if is_rolling and updated == ready == len(pods) == replicas:
        in_current, current_name = updated, name_of(update)
    status: dict[str, Any] = {"replicas": len(pods)}
    status["availableReplicas"] = sum(is_available(pod, seconds, now) for pod in running)
    counts = {"readyReplicas": ready, "currentReplicas": in_current, "updatedReplicas": updated}
    status.update({name: count for name, count in counts.items() if count})
    status["currentRevision"] = current_name
    status["updateRevision"] = name_of(update)
    status["collisionCount"] = collision_count or 0
    status["observedGeneration"] = stateful_set["metadata"].get("generation") or 0
    if conditions := (stateful_set.get("status") or {}).get("conditions"):
        status["conditions"] = conditions
    return status
