"""How fast a size may change."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.controllers.horizontalpodautoscaler.behavior import (
    Change,
    Memory,
    Recommendation,
    down_limit,
    plan_size,
    up_limit,
)


def reasons(conditions: list[tuple[str, str, str, str]]) -> list[str]:
    return [reason for _, _, reason, _ in conditions]


@pytest.mark.parametrize(
    ("current", "wanted", "remembered", "expected"),
    [
        (2, 3, [], (3, ["ReadyForNewScale", "DesiredWithinRange"])),
        (2, 9, [], (4, ["ReadyForNewScale", "ScaleUpLimit"])),
        (1, 9, [], (4, ["ReadyForNewScale", "ScaleUpLimit"])),
        (6, 20, [], (10, ["ReadyForNewScale", "TooManyReplicas"])),
        (6, 0, [], (1, ["ReadyForNewScale", "TooFewReplicas"])),
        (6, 2, [(250, 5)], (5, ["ScaleDownStabilized", "DesiredWithinRange"])),
        (6, 2, [(350, 5)], (2, ["ReadyForNewScale", "DesiredWithinRange"])),
    ],
)
def test_without_behavior(current: int, wanted: int, remembered: list[tuple[int, int]], expected: Any) -> None:
    memory = Memory([Recommendation(1000.0 - ago, replicas) for ago, replicas in remembered])
    decision = plan_size({"minReplicas": 1, "maxReplicas": 10}, current, wanted, memory, 1000.0)
    assert (decision.replicas, reasons(decision.conditions)) == expected
    assert memory.recommendations[-1] == (1000.0, wanted)


FAST = {"policies": [{"type": "Percent", "value": 1000, "periodSeconds": 60}]}


@pytest.mark.parametrize(
    ("behavior", "current", "wanted", "remembered", "expected"),
    [
        ({"scaleUp": FAST}, 2, 30, [], (20, ["ReadyForNewScale", "TooManyReplicas"])),
        ({"scaleUp": {"policies": [{"type": "Pods", "value": 3, "periodSeconds": 60}]}}, 2, 9, [],
         (5, ["ReadyForNewScale", "ScaleUpLimit"])),
        ({"scaleUp": {"selectPolicy": "Disabled"}}, 2, 9, [], (2, ["ReadyForNewScale", "ScaleUpLimit"])),
        ({"scaleUp": {**FAST, "stabilizationWindowSeconds": 60}}, 4, 9, [(30, 6)],
         (6, ["ScaleUpStabilized", "DesiredWithinRange"])),
        ({"scaleDown": FAST, "scaleUp": FAST}, 8, 2, [(200, 5)], (5, ["ScaleDownStabilized", "DesiredWithinRange"])),
        ({"scaleDown": {**FAST, "stabilizationWindowSeconds": 0}}, 8, 3, [(200, 5)],
         (3, ["ReadyForNewScale", "DesiredWithinRange"])),
        ({"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [
            {"type": "Percent", "value": 10, "periodSeconds": 60}]}}, 10, 1, [],
         (9, ["ReadyForNewScale", "ScaleDownLimit"])),
        ({"scaleDown": {**FAST, "stabilizationWindowSeconds": 0}}, 8, 0, [],
         (1, ["ReadyForNewScale", "TooFewReplicas"])),
    ],
)  # fmt: skip
def test_with_behavior(
    behavior: dict[str, Any], current: int, wanted: int, remembered: list[tuple[int, int]], expected: Any
) -> None:
    memory = Memory([Recommendation(1000.0 - ago, replicas) for ago, replicas in remembered])
    spec = {"minReplicas": 1, "maxReplicas": 20, "behavior": behavior}
    decision = plan_size(spec, current, wanted, memory, 1000.0)
    assert (decision.replicas, reasons(decision.conditions)) == expected


POLICIES = [{"type": "Pods", "value": 4, "periodSeconds": 60}, {"type": "Percent", "value": 50, "periodSeconds": 15}]


@pytest.mark.parametrize(
    ("select", "changes", "up", "down"),
    [
        ("Max", [], 15, 5),
        ("Min", [], 14, 6),
        ("Disabled", [], 10, 10),
        ("Max", [(30, 3)], 15, 3),  # the 3 that came in the last minute count against the 4 pods
        ("Min", [(30, 3)], 11, 5),
        ("Min", [(10, 3)], 11, 3),
        ("Min", [(90, 3)], 14, 6),
    ],
)
def test_policies(select: str, changes: list[tuple[int, int]], up: int, down: int) -> None:
    made = [Change(1000.0 - ago, by) for ago, by in changes]
    rules = {"selectPolicy": select, "policies": POLICIES}
    assert up_limit(rules, 10, made, 1000.0) == up
    assert down_limit(rules, 10, made, 1000.0) == down


@pytest.mark.parametrize(("start", "percent", "up", "down"), [(10, 10, 11, 9), (100, 10, 111, 90), (100, 42, 142, 58)])
def test_percentages_are_rounded_as_kubernetes_rounds_them(start: int, percent: int, up: int, down: int) -> None:
    """In binary fractions: ten percent on top of a hundred is a little more than 110, and is rounded up."""
    rules = {"policies": [{"type": "Percent", "value": percent, "periodSeconds": 60}]}
    assert (up_limit(rules, start, [], 0.0), down_limit(rules, start, [], 0.0)) == (up, down)
