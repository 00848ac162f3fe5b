"""Conditions of Deployments: what `kubectl rollout status` and `kubectl describe` read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.aiokit.clock import format_time
from orchestrator.controllers.conditions import find
from orchestrator.controllers.deployment import progress

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def rs(size: int, available: int | None = None) -> dict[str, Any]:
    available = size if available is None else available
    return {
        "metadata": {"name": "d-abc", "uid": "u"},
        "spec": {"replicas": size},
        "status": {
            "replicas": size,
            "readyReplicas": available,
            "availableReplicas": available,
            "terminatingReplicas": 0,
        },
    }


def deployment(replicas: int = 2, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "d", "generation": 3},
        "spec": {"replicas": replicas, "progressDeadlineSeconds": 600, **spec},
        "status": status or {},
    }


def progressing(status: str, reason: str, ago: int = 0) -> dict[str, Any]:
    stamp = format_time(NOW - timedelta(seconds=ago))
    return {
        "type": "Progressing",
        "status": status,
        "reason": reason,
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
        "message": "",
    }


def verdict(d: dict[str, Any], sets: list[dict[str, Any]], new: dict[str, Any] | None) -> tuple[str, str, str]:
    status = progress.plan_rollout_status(d, sets, new, NOW)
    c = find(status["conditions"], "Progressing")
    return (c["status"], c["reason"], c["message"]) if c else ("", "", "")


def test_a_finished_rollout() -> None:
    new = rs(2)
    status = progress.plan_rollout_status(deployment(), [new], new, NOW)
    conditions = {c["type"]: (c["status"], c["reason"], c["message"]) for c in status.pop("conditions")}
    assert status == {
        "observedGeneration": 3,
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 2,
        "terminatingReplicas": 0,
    }
    assert conditions == {
        "Available": ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        "Progressing": ("True", "NewReplicaSetAvailable", 'ReplicaSet "d-abc" has successfully progressed.'),
    }


def test_a_rollout_that_moves() -> None:
    new = rs(2, 1)
    d = deployment(status={"conditions": [progressing("True", "NewReplicaSetCreated", ago=500)]})
    assert verdict(d, [new], new) == ("True", "ReplicaSetUpdated", 'ReplicaSet "d-abc" is progressing.')


@pytest.mark.parametrize(
    ("reason", "ago", "expected"),
    [("ReplicaSetUpdated", 601, "ProgressDeadlineExceeded"), ("ReplicaSetUpdated", 599, "ReplicaSetUpdated")],
)
def test_a_rollout_that_is_stuck(reason: str, ago: int, expected: str) -> None:
    new = rs(2, 0)
    stuck = {"replicas": 2, "updatedReplicas": 2, "conditions": [progressing("True", reason, ago=ago)]}
    d = deployment(status=stuck)
    assert verdict(d, [new], new)[1] == expected


def test_without_deadline_there_is_no_progressing_condition() -> None:
    new = rs(2)
    d = deployment(status={"conditions": [progressing("True", "X")]}, progressDeadlineSeconds=None)
    assert verdict(d, [new], new) == ("", "", "")


def test_a_deployment_that_lost_pods_after_its_rollout_stays_available_as_rollout() -> None:
    new = rs(2, 1)
    done = {
        "replicas": 2,
        "updatedReplicas": 2,
        "availableReplicas": 2,
        "conditions": [progressing("True", "NewReplicaSetAvailable", ago=9999)],
    }
    assert verdict(deployment(status=done), [new], new)[1] == "NewReplicaSetAvailable"


def test_the_deadline_is_looked_at_once_it_passed() -> None:
    status = {"conditions": [progressing("True", "ReplicaSetUpdated", ago=590)]}
    assert progress.seconds_to_deadline(deployment(), status, NOW) == 11.0
    assert progress.seconds_to_deadline(deployment(), {"conditions": []}, NOW) is None


@pytest.mark.parametrize(
    ("paused", "present", "expected"),
    [
        (True, None, "DeploymentPaused"),
        (True, "ReplicaSetUpdated", "DeploymentPaused"),
        (True, "DeploymentPaused", None),
        (False, "DeploymentPaused", "DeploymentResumed"),
        (False, "ReplicaSetUpdated", None),
        (True, "ProgressDeadlineExceeded", None),
    ],
)
def test_pause_and_resume(paused: bool, present: str | None, expected: str | None) -> None:
    status = {"conditions": [progressing("True", present)]} if present else {}
    condition = progress.plan_paused_condition(deployment(status=status, paused=paused), NOW)
    assert (condition["reason"] if condition else None) == expected


def test_a_failure_of_a_replica_set_shows_on_the_deployment() -> None:
    new = rs(2, 0)
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "quota",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    new["status"]["conditions"] = [failure]
    status = progress.plan_rollout_status(deployment(), [new], new, NOW)
    shown = find(status["conditions"], "ReplicaFailure")
    assert shown is not None
    assert (shown["reason"], shown["message"]) == ("FailedCreate", "quota")
