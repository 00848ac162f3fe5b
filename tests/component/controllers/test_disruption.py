"""PodDisruptionBudgets on a running cluster."""

from __future__ import annotations

from typing import Any

from orchestrator.api.objects import Object, condition_of, name_of
from orchestrator.api.resources import DEPLOYMENTS, POD_DISRUPTION_BUDGETS, PODS

from .conftest import Stage, TimedStage, deployment, template


def budget(**spec: Any) -> Object:
    """The budget `b` in `default`, for pods of the app `web`."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec},
    }


def numbers(expected: int, healthy: int, desired: int, allowed: int) -> Any:
    def check(one: Object) -> bool:
        status = one.get("status") or {}
        names = ("expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed")
        return [status.get(name) for name in names] == [expected, healthy, desired, allowed]

    return check


async def test_percentages_are_of_the_size_of_the_workload(stage: Stage) -> None:
    await stage.client.create(POD_DISRUPTION_BUDGETS, budget(minAvailable="50%"))
    await stage.client.create(DEPLOYMENTS, deployment(replicas=5))
    one = await stage.until_one(POD_DISRUPTION_BUDGETS, "b", numbers(5, 5, 3, 2))
    assert condition_of(one, "DisruptionAllowed")["reason"] == "SufficientPods"  # type: ignore[index]


async def test_pods_that_are_not_ready_take_from_the_budget(stage: Stage) -> None:
    await stage.client.create(POD_DISRUPTION_BUDGETS, budget(maxUnavailable=1))
    stage.is_held = lambda pod: True
    await stage.client.create(DEPLOYMENTS, deployment(replicas=3))
    one = await stage.until_one(POD_DISRUPTION_BUDGETS, "b", numbers(3, 0, 2, 0))
    assert condition_of(one, "DisruptionAllowed")["reason"] == "InsufficientPods"  # type: ignore[index]
    await stage.release()
    await stage.until_one(POD_DISRUPTION_BUDGETS, "b", numbers(3, 3, 2, 1))


async def test_a_number_also_counts_pods_without_a_workload(stage: Stage) -> None:
    await stage.client.create(POD_DISRUPTION_BUDGETS, budget(minAvailable=1))
    for name in ("one", "two"):
        pod = {"apiVersion": "v1", "kind": "Pod", **template()}
        pod["metadata"] = {**pod["metadata"], "name": name, "namespace": "default"}
        await stage.client.create(PODS, pod)
    await stage.until_one(POD_DISRUPTION_BUDGETS, "b", numbers(2, 2, 1, 1))
    await stage.client.patch(PODS, "one", {"metadata": {"labels": {"app": "other"}}}, "default")
    await stage.until_one(POD_DISRUPTION_BUDGETS, "b", numbers(1, 1, 1, 0))


async def test_an_eviction_that_never_deletes_its_pod_is_forgotten(timed: TimedStage) -> None:
    await timed.client.create(POD_DISRUPTION_BUDGETS, budget(minAvailable=1))
    await timed.client.create(DEPLOYMENTS, deployment(replicas=2))
    await timed.after(1)
    pod = (await timed.client.list(PODS, "default"))["items"][0]
    status = {"disruptedPods": {name_of(pod): "2026-01-01T12:00:01Z"}}
    await timed.client.patch(POD_DISRUPTION_BUDGETS, "b", {"status": status}, "default", subresource="status")
    await timed.after(10)
    one = await timed.client.get(POD_DISRUPTION_BUDGETS, "b", "default")
    assert numbers(2, 1, 1, 0)(one)
    await timed.after(120)
    one = await timed.client.get(POD_DISRUPTION_BUDGETS, "b", "default")
    assert numbers(2, 2, 1, 1)(one)
    assert "disruptedPods" not in one["status"]
