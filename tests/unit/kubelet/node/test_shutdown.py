"""How pods end with their node."""

from __future__ import annotations

from orchestrator.api.objects import Object
from orchestrator.kubelet.node.shutdown import ShutdownPeriods, ShutdownStep, plan_shutdown
from tests.unit.kubelet.pods import pod


def with_priority(uid: str, priority: int = 0, grace: int = 30) -> Object:
    obj = pod(priority=priority, terminationGracePeriodSeconds=grace)
    obj["metadata"]["uid"] = uid
    return obj


def test_critical_pods_end_last_and_nobody_gets_more_than_it_asked_for() -> None:
    pods = [with_priority("critical", 2_000_000_000), with_priority("web"), with_priority("quick", 5, grace=3)]
    assert plan_shutdown(pods, ShutdownPeriods(total_seconds=30, critical_seconds=10)) == [
        ShutdownStep(20, {"web": 20, "quick": 3}),
        ShutdownStep(10, {"critical": 10}),
    ]
    assert plan_shutdown([], ShutdownPeriods(30, 10)) == []
