"""Budgets: how many must be healthy, who is, and what may go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.aiokit.clock import format_time
from orchestrator.controllers.disruption import (
    Expected,
    count_healthy,
    plan_disrupted,
    plan_expected,
    plan_failed_status,
    plan_stale,
    plan_status,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def budget(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "b", "namespace": "d", "generation": 3}, "spec": spec, "status": status or {}}


def pod(name: str, *, ready: bool = True, deleted: bool = False) -> dict[str, Any]:
    metadata = {"name": name, "uid": name, **({"deletionTimestamp": format_time(NOW)} if deleted else {})}
    return {"metadata": metadata, "status": {"conditions": [{"type": "Ready", "status": str(ready)}]}}


@pytest.mark.parametrize(
    ("spec", "pods", "scale", "expected"),
    [
        ({"minAvailable": 2}, 3, 0, (3, 2)),
        ({"minAvailable": 0}, 3, 0, (3, 0)),
        ({"minAvailable": "50%"}, 3, 7, (7, 4)),
        ({"minAvailable": "100%"}, 3, 7, (7, 7)),
        ({"maxUnavailable": 1}, 3, 7, (7, 6)),
        ({"maxUnavailable": 9}, 3, 7, (7, 0)),
        ({"maxUnavailable": "30%"}, 3, 7, (7, 4)),  # rounded up, in favour of evictions
        ({}, 3, 0, (3, 0)),
    ],
)
def test_expected(spec: dict[str, Any], pods: int, scale: int, expected: tuple[int, int]) -> None:
    assert plan_expected(budget(**spec), pods, scale) == expected


def test_healthy_is_ready_and_staying() -> None:
    pods = [pod("a"), pod("b", ready=False), pod("c", deleted=True), pod("d")]
    assert count_healthy(pods, {"d"}) == 1


def test_disrupted_pods_are_remembered_until_they_go_or_do_not() -> None:
    stamps = {name: format_time(NOW - timedelta(seconds=ago)) for name, ago in
              {"fresh": 10, "old": 130, "going": 10, "gone": 10}.items()}  # fmt: skip
    pods = {"fresh": pod("fresh"), "old": pod("old"), "going": pod("going", deleted=True)}
    disrupted = plan_disrupted(budget({"disruptedPods": stamps}), pods, NOW)
    assert [*disrupted.pods] == ["fresh"]
    assert disrupted.overdue == ["old"]
    assert disrupted.again_seconds == 110


@pytest.mark.parametrize(
    ("expected", "healthy", "allowed", "reason"),
    [
        (Expected(5, 3), 5, 2, "SufficientPods"),
        (Expected(5, 3), 3, 0, "InsufficientPods"),
        (Expected(5, 3), 1, 0, "InsufficientPods"),
        (Expected(0, 0), 0, 0, "InsufficientPods"),
    ],
)
def test_status(expected: Expected, healthy: int, allowed: int, reason: str) -> None:
    status = plan_status(budget(), expected, healthy, {}, NOW)
    (condition,) = status.pop("conditions")
    assert status == {
        "disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": expected.healthy,
        "expectedPods": expected.pods, "observedGeneration": 3,
    }  # fmt: skip
    assert (condition["reason"], condition["status"], condition["observedGeneration"]) == (reason, str(allowed > 0), 3)


def test_the_transition_time_moves_only_with_status_or_reason() -> None:
    first = plan_status(budget(), Expected(2, 1), 2, {}, NOW)
    later = plan_status(budget(first), Expected(2, 1), 2, {}, NOW + timedelta(hours=1))
    assert later == first
    failed = plan_failed_status(budget(first), "why", NOW + timedelta(hours=1))
    assert failed["disruptionsAllowed"] == 0
    assert failed["currentHealthy"] == 2
    (condition,) = failed["conditions"]
    assert (condition["reason"], condition["message"]) == ("SyncFailed", "why")
    assert condition["lastTransitionTime"] == "2026-01-01T13:00:00Z"


@pytest.mark.parametrize(
    ("status", "ago", "deleted", "expected"),
    [("True", 30, False, 90.0), ("True", 200, False, 0.0), ("False", 200, False, None), ("True", 200, True, None)],
)
def test_an_announced_disruption_that_does_not_happen(
    status: str, ago: int, deleted: bool, expected: float | None
) -> None:
    one = pod("a", deleted=deleted)
    since = format_time(NOW - timedelta(seconds=ago))
    one["status"]["conditions"].append({"type": "DisruptionTarget", "status": status, "lastTransitionTime": since})
    assert plan_stale(one, NOW) == expected
