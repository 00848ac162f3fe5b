"""Who may take a Lease, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.component.leader_election import Timing, plan_step

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
STAMP = "2026-01-01T12:00:00.000000Z"


def lease(holder: str, transitions: int = 3) -> dict[str, Any]:
    spec = {
        "holderIdentity": holder,
        "leaseDurationSeconds": 15,
        "leaseTransitions": transitions,
        "acquireTime": "long",
    }
    return {"metadata": {"name": "l", "namespace": "n", "resourceVersion": "7"}, "spec": spec}


@pytest.mark.parametrize(
    ("present", "unchanged", "action", "transitions", "acquired"),
    [
        (None, 0, "create", 0, STAMP),
        (lease("me"), 0, "renew", 3, "long"),
        (lease("me"), 99, "renew", 3, "long"),
        (lease("other"), 14.9, "wait", None, None),
        (lease("other"), 15, "acquire", 4, STAMP),
        (lease(""), 0, "acquire", 4, STAMP),
    ],
)
def test_steps(
    present: dict[str, Any] | None, unchanged: float, action: str, transitions: int | None, acquired: str | None
) -> None:
    step = plan_step(
        present, namespace="n", name="l", identity="me", unchanged_seconds=unchanged, now=NOW, timing=Timing()
    )
    assert step.action == action
    if step.lease is None:
        assert transitions is None
        return
    spec = step.lease["spec"]
    assert (spec["holderIdentity"], spec["renewTime"]) == ("me", STAMP)
    assert (spec["leaseTransitions"], spec["acquireTime"]) == (transitions, acquired)
    if present is not None:
        assert step.lease["metadata"]["resourceVersion"] == "7"


def test_a_leader_must_give_up_before_others_may_begin() -> None:
    with pytest.raises(ValueError, match="longer"):
        Timing(lease=10, renew=10)
