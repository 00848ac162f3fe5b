"""StatefulSets: order, updates, status, as tables. A pod is written `ordinal:letters`.

Letters: `u` made from the update revision (else from the current one), `x` not ready, `t` being
deleted, `f` failed, `s` succeeded, `p` pending.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.aiokit.clock import format_time
from orchestrator.controllers.statefulset.plan import StatefulSetPlan, plan_pods, plan_status

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def revision(name: str) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": name}]}}
    return {"metadata": {"name": name}, "data": {"spec": {"template": {**template, "$patch": "replace"}}}}


CURRENT, UPDATE = revision("w-old"), revision("w-new")


def stateful_set(replicas: int = 3, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "w", "namespace": "d", "uid": "W", "generation": 4},
        "spec": {"replicas": replicas, "serviceName": "svc", **spec},
    }


def pod(text: str, ago: int = 3600) -> dict[str, Any]:
    ordinal, _, letters = text.partition(":")
    name = f"w-{ordinal}"
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "d",
        "uid": text,
        "labels": {
            "controller-revision-hash": "w-new" if "u" in letters else "w-old",
            "statefulset.kubernetes.io/pod-name": name,
            "apps.kubernetes.io/pod-index": ordinal,
        },
    }
    if "t" in letters:
        metadata["deletionTimestamp"] = format_time(NOW)
    phase = (
        "Failed" if "f" in letters else "Succeeded" if "s" in letters else "Pending" if "p" in letters else "Running"
    )
    ready = "False" if set(letters) & set("xfsp") else "True"
    since = format_time(NOW - timedelta(seconds=ago))
    condition = {"type": "Ready", "status": ready, "lastTransitionTime": since}
    return {"metadata": metadata, "spec": {}, "status": {"phase": phase, "conditions": [condition]}}


def pods(text: str) -> list[dict[str, Any]]:
    return [pod(part) for part in text.split()]


def brief(plan: StatefulSetPlan) -> str:
    def is_new(one: dict[str, Any]) -> bool:
        return bool(one["metadata"]["labels"]["controller-revision-hash"] == "w-new")

    created = [f"+{one['metadata']['name'][2:]}{'u' if is_new(one) else ''}" for one in plan.create]
    return " ".join([*created, *(f"-{one['metadata']['name'][2:]}" for one in plan.delete)])


PARALLEL: dict[str, Any] = {"podManagementPolicy": "Parallel"}
ON_DELETE = {"updateStrategy": {"type": "OnDelete"}}


def rolling(**rolling_update: Any) -> dict[str, Any]:
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling_update}}


@pytest.mark.parametrize(
    ("spec", "present", "expected"),
    [
        # Ordered creation.
        ({}, "", "+0u"),
        ({}, "0:u", "+1u"),
        ({}, "0:ux", ""),
        ({}, "0:up", ""),
        ({}, "0:ut", ""),
        ({}, "1:u 2:u", "+0u"),
        ({}, "0:u 1:u 2:u", ""),
        # Parallel creation.
        (PARALLEL, "", "+0u +1u +2u"),
        (PARALLEL, "1:ux", "+0u +2u"),
        # What ended is replaced once it is gone.
        ({}, "0:uf 1:u", "-0"),
        ({}, "0:us 1:u", "-0"),
        ({}, "0:uft 1:u", ""),
        (PARALLEL, "0:uf 1:us 2:u", "-0 -1"),
        # Scaling down.
        ({"replicas": 1}, "0:u 1:u 2:u", "-2"),
        ({"replicas": 1}, "0:u 1:u 2:ut", ""),
        ({"replicas": 1}, "0:u 1:ux 2:u", "-2"),
        ({"replicas": 1}, "0:u 1:ux 2:ux", ""),
        ({"replicas": 1}, "0:u 1:u 2:ux", "-2"),
        ({"replicas": 1}, "0:ux 1:u 2:u", ""),
        ({"replicas": 1, **PARALLEL}, "0:ux 1:ux 2:u", "-2 -1"),
        ({"replicas": 0}, "0:ux", "-0"),
        # Ordinals.
        ({"replicas": 2, "ordinals": {"start": 5}}, "5:u", "+6u"),
        ({"replicas": 2, "ordinals": {"start": 1}}, "0:u 1:u 2:u", "-0"),
        # Rolling update.
        ({}, "0: 1: 2:", "-2"),
        ({}, "0: 1: 2:u", "-1"),
        ({}, "0: 1: 2:ux", ""),
        ({}, "0: 1: 2:t", ""),
        (rolling(partition=2), "0: 1: 2:", "-2"),
        (rolling(partition=2), "0: 1: 2:u", ""),
        (rolling(partition=2), "0: 2:u", "+1"),
        (rolling(partition=1), "0:u 2:u", "+1u"),
        (ON_DELETE, "0: 1: 2:", ""),
        (ON_DELETE, "0: 2:", "+1u"),
        # With several unavailable.
        ({**rolling(maxUnavailable=2), **PARALLEL}, "0: 1: 2:", "-2 -1"),
        ({**rolling(maxUnavailable=2), **PARALLEL}, "0: 1: 2:ux", "-1"),
        ({**rolling(maxUnavailable=2), **PARALLEL}, "0: 1:ut 2:ux", ""),
        ({**rolling(maxUnavailable="50%"), **PARALLEL, "replicas": 4}, "0: 1: 2: 3:", "-3 -2"),
        ({**rolling(maxUnavailable="10%"), **PARALLEL}, "0: 1: 2:", "-2"),
        (rolling(maxUnavailable=2), "0: 1: 2:", "-2 -1"),
        # An old pod that is broken goes without a budget, else the update would wait for it for ever.
        (PARALLEL, "0: 1: 2:x", "-2"),
        ({**rolling(maxUnavailable=2), **PARALLEL}, "0:x 1:x 2:x", "-2 -1 -0"),
    ],
)
def test_plan(spec: dict[str, Any], present: str, expected: str) -> None:
    plan = plan_pods(stateful_set(**spec), pods(present), CURRENT, UPDATE, NOW)
    assert brief(plan) == expected


def test_min_ready_seconds_makes_the_next_pod_wait() -> None:
    fresh = [pod("0:u", ago=10)]
    plan = plan_pods(stateful_set(minReadySeconds=30), fresh, CURRENT, UPDATE, NOW)
    assert (brief(plan), plan.again_seconds) == ("", 20.0)
    later = plan_pods(stateful_set(minReadySeconds=30), fresh, CURRENT, UPDATE, NOW + timedelta(seconds=20))
    assert brief(later) == "+1u"


def test_a_new_pod_mounts_its_claims_in_place_of_volumes_of_that_name() -> None:
    spec: dict[str, Any] = {"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]}
    update = revision("w-new")
    update["data"]["spec"]["template"]["spec"]["volumes"] = [{"name": "data", "emptyDir": {}}, {"name": "x"}]
    (created,) = plan_pods(stateful_set(**spec), [], CURRENT, update, NOW).create
    assert created["spec"]["volumes"] == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-w-0"}},
        {"name": "x"},
    ]
    assert (created["spec"]["hostname"], created["spec"]["subdomain"]) == ("w-0", "svc")


def test_adopted_pods_get_their_labels_and_pending_ones_their_claims() -> None:
    adopted = pod("0:u")
    del adopted["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"]
    plan = plan_pods(stateful_set(**PARALLEL), [adopted, *pods("1:up 2:u")], CURRENT, UPDATE, NOW)
    assert [one["metadata"]["name"] for one in plan.relabel] == ["w-0"]
    assert [one["metadata"]["name"] for one in plan.claims_for] == ["w-1"]


@pytest.mark.parametrize(
    ("spec", "present", "expected"),
    [
        ({}, "0: 1: 2:", {"replicas": 3, "readyReplicas": 3, "currentReplicas": 3, "availableReplicas": 3}),
        ({}, "0: 1: 2:ux", {"replicas": 3, "readyReplicas": 2, "currentReplicas": 2, "updatedReplicas": 1,
                            "availableReplicas": 2}),
        ({}, "0: 1: 2:t", {"replicas": 3, "readyReplicas": 3, "currentReplicas": 2, "availableReplicas": 3}),
        ({}, "", {"replicas": 0, "availableReplicas": 0}),
    ],
)  # fmt: skip
def test_status(spec: dict[str, Any], present: str, expected: dict[str, int]) -> None:
    status = plan_status(stateful_set(**spec), pods(present), CURRENT, UPDATE, 0, NOW)
    assert status == {
        **expected, "currentRevision": "w-old", "updateRevision": "w-new", "collisionCount": 0, "observedGeneration": 4
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "present", "current"),
    [({}, "0:u 1:u 2:u", "w-new"), ({}, "0:u 1:u 2:ux", "w-old"), (ON_DELETE, "0:u 1:u 2:u", "w-old")],
)
def test_the_update_revision_becomes_current_when_all_pods_have_it(
    spec: dict[str, Any], present: str, current: str
) -> None:
    status = plan_status(stateful_set(**spec), pods(present), CURRENT, UPDATE, 0, NOW)
    assert status["currentRevision"] == current
