"""How long kubelets may use what they read, by the number of nodes."""

from __future__ import annotations

import pytest

from orchestrator.controllers.nodettl import plan_step


@pytest.mark.parametrize(
    ("step", "nodes", "expected"),
    [
        (0, 0, 0),
        (0, 100, 0),
        (0, 101, 1),
        (1, 95, 1),  # not yet back
        (1, 89, 0),
        (0, 3000, 4),
        (4, 50_000, 4),
        (4, 3, 0),
    ],
)
def test_steps_overlap(step: int, nodes: int, expected: int) -> None:
    assert plan_step(step, nodes) == expected
