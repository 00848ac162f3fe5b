"""From usage to sizes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.aiokit.clock import format_time
from orchestrator.controllers.horizontalpodautoscaler.measures import (
    MetricError,
    Tolerances,
    plan_by_average,
    plan_by_share,
    plan_by_total,
    plan_by_utilization,
    samples_of,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def pod(name: str, *, request: str = "100m", ready: bool = True, phase: str = "Running", minutes: int = 60) -> Any:
    started = format_time(NOW - timedelta(minutes=minutes))
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": started}
    requests = {"requests": {"cpu": request}} if request else {}
    return {
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "resources": requests}]},
        "status": {"phase": phase, "startTime": started, "conditions": [condition]},
    }


def metrics(**used: str) -> list[dict[str, Any]]:
    stamp = format_time(NOW - timedelta(seconds=10))
    return [
        {"metadata": {"name": name}, "timestamp": stamp, "window": "30s",
         "containers": [{"name": "c", "usage": {"cpu": amount}}]}
        for name, amount in used.items()
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pods", "used", "expected"),
    [
        ([pod("a"), pod("b")], {"a": "50m", "b": "50m"}, 2),
        ([pod("a"), pod("b")], {"a": "54m", "b": "54m"}, 2),  # within a tenth
        ([pod("a"), pod("b")], {"a": "100m", "b": "100m"}, 4),
        ([pod("a"), pod("b")], {"a": "56m", "b": "56m"}, 3),
        ([pod("a"), pod("b")], {"a": "10m", "b": "10m"}, 1),
        # Without a metric: counted as using all while shrinking, nothing while growing.
        ([pod("a"), pod("b"), pod("c")], {"a": "10m", "b": "10m"}, 3),
        ([pod("a"), pod("b"), pod("c")], {"a": "100m", "b": "100m"}, 4),
        ([pod("a"), pod("b"), pod("c")], {"a": "80m", "b": "80m"}, 3),
        ([pod("a"), pod("b"), pod("c"), pod("d")], {"a": "50m", "b": "50m"}, 4),  # nothing speaks for a change
        # Starting: counted as using nothing while growing.
        ([pod("a"), pod("b", ready=False, minutes=1)], {"a": "100m", "b": "900m"}, 2),
        ([pod("a"), pod("b", phase="Pending")], {"a": "300m"}, 6),
        ([pod("a"), pod("b", phase="Failed")], {"a": "100m", "b": "100m"}, 2),
    ],
)
def test_by_utilization(pods: list[Any], used: dict[str, str], expected: int) -> None:
    samples = samples_of(metrics(**used), "cpu")
    assert plan_by_utilization(len(pods), 50, "cpu", pods, samples, NOW).replicas == expected


def test_what_is_shown() -> None:
    measure = plan_by_utilization(1, 50, "cpu", [pod("a"), pod("b")], samples_of(metrics(a="30m", b="50m"), "cpu"), NOW)
    assert (measure.average_milli, measure.utilization) == (40, 40)


@pytest.mark.parametrize(("used", "expected"), [("200m", 2), ("215m", 2), ("230m", 3), ("90m", 1)])
def test_by_average(used: str, expected: int) -> None:
    pods = [pod("a", request=""), pod("b", request="")]
    samples = samples_of(metrics(a=used, b=used), "cpu")
    assert plan_by_average(2, 200, "cpu", pods, samples, NOW).replicas == expected


def test_tolerance_may_be_another_one_in_each_direction() -> None:
    samples = samples_of(metrics(a="56m"), "cpu")
    assert plan_by_utilization(1, 50, "cpu", [pod("a")], samples, NOW, tolerances=Tolerances(0.1, 0.2)).replicas == 1
    assert plan_by_utilization(1, 50, "cpu", [pod("a")], samples, NOW, tolerances=Tolerances(0.2, 0.1)).replicas == 2


@pytest.mark.parametrize(
    ("pods", "used", "message"),
    [
        ([], {}, "no pods returned by selector while calculating replica count"),
        ([pod("a")], {}, "did not receive metrics for targeted pods (pods might be unready)"),
        ([pod("a", request="")], {"a": "1"}, "missing request for cpu in container c of Pod a"),
    ],
)
def test_what_cannot_be_computed(pods: list[Any], used: dict[str, str], message: str) -> None:
    with pytest.raises(MetricError) as caught:
        plan_by_utilization(1, 50, "cpu", pods, samples_of(metrics(**used), "cpu"), NOW)
    assert str(caught.value) == message


def test_one_container_of_a_pod() -> None:
    one = metrics(a="10m")
    one[0]["containers"].append({"name": "side", "usage": {"cpu": "1"}})
    assert samples_of(one, "cpu")["a"].milli == 1010
    assert samples_of(one, "cpu", "side")["a"].milli == 1000
    with pytest.raises(MetricError, match="container none not present in metrics for pod /a"):
        samples_of(one, "cpu", "none")


@pytest.mark.parametrize(
    ("current", "value", "pods", "expected"),
    [
        (2, 100, [pod("a"), pod("b")], 2),
        (2, 109, [pod("a"), pod("b")], 2),  # within a tenth
        (2, 200, [pod("a"), pod("b")], 4),
        (2, 200, [pod("a"), pod("b", ready=False)], 2),  # only pods that are ready had a part in it
        (4, 50, [pod("a"), pod("b"), pod("c"), pod("d")], 2),
        (0, 250, [], 3),
    ],
)
def test_a_value_of_all_pods_together(current: int, value: int, pods: list[Any], expected: int) -> None:
    assert plan_by_total(current, value * 1000, 100_000, pods, tolerances=Tolerances()) == expected


def test_a_value_of_all_pods_needs_pods() -> None:
    with pytest.raises(MetricError, match="unable to calculate ready pods: no pods returned by selector"):
        plan_by_total(1, 2, 1, [], tolerances=Tolerances())


@pytest.mark.parametrize(
    ("replicas", "value", "expected", "average"),
    [(3, 30, 3, 10_000), (3, 32, 3, 10_667), (3, 40, 4, 13_334), (3, 11, 2, 3_667), (0, 25, 3, 25_000)],
)
def test_a_share_for_each_pod(replicas: int, value: int, expected: int, average: int) -> None:
    measure = plan_by_share(replicas, value * 1000, 10_000, tolerances=Tolerances())
    assert (measure.replicas, measure.average_milli) == (expected, average)
