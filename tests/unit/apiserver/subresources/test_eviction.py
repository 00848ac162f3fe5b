"""When an eviction may happen, what it costs its budget, and how a refusal reads."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api import errors
from orchestrator.apiserver.subresources.eviction import (
    REFUSED,
    budgets_of,
    counts_against,
    ignores_budget,
    plan_disruption,
)

NOW = "2026-01-01T00:00:00Z"


def budget(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "b", "generation": 1, "resourceVersion": "7"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}},
        "status": {"observedGeneration": 1, "desiredHealthy": 2, "currentHealthy": 2, **status},
    }


def pod(*, phase: str = "Running", ready: str = "True", **labels: str) -> dict[str, Any]:
    status = {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": {"name": "p", "labels": labels or {"a": "b"}}, "status": status}


def test_a_disruption_is_spent_and_noted() -> None:
    given = budget(disruptionsAllowed=2, disruptedPods={"q": NOW})
    spent = plan_disruption(given, "p", NOW)
    assert spent["status"]["disruptionsAllowed"] == 1
    assert spent["status"]["disruptedPods"] == {"q": NOW, "p": NOW}
    assert "conditions" not in spent["status"]
    assert given["status"]["disruptionsAllowed"] == 2


def test_the_last_disruption_turns_the_condition() -> None:
    (condition,) = plan_disruption(budget(disruptionsAllowed=1), "p", NOW)["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "DisruptionAllowed",
        "False",
        "InsufficientPods",
    )


@pytest.mark.parametrize(
    ("given", "why", "retry"),
    [
        (budget(disruptionsAllowed=0), "The disruption budget b needs 2 healthy pods and has 2 currently", 0),
        (
            budget(disruptionsAllowed=1, observedGeneration=0),
            "The disruption budget b is still being processed by the server.",
            10,
        ),
    ],
)
def test_a_refusal_says_why(given: dict[str, Any], why: str, retry: int) -> None:
    with pytest.raises(errors.TooManyRequests) as refused:
        plan_disruption(given, "p", NOW)
    status = refused.value.to_status()
    assert (status["message"], status["reason"], status["code"]) == (REFUSED, "TooManyRequests", 429)
    assert status["details"]["causes"] == [{"reason": "DisruptionBudget", "message": why}]
    assert status["details"].get("retryAfterSeconds", 0) == retry


def test_negative_and_overfull_accounts_are_forbidden() -> None:
    with pytest.raises(errors.Forbidden, match="pdb disruptions allowed is negative"):
        plan_disruption(budget(disruptionsAllowed=-1), "p", NOW)
    crowded = budget(disruptionsAllowed=1, disruptedPods={str(number): NOW for number in range(2001)})
    with pytest.raises(errors.Forbidden, match="DisruptedPods map too big"):
        plan_disruption(crowded, "p", NOW)


@pytest.mark.parametrize(
    ("ready", "policy", "status", "counts"),
    [
        ("True", "", {}, True),
        ("True", "AlwaysAllow", {}, True),
        ("False", "AlwaysAllow", {"currentHealthy": 0}, False),
        ("False", "", {"currentHealthy": 2}, False),
        ("False", "IfHealthyBudget", {"currentHealthy": 1}, True),
        ("False", "", {"currentHealthy": 0, "desiredHealthy": 0}, True),
    ],
)
def test_unhealthy_pods_count_as_the_policy_says(ready: str, policy: str, status: dict[str, int], counts: bool) -> None:
    given = budget(**status)
    if policy:
        given["spec"]["unhealthyPodEvictionPolicy"] = policy
    assert counts_against(pod(ready=ready), given) is counts


@pytest.mark.parametrize(("phase", "ignored"), [("Running", False), ("Pending", True), ("Failed", True)])
def test_pods_that_do_not_run_have_no_budget(phase: str, ignored: bool) -> None:
    assert ignores_budget(pod(phase=phase)) is ignored


def test_budgets_select_by_label_and_a_missing_selector_selects_nothing() -> None:
    everything = {**budget(), "spec": {"selector": {}}}
    nothing: dict[str, Any] = {**budget(), "spec": {}}
    assert budgets_of(pod(), [budget(), everything, nothing]) == [budget(), everything]
    assert budgets_of(pod(x="y"), [budget(), nothing]) == []
