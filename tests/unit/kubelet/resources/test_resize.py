"""In-place resize: who gets room first."""

from __future__ import annotations

from typing import Any

from orchestrator.kubelet.resources.resize import retry_order


def waiting(name: str, priority: int = 0, qos: str = "Burstable") -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"priority": priority}, "status": {"qosClass": qos}}


def test_room_goes_by_priority_then_to_guaranteed_pods_then_to_who_waited_longest() -> None:
    pods = [
        waiting("long"),
        waiting("guaranteed", qos="Guaranteed"),
        waiting("important", 1000),
        waiting("short"),
        waiting("both", 1000, "Guaranteed"),
    ]
    order = [pod["metadata"]["name"] for pod in retry_order(pods)]
    assert order == ["both", "important", "guaranteed", "long", "short"]
