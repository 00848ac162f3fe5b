"""ReplicaSets on a running cluster."""

from __future__ import annotations

import pytest

from orchestrator.api.objects import Object, condition_of, controller_of, name_of
from orchestrator.api.resources import EVENTS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS

from .conftest import Stage, replica_set, template


def ready(n: int) -> object:
    return lambda rs: (rs.get("status") or {}).get("readyReplicas", 0) == n


async def test_a_deleted_pod_is_replaced(stage: Stage) -> None:
    await stage.client.create(REPLICA_SETS, replica_set())
    await stage.until_one(REPLICA_SETS, "web", ready(3))  # type: ignore[arg-type]
    pods = (await stage.client.list(PODS, "default"))["items"]
    await stage.client.delete(PODS, name_of(pods[0]), "default")
    names = {name_of(pod) for pod in pods[1:]}
    after = await stage.until(PODS, lambda now: len(now) == 3 and name_of(pods[0]) not in {name_of(pod) for pod in now})
    assert names < {name_of(pod) for pod in after}


async def test_never_more_pods_than_wanted_even_with_an_old_cache(stage: Stage) -> None:
    created: set[str] = set()

    def watch(pods: list[Object]) -> bool:
        created.update(name_of(pod) for pod in pods)
        return sum(bool((condition_of(pod, "Ready") or {}).get("status") == "True") for pod in pods) == 40

    await stage.client.create(REPLICA_SETS, replica_set(replicas=40))
    await stage.until(PODS, watch)
    rs = await stage.until_one(REPLICA_SETS, "web", ready(40))  # type: ignore[arg-type]
    assert rs["status"] == {
        "replicas": 40, "fullyLabeledReplicas": 40, "readyReplicas": 40, "availableReplicas": 40,
        "terminatingReplicas": 0, "observedGeneration": 1,
    }  # fmt: skip
    assert len(created) == 40


async def test_orphans_are_adopted_and_strangers_released(stage: Stage) -> None:
    orphan = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "orphan", "namespace": "default"}}
    orphan["metadata"]["labels"] = {"app": "web"}  # type: ignore[index]
    await stage.client.create(PODS, {**orphan, "spec": template()["spec"]})
    rs = await stage.client.create(REPLICA_SETS, replica_set(replicas=2))

    def adopted(pods: list[Object]) -> bool:
        uids = [(controller_of(pod) or {}).get("uid") for pod in pods]
        return uids == [rs["metadata"]["uid"]] * 2

    pods = await stage.until(PODS, adopted)
    assert "orphan" in {name_of(pod) for pod in pods}
    await stage.client.patch(PODS, "orphan", {"metadata": {"labels": {"app": "other"}}}, "default")
    after = await stage.until(PODS, lambda now: len(now) == 3 and sum(controller_of(pod) is None for pod in now) == 1)
    assert next(name_of(pod) for pod in after if controller_of(pod) is None) == "orphan"


async def test_min_ready_seconds_delays_availability(stage: Stage) -> None:
    await stage.client.create(REPLICA_SETS, replica_set(replicas=1, minReadySeconds=1))
    seen: list[tuple[int, int]] = []

    def watch(rs: Object) -> bool:
        status = rs.get("status") or {}
        seen.append((status.get("readyReplicas", 0), status.get("availableReplicas", 0)))
        return seen[-1] == (1, 1)

    await stage.until_one(REPLICA_SETS, "web", watch)
    assert (1, 0) in seen


async def test_a_pod_that_the_api_refuses_shows_as_event_and_condition(stage: Stage) -> None:
    refused = replica_set(replicas=2)
    # The API looks at finalizers of pods, not at those of templates.
    refused["spec"]["template"]["metadata"]["finalizers"] = ["not a name"]
    await stage.client.create(REPLICA_SETS, refused)
    rs = await stage.until_one(REPLICA_SETS, "web", lambda rs: condition_of(rs, "ReplicaFailure") is not None)
    condition = condition_of(rs, "ReplicaFailure")
    assert condition is not None
    assert condition["reason"] == "FailedCreate"
    await stage.until(EVENTS, lambda events: any(e["reason"] == "FailedCreate" for e in events))


@pytest.mark.parametrize("replicas", [0, 3])
async def test_replication_controllers_work_alike(stage: Stage, replicas: int) -> None:
    if not any(r.plural == "replicationcontrollers" for r in stage.cluster.resources()):
        pytest.skip("this API server has no ReplicationController yet")
    rc = {
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"app": "web"}, "template": template()},
    }  # fmt: skip
    await stage.client.create(REPLICATION_CONTROLLERS, rc)
    await stage.until_one(REPLICATION_CONTROLLERS, "web", ready(replicas))  # type: ignore[arg-type]
