"""When a node sends its heartbeats, and what it says of its images."""

from __future__ import annotations

import pytest

from orchestrator.kubelet.node.plan import (
    HEARTBEAT_SLOT_SECONDS,
    IMAGES_REPORTED_MAX,
    heartbeat_delay_seconds,
    plan_images,
)
from orchestrator.kubelet.runtime import Image

PERIOD = 10.0


@pytest.mark.parametrize("now", [0.0, 3.3, 9.99, 12345.678])
def test_a_node_has_the_same_turn_in_every_period(now: float) -> None:
    delay = heartbeat_delay_seconds("node-7", now, PERIOD)
    assert HEARTBEAT_SLOT_SECONDS / 2 < delay <= PERIOD + HEARTBEAT_SLOT_SECONDS / 2
    for late in (0.05, 0.0, -1e-9):
        again = heartbeat_delay_seconds("node-7", now + delay + late, PERIOD)
        assert again == pytest.approx(PERIOD - late, abs=1e-6)


def test_many_nodes_share_few_turns_and_fill_all_of_them() -> None:
    turns = {round(heartbeat_delay_seconds(f"node-{number}", 0.0, PERIOD), 3) for number in range(1000)}
    assert len(turns) == round(PERIOD / HEARTBEAT_SLOT_SECONDS)


def test_images_are_reported_with_some_of_their_names_and_the_largest_first() -> None:
    many = Image("sha256:1", tuple(f"web:{number}" for number in range(9)), ("web@sha256:1",), 10)
    nameless = Image("sha256:2", (), (), 30)
    assert plan_images([many, nameless, Image("sha256:3", ("db:1",), (), 20)]) == [
        {"names": ["db:1"], "sizeBytes": 20},
        {"names": ["web@sha256:1", "web:0", "web:1", "web:2", "web:3"], "sizeBytes": 10},
    ]
    assert len(plan_images([Image(str(number), ("a",), (), 1) for number in range(99)])) == IMAGES_REPORTED_MAX
