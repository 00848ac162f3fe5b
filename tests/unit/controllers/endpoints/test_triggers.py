"""When a change of endpoints began."""

from __future__ import annotations

from typing import Any

from orchestrator.controllers.endpoints.triggers import LAST_CHANGE, TriggerTimes

SERVICE = {"metadata": {"name": "web", "namespace": "d", "creationTimestamp": "2026-01-01T00:00:00Z"}}


def pod(name: str, ready_since: str = "") -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": ready_since}] if ready_since else []
    return {"metadata": {"name": name, "namespace": "d"}, "status": {"conditions": conditions}}


def at(minute: int) -> str:
    return f"2026-01-01T01:{minute:02}:00Z"


def test_the_first_of_all_changes_since_the_last_look_counts() -> None:
    times = TriggerTimes()
    a, b = pod("a", at(1)), pod("b", at(2))
    assert times.look("d/web", SERVICE, [a, b]) == "2026-01-01T00:00:00Z"
    assert times.look("d/web", SERVICE, [a, b]) == ""
    later, last = pod("a", at(5)), pod("c", at(4))
    assert times.look("d/web", SERVICE, [later, b, last]) == at(4)
    assert times.look("d/web", SERVICE, [b]) == ""  # one that leaves was not ready before


def test_other_changes_of_a_pod_do_not_count() -> None:
    times = TriggerTimes()
    times.look("d/web", SERVICE, [pod("a", at(1)), pod("b")])
    assert times.look("d/web", SERVICE, [pod("a", at(1)), pod("b")]) == ""
    assert times.look("d/web", SERVICE, [pod("a", at(1)), pod("b", at(3))]) == at(3)


def test_what_is_written_carries_the_time_or_loses_an_older_one() -> None:
    times = TriggerTimes()
    one: dict[str, Any] = {"metadata": {"name": "web-1"}}
    times.stamp("d/web", SERVICE, [], [one])
    assert one["metadata"]["annotations"] == {LAST_CHANGE: "2026-01-01T00:00:00Z"}
    times.stamp("d/web", SERVICE, [], [one])
    assert "annotations" not in one["metadata"]


def test_a_service_that_came_again_is_a_change() -> None:
    times = TriggerTimes()
    times.look("d/web", SERVICE, [])
    again = {"metadata": {**SERVICE["metadata"], "creationTimestamp": at(9)}}
    assert times.look("d/web", again, []) == at(9)
    times.forget("d/web")
    assert times.look("d/web", SERVICE, []) == "2026-01-01T00:00:00Z"
