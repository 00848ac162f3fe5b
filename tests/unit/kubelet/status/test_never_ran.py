"""What containers that have not run show when their pod ends."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.kubelet.status.never_ran import end_what_never_ran

WAITS: dict[str, Any] = {"state": {"waiting": {"reason": "PodInitializing"}}, "lastState": {}}
DONE: dict[str, Any] = {"state": {"terminated": {"exitCode": 0}}, "lastState": {}}
FAILED: dict[str, Any] = {"state": {"terminated": {"exitCode": 1}}, "lastState": {}}


def kinds(entries: list[Any]) -> list[str]:
    return ["unknown" if e["state"].get("terminated", {}).get("reason") else next(iter(e["state"])) for e in entries]


@pytest.mark.parametrize(
    ("init", "apps", "init_after", "apps_after"),
    [
        ([], [WAITS, DONE], [], ["unknown", "terminated"]),
        ([DONE], [WAITS], ["terminated"], ["unknown"]),
        ([FAILED], [WAITS], ["terminated"], ["waiting"]),
        ([WAITS], [WAITS], ["waiting"], ["waiting"]),
        ([WAITS, DONE, WAITS], [WAITS], ["unknown", "terminated", "waiting"], ["waiting"]),
        ([WAITS], [FAILED], ["waiting"], ["terminated"]),
    ],
)
def test_how_far_initialization_came_decides(
    init: list[Any], apps: list[Any], init_after: list[str], apps_after: list[str]
) -> None:
    spec = {"initContainers": [{"name": str(number)} for number in range(len(init))]}
    mine, others = [dict(entry) for entry in init], [dict(entry) for entry in apps]
    end_what_never_ran({"spec": spec}, mine, others)
    assert (kinds(mine), kinds(others)) == (init_after, apps_after)
