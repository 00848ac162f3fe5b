"""Status and conditions of a Deployment: what `kubectl rollout status` waits for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from orchestrator.aiokit.clock import format_time
from orchestrator.api.objects import Object, name_of
from orchestrator.controllers.conditions import Condition, find, without
from orchestrator.controllers.deployment.rollout import available_of, max_unavailable, replicas_of, total_size
from orchestrator.controllers.pods import time_of

NEW_REPLICA_SET = "NewReplicaSetCreated"
FOUND_REPLICA_SET = "FoundNewReplicaSet"
REPLICA_SET_UPDATED = "ReplicaSetUpdated"
NEW_REPLICA_SET_AVAILABLE = "NewReplicaSetAvailable"
CREATE_ERROR = "ReplicaSetCreateError"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED = "DeploymentPaused"
RESUMED = "DeploymentResumed"

_NO_DEADLINE = 2**31 - 1
Status = dict[str, Any]


def has_deadline(deployment: Object) -> bool:
    """Whether `progressDeadlineSeconds` is set to something that can pass."""
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return seconds is not None and seconds != _NO_DEADLINE


def condition(condition_type: str, status: str, reason: str, message: str, now: datetime) -> Condition:
    """A Deployment condition, which also has a `lastUpdateTime`."""
    stamp = format_time(now)
    return {
        "type": condition_type,
        "status": status,
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
        "reason": reason,
        "message": message,
    }


def set_condition(conditions: Sequence[Condition], new: Condition) -> list[Condition]:
    """The conditions with this one; nothing changes when status and reason are the same."""
    current = find(conditions, new["type"])
    if current is not None and current.get("status") == new["status"]:
        if current.get("reason") == new["reason"]:
            return list(conditions)
        new = {**new, "lastTransitionTime": current["lastTransitionTime"]}
    return [*without(conditions, new["type"]), new]


def conditions_of(deployment: Object) -> list[Condition]:
    """A fresh list of the Deployment's conditions."""
    return list((deployment.get("status") or {}).get("conditions") or ())


def plan_status(deployment: Object, replica_sets: Sequence[Object], new: Object | None, now: datetime) -> Status:
    """The status that follows from the ReplicaSets, with the Available condition but progress untouched."""
    old = deployment.get("status") or {}
    wanted = replicas_of(deployment)
    available = sum(map(available_of, replica_sets))
    counts = {
        "observedGeneration": deployment["metadata"].get("generation") or 0,
        "replicas": _sum(replica_sets, "replicas"),
        "updatedReplicas": _sum([new] if new is not None else [], "replicas"),
        "readyReplicas": _sum(replica_sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, total_size(replica_sets) - available),
    }
    status: Status = {name: value for name, value in counts.items() if value}
    reported = [rs for rs in replica_sets if (rs.get("status") or {}).get("terminatingReplicas") is not None]
    if len(reported) == len(replica_sets):
        status["terminatingReplicas"] = _sum(reported, "terminatingReplicas")
    if old.get("collisionCount") is not None:
        status["collisionCount"] = old["collisionCount"]
    if available >= wanted - max_unavailable(deployment):
        verdict = condition(
            "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now
        )
    else:
        verdict = condition(
            "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now
        )
    status["conditions"] = set_condition(conditions_of(deployment), verdict)
    return status


def _sum(replica_sets: Sequence[Object], field: str) -> int:
    return sum((rs.get("status") or {}).get(field) or 0 for rs in replica_sets)


def is_complete(deployment: Object, status: Status) -> bool:
    """Whether all replicas are of the new template and available, and no old one is left."""
    wanted = replicas_of(deployment)
    return bool(
        status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
        and status.get("observedGeneration", 0) >= (deployment["metadata"].get("generation") or 0)
    )


def is_progressing(deployment: Object, status: Status) -> bool:
    """Whether something got better since the last status."""
    old = deployment.get("status") or {}

    def grew(field: str) -> bool:
        return bool(status.get(field, 0) > (old.get(field) or 0))

    old_left = (old.get("replicas") or 0) - (old.get("updatedReplicas") or 0)
    left = status.get("replicas", 0) - status.get("updatedReplicas", 0)
    return grew("updatedReplicas") or left < old_left or grew("readyReplicas") or grew("availableReplicas")


def has_timed_out(deployment: Object, status: Status, now: datetime) -> bool:
    """Whether nothing got better for `progressDeadlineSeconds`."""
    current = find(status.get("conditions") or (), "Progressing")
    if not has_deadline(deployment) or current is None or current.get("reason") == NEW_REPLICA_SET_AVAILABLE:
        return False
    if current.get("reason") == TIMED_OUT:
        return True
    since = time_of(current.get("lastUpdateTime"))
    seconds = deployment["spec"]["progressDeadlineSeconds"]
    return since is not None and since + timedelta(seconds=seconds) < now


def plan_rollout_status(
    deployment: Object, replica_sets: Sequence[Object], new: Object | None, now: datetime
) -> Status:
    """`plan_status` plus the Progressing and ReplicaFailure conditions of a running rollout."""
    status = plan_status(deployment, replica_sets, new, now)
    conditions: list[Condition] = status["conditions"]
    if not has_deadline(deployment):
        conditions = without(conditions, "Progressing")
    current = find(conditions, "Progressing")
    settled = (
        status.get("replicas", 0) == status.get("updatedReplicas", 0)
        and current is not None
        and current.get("reason") == NEW_REPLICA_SET_AVAILABLE
    )
    if has_deadline(deployment) and not settled:
        what = f'ReplicaSet "{name_of(new)}"' if new is not None else f'Deployment "{name_of(deployment)}"'
        if is_complete(deployment, status):
            message = f"{what} has successfully progressed."
            conditions = set_condition(
                conditions, condition("Progressing", "True", NEW_REPLICA_SET_AVAILABLE, message, now)
            )
        elif is_progressing(deployment, status):
            update = condition("Progressing", "True", REPLICA_SET_UPDATED, f"{what} is progressing.", now)
            if current is not None and current.get("status") == "True":
                update["lastTransitionTime"] = current["lastTransitionTime"]
            # Replaced even when equal: lastUpdateTime is what the deadline counts from.
            conditions = [*without(conditions, "Progressing"), update]
        elif has_timed_out(deployment, status, now):
            message = f"{what} has timed out progressing."
            conditions = set_condition(conditions, condition("Progressing", "False", TIMED_OUT, message, now))
    failure = _replica_failure(replica_sets, new, now)
    conditions = set_condition(conditions, failure) if failure else without(conditions, "ReplicaFailure")
    status["conditions"] = conditions
    return status


def _replica_failure(replica_sets: Sequence[Object], new: Object | None, now: datetime) -> Condition | None:
    ordered = ([new] if new is not None else []) + [rs for rs in replica_sets if rs is not new]
    for rs in ordered:
        failure = find((rs.get("status") or {}).get("conditions") or (), "ReplicaFailure")
        if failure is not None and failure.get("status") == "True":
            return {
                **condition("ReplicaFailure", "True", failure.get("reason", ""), failure.get("message", ""), now),
                "lastTransitionTime": failure["lastTransitionTime"],
            }
    return None


def seconds_to_deadline(deployment: Object, status: Status, now: datetime) -> float | None:
    """When to look whether the deadline passed; None when there is nothing to wait for."""
    current = find(status.get("conditions") or (), "Progressing")
    if (
        not has_deadline(deployment)
        or current is None
        or is_complete(deployment, status)
        or current.get("reason") in (TIMED_OUT, PAUSED, NEW_REPLICA_SET_AVAILABLE)
    ):
        return None
    since = time_of(current.get("lastUpdateTime"))
    if since is None:
        return None
    left: float = (since - now).total_seconds() + deployment["spec"]["progressDeadlineSeconds"]
    return max(left, 0.0) + 1.0  # times in status have whole seconds


def plan_paused_condition(deployment: Object, now: datetime) -> Condition | None:
    """The Progressing condition that pausing or resuming asks for; None when it is as it should be."""
    if not has_deadline(deployment):
        return None
    current = find(conditions_of(deployment), "Progressing")
    if current is not None and current.get("reason") == TIMED_OUT:
        return None  # a failed rollout stays failed
    is_paused = bool(deployment["spec"].get("paused"))
    says_paused = current is not None and current.get("reason") == PAUSED
    if is_paused and not says_paused:
        return condition("Progressing", "Unknown", PAUSED, "Deployment is paused", now)
    if not is_paused and says_paused:
        return condition("Progressing", "Unknown", RESUMED, "Deployment is resumed", now)
    return None
