"""Which pods a ReplicaSet creates and deletes, and what its status says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.controllers.pods import pod_from_template, restarts_of
from orchestrator.controllers.replicas import BURST_REPLICAS, plan_scale, plan_status, slow_start

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def pod(
    name: str = "p",
    *,
    ready_for: int | None = 1000,
    age: int = 1000,
    cost: str = "",
    restarts: int = 0,
    node: str = "n1",
    phase: str = "Running",
    labels: dict[str, str] | None = None,
) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": phase, "containerStatuses": [{"restartCount": restarts}]}
    if ready_for is not None:
        since = format_time(NOW - timedelta(seconds=ready_for))
        status["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": since}]
    metadata: dict[str, Any] = {
        "name": name,
        "uid": name,
        "labels": labels or {},
        "creationTimestamp": format_time(NOW - timedelta(seconds=age)),
    }
    if cost:
        metadata["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": cost}
    return {"metadata": metadata, "spec": {"nodeName": node} if node else {}, "status": status}


def test_missing_pods_are_created_at_most_a_burst_at_once() -> None:
    assert plan_scale([pod()], 3, [], NOW).create == 2
    assert plan_scale([], 10_000, [], NOW).create == BURST_REPLICAS


def test_the_right_number_asks_for_nothing() -> None:
    plan = plan_scale([pod("a"), pod("b")], 2, [], NOW)
    assert (plan.create, plan.delete) == (0, ())


@pytest.mark.parametrize(
    ("goes", "stays"),
    [
        pytest.param(pod(node="", cost="100"), pod(cost="-5"), id="unbound before bound"),
        pytest.param(pod(phase="Pending", ready_for=None, cost="9"), pod(), id="pending before running"),
        pytest.param(pod(ready_for=None, cost="9"), pod(), id="not ready before ready"),
        pytest.param(pod(cost="-1"), pod(ready_for=1), id="lower deletion cost first"),
        pytest.param(pod(cost="nonsense"), pod(cost="1"), id="a cost that is no number is 0"),
        pytest.param(pod(ready_for=10), pod(ready_for=10_000), id="ready for a shorter time first"),
        pytest.param(pod(restarts=3), pod(), id="more restarts first"),
        pytest.param(pod(age=10, ready_for=5), pod(age=90_000, ready_for=5), id="newer first"),
    ],
)
def test_deletion_order(goes: dict[str, Any], stays: dict[str, Any]) -> None:
    goes["metadata"]["name"], stays["metadata"]["name"] = "goes", "stays"
    for order in ([goes, stays], [stays, goes]):
        assert plan_scale(order, 1, [], NOW).delete == (goes,)


def test_pods_on_crowded_nodes_go_first() -> None:
    alone, crowded = pod("alone", node="n1", ready_for=10), pod("crowded", node="n2")
    siblings = [alone, crowded, pod("sibling", node="n2")]
    assert plan_scale([alone, crowded], 1, siblings, NOW).delete == (crowded,)


@given(present=st.integers(0, 40), wanted=st.integers(0, 40))
def test_a_plan_always_leads_to_the_wanted_number(present: int, wanted: int) -> None:
    pods = [pod(f"p{i}", age=i) for i in range(present)]
    plan = plan_scale(pods, wanted, pods, NOW)
    assert present + plan.create - len(plan.delete) == wanted
    assert len({p["metadata"]["name"] for p in plan.delete}) == len(plan.delete)


def replica_set(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "a", "v": "1"}}, "spec": {"containers": []}}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "rs", "namespace": "d", "uid": "u", "generation": 4},
        "spec": {"template": template, **spec},
    }


def test_status_counts_labels_readiness_and_availability() -> None:
    full = {"app": "a", "v": "1"}
    pods = [pod(labels=full), pod(labels={"app": "a"}, ready_for=3), pod(labels=full, ready_for=None)]
    assert plan_status(replica_set(minReadySeconds=10), pods, 2, None, 0, NOW) == {
        "replicas": 3,
        "fullyLabeledReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 1,
        "terminatingReplicas": 2,
        "observedGeneration": 4,
    }


def test_a_refused_pod_becomes_a_condition_and_the_next_success_removes_it() -> None:
    rs = replica_set()
    status = plan_status(rs, [], None, errors.Forbidden("quota exceeded"), 2, NOW)
    (condition,) = status["conditions"]
    assert (condition["type"], condition["reason"], condition["message"]) == (
        "ReplicaFailure",
        "FailedCreate",
        "quota exceeded",
    )
    again = plan_status({**rs, "status": status}, [], None, errors.Forbidden("other"), 2, NOW + timedelta(1))
    assert again["conditions"] == [condition]
    assert "conditions" not in plan_status({**rs, "status": status}, [], None, None, 0, NOW)


def test_a_pod_from_a_template_carries_what_the_template_says_and_its_owner() -> None:
    made = pod_from_template(
        {"metadata": {"labels": {"a": "b"}, "finalizers": ["x/y"]}, "spec": {"k": 1}}, replica_set()
    )
    assert made["metadata"] == {
        "generateName": "rs-",
        "namespace": "d",
        "labels": {"a": "b"},
        "finalizers": ["x/y"],
        "ownerReferences": [
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": "rs",
                "uid": "u",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


async def test_slow_start_doubles_and_stops_at_the_first_refusal() -> None:
    calls = 0

    async def call() -> int:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise errors.Forbidden("no")
        return calls

    done, failure = await slow_start(100, call)
    # Batches of 1, 2 and 4: the fifth call fails, its batch ends at the seventh.
    assert calls == 7
    assert len(done) == 6
    assert failure is not None


async def test_slow_start_makes_exactly_as_many_calls_as_asked() -> None:
    async def call() -> None:
        return None

    done, failure = await slow_start(10, call)
    assert (len(done), failure) == (10, None)


def test_restarts_of_sidecars_count_after_those_of_containers() -> None:
    def with_sidecar(containers: int, sidecar: int) -> dict[str, Any]:
        spec = {"initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "once"}]}
        init = [{"name": "s", "restartCount": sidecar}, {"name": "once", "restartCount": 9}]
        return {
            "spec": spec,
            "status": {"containerStatuses": [{"restartCount": containers}], "initContainerStatuses": init},
        }

    assert restarts_of(with_sidecar(2, 3)) == (2, 3)
    assert restarts_of({}) == (0, 0)
