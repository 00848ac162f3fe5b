"""Containers that only the API remembers."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.kubelet.ghosts import with_ghosts
from orchestrator.kubelet.plan import plan_pod
from tests.unit.kubelet.pods import NOW, pod, running, state


def ghostly(**entry: Any) -> Object:
    obj = pod(policy="Never")
    obj["status"]["containerStatuses"] = [{"name": "a", "restartCount": 0, "containerID": "docker://gone", **entry}]
    return obj


def test_finished_container_that_was_removed_by_hand_is_not_run_again() -> None:
    obj = ghostly(state={"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-01-01T11:59:00Z"}})
    observed = with_ghosts(obj, state())
    assert plan_pod(obj, observed, NOW).finished


def test_running_container_that_was_removed_counts_as_failed() -> None:
    obj = ghostly(state={"running": {"startedAt": "2026-01-01T11:59:00Z"}})
    observed = with_ghosts(obj, state())
    assert observed is not None
    assert observed.containers[0].exit_code == 137
    obj["spec"]["restartPolicy"] = "Always"
    assert [(start.name, start.attempt) for start in plan_pod(obj, observed, NOW).start] == [("a", 1)]


@pytest.mark.parametrize(
    ("entry", "is_ghost"),
    [
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, False),
        ({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}}, True),
    ],
)
def test_no_ghost_for_a_container_that_never_ran(entry: Object, is_ghost: bool) -> None:
    observed = with_ghosts(ghostly(**entry), state())
    assert observed is not None
    assert bool(observed.containers) is is_ghost


def test_no_ghost_for_a_container_that_was_replaced() -> None:
    obj = ghostly(state={"running": {}})
    assert with_ghosts(obj, state(running(attempt=0))) == state(running(attempt=0))
