"""When finished Jobs expire."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.controllers.ttlafterfinished import plan_expiry

DONE = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("spec", "condition", "second"),
    [
        ({"ttlSecondsAfterFinished": 5}, DONE, 5),
        ({"ttlSecondsAfterFinished": 0}, {**DONE, "type": "Failed"}, 0),
        ({"ttlSecondsAfterFinished": 5}, {**DONE, "status": "False"}, None),
        ({"ttlSecondsAfterFinished": 5}, {**DONE, "type": "Suspended"}, None),
        ({}, DONE, None),
    ],
)
def test_expiry(spec: dict[str, Any], condition: dict[str, Any], second: int | None) -> None:
    expiry = plan_expiry({"metadata": {}, "spec": spec, "status": {"conditions": [condition]}})
    assert expiry == (None if second is None else datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC))
