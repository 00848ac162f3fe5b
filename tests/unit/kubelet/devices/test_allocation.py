"""Which devices of a plugin containers get."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.kubelet.devices.allocation import allocated_status, choose_devices, wanted_devices
from orchestrator.kubelet.parts import DeviceFailure

FOUR = {"a": "Healthy", "b": "Healthy", "c": "Unhealthy", "d": "Healthy"}


@pytest.mark.parametrize(
    ("count", "taken", "reusable", "preferred", "chosen"),
    [
        pytest.param(1, (), (), (), ("a",), id="the first"),
        pytest.param(2, ("a",), (), (), ("b", "d"), id="none that is taken or unhealthy"),
        pytest.param(1, (), (), ("d",), ("d",), id="what the plugin prefers"),
        pytest.param(2, (), (), ("c", "d"), ("d", "a"), id="of that only what is available"),
        pytest.param(2, ("d",), ("d",), ("b",), ("d", "b"), id="the init container's first"),
        pytest.param(1, ("b", "d"), ("b", "d"), (), ("b",), id="no more of those than needed"),
        pytest.param(1, ("c",), ("c",), (), ("a",), id="not if it became unhealthy"),
    ],
)
def test_the_choice(count: int, taken: Any, reusable: Any, preferred: Any, chosen: Any) -> None:
    choice = choose_devices("v.com/x", count, devices=FOUR, taken=taken, reusable=reusable)
    assert choice.with_preferred(preferred) == chosen


@pytest.mark.parametrize(
    ("devices", "taken", "why"),
    [
        ({}, (), "no healthy devices present; cannot allocate unhealthy devices v.com/x"),
        ({"a": "Unhealthy"}, (), "no healthy devices present; cannot allocate unhealthy devices v.com/x"),
        (FOUR, ("a", "b"), "requested number of devices unavailable for v.com/x. Requested: 2, Available: 1"),
    ],
)
def test_why_there_are_no_devices(devices: dict[str, str], taken: Any, why: str) -> None:
    with pytest.raises(DeviceFailure) as error:
        choose_devices("v.com/x", 2, devices=devices, taken=taken)
    assert str(error.value) == why


def test_what_the_containers_of_a_pod_want() -> None:
    def container(name: str, amount: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "resources": {"limits": {"cpu": "1", "v.com/x": amount}}, **more}

    pod = {
        "spec": {
            "initContainers": [container("init", "2"), container("sidecar", "1", restartPolicy="Always")],
            "containers": [container("app", "1"), container("none", "0")],
        }
    }
    wanted = [(c["name"], is_passing, count) for c, is_passing, _, count in wanted_devices(pod, {"v.com/x"})]
    assert wanted == [("init", True, 2), ("sidecar", False, 1), ("app", False, 1)]
    assert not [*wanted_devices(pod, {"v.com/y"})]


def test_the_health_of_what_a_container_has() -> None:
    status = allocated_status({"v.com/x": ["c", "a"], "v.com/gone": ["z"]}, {"v.com/x": FOUR})
    assert status == [
        {"name": "v.com/gone", "resources": [{"resourceID": "z", "health": "Healthy"}]},
        {
            "name": "v.com/x",
            "resources": [{"resourceID": "a", "health": "Healthy"}, {"resourceID": "c", "health": "Unhealthy"}],
        },
    ]
