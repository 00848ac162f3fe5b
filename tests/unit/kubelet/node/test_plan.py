"""When a node sends its heartbeats, and what it says of its images and devices."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.node.plan import (
    HEARTBEAT_SLOT_SECONDS,
    IMAGES_REPORTED_MAX,
    NodeHealth,
    advertises_more,
    heartbeat_delay_seconds,
    plan_images,
    plan_node_status,
)
from orchestrator.kubelet.parts import DeviceCounts
from orchestrator.kubelet.runtime import Image, RuntimeInfo

PERIOD = 10.0
NOW = datetime(2026, 1, 1, tzinfo=UTC)


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


X, Y = "v.com/x", "v.com/y"


@pytest.mark.parametrize(
    ("devices", "capacity", "allocatable"),
    [
        pytest.param({}, {X: "5", Y: "1"}, {X: "5", Y: "1"}, id="what somebody advertised is kept"),
        pytest.param({X: DeviceCounts(3, 2)}, {X: "3", Y: "1"}, {X: "2", Y: "1"}, id="a plugin knows better"),
        pytest.param({X: DeviceCounts()}, {X: "0", Y: "1"}, {X: "0", Y: "1"}, id="its plugin is gone"),
    ],
)
def test_extended_resources(
    devices: dict[str, DeviceCounts], capacity: dict[str, str], allocatable: dict[str, str]
) -> None:
    status = plan_node_status(
        NodeOptions(name="n", ip="10.0.0.1"),
        RuntimeInfo(name="docker", version="1"),
        NodeHealth(),
        (),
        NOW,
        {"capacity": {X: "5", Y: "1", "cpu": "9"}},
        devices,
    )
    for part, wanted in (("capacity", capacity), ("allocatable", allocatable)):
        assert {name: amount for name, amount in status[part].items() if "/" in name} == wanted


@pytest.mark.parametrize(
    ("capacity", "allocatable", "devices", "more"),
    [
        ({X: "5"}, {}, (), True),
        ({X: "5"}, {X: "5"}, (), False),
        ({}, {X: "5"}, (), True),
        ({X: "5"}, {X: "4"}, (X,), False),
    ],
)
def test_whether_somebody_advertised_more(
    capacity: dict[str, str], allocatable: dict[str, str], devices: tuple[str, ...], more: bool
) -> None:
    node = {"status": {"capacity": capacity, "allocatable": allocatable}}
    assert advertises_more(node, devices) is more
