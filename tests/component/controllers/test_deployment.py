"""Deployments on a running cluster: create, roll, roll back, scale, pause, fail."""

from __future__ import annotations

from typing import Any

from orchestrator.api.objects import Object, annotations_of, condition_of, labels_of, name_of, owner_reference
from orchestrator.api.resources import DEPLOYMENTS, EVENTS, PODS, REPLICA_SETS

from .conftest import Stage, deployment, replica_set


def is_rolled_out(d: Object) -> bool:
    status, wanted = d.get("status") or {}, d["spec"]["replicas"]
    progressing = condition_of(d, "Progressing")
    return (
        status.get("observedGeneration") == d["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
        and progressing is not None
        and progressing["reason"] == "NewReplicaSetAvailable"
    )


async def set_image(stage: Stage, image: str) -> None:
    containers = [{"name": "c", "image": image}]
    await stage.client.patch(
        DEPLOYMENTS, "web", {"spec": {"template": {"spec": {"containers": containers}}}}, "default"
    )


async def active_sets(stage: Stage) -> dict[str, int]:
    sets = (await stage.client.list(REPLICA_SETS, "default"))["items"]
    return {rs["spec"]["template"]["spec"]["containers"][0]["image"]: rs["spec"]["replicas"] for rs in sets}


async def test_a_deployment_comes_up_with_hash_revision_owner_and_events(stage: Stage) -> None:
    await stage.client.create(DEPLOYMENTS, deployment())
    d = await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)
    assert annotations_of(d)["deployment.kubernetes.io/revision"] == "1"
    (rs,) = (await stage.client.list(REPLICA_SETS, "default"))["items"]
    suffix = labels_of(rs)["pod-template-hash"]
    assert name_of(rs) == f"web-{suffix}"
    assert rs["metadata"]["ownerReferences"] == [owner_reference({**d, "apiVersion": "apps/v1", "kind": "Deployment"})]
    pods = (await stage.client.list(PODS, "default"))["items"]
    assert len(pods) == 3
    assert all(name_of(pod).startswith(f"web-{suffix}-") for pod in pods)
    assert all(labels_of(pod)["pod-template-hash"] == suffix for pod in pods)

    def has_events(events: list[Object]) -> bool:
        said = {(e["involvedObject"]["kind"], e["reason"], e["source"]["component"], e["message"]) for e in events}
        message = f"Scaled up replica set web-{suffix} from 0 to 3"
        created = [e for e in said if e[:3] == ("ReplicaSet", "SuccessfulCreate", "replicaset-controller")]
        return ("Deployment", "ScalingReplicaSet", "deployment-controller", message) in said and len(created) == 3

    await stage.until(EVENTS, has_events)


async def test_a_rolling_update_never_has_too_few_or_too_many_pods(stage: Stage) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
    await stage.client.create(DEPLOYMENTS, deployment(replicas=6, strategy=strategy))
    await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)
    seen: list[tuple[int, int]] = []

    def watch(pods: list[Object]) -> bool:
        alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        ready = [pod for pod in alive if (condition_of(pod, "Ready") or {}).get("status") == "True"]
        seen.append((len(alive), len(ready)))
        images = {pod["spec"]["containers"][0]["image"] for pod in pods}
        return images == {"web:2"} and len(ready) == 6

    await set_image(stage, "web:2")
    await stage.until(PODS, watch)
    assert max(alive for alive, _ in seen) <= 7
    assert min(ready for _, ready in seen) >= 5
    d = await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)
    assert annotations_of(d)["deployment.kubernetes.io/revision"] == "2"
    assert await active_sets(stage) == {"web:1": 0, "web:2": 6}


async def test_rolling_back_makes_the_old_replica_set_new_again(stage: Stage) -> None:
    await stage.client.create(DEPLOYMENTS, deployment())
    await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)
    for image in ("web:2", "web:1"):
        await set_image(stage, image)
        await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)
    d = await stage.until_one(
        DEPLOYMENTS, "web", lambda d: annotations_of(d)["deployment.kubernetes.io/revision"] == "3"
    )
    assert is_rolled_out(d)
    assert await active_sets(stage) == {"web:1": 3, "web:2": 0}
    first = next(
        rs
        for rs in (await stage.client.list(REPLICA_SETS, "default"))["items"]
        if rs["spec"]["template"]["spec"]["containers"][0]["image"] == "web:1"
    )
    assert annotations_of(first)["deployment.kubernetes.io/revision-history"] == "1"


async def test_recreate_stops_the_old_before_it_starts_the_new(stage: Stage) -> None:
    await stage.client.create(DEPLOYMENTS, deployment(strategy={"type": "Recreate"}))
    await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)
    mixed: list[set[str]] = []

    def watch(pods: list[Object]) -> bool:
        images = {pod["spec"]["containers"][0]["image"] for pod in pods}
        mixed.append(images)
        return images == {"web:2"} and len(pods) == 3

    await set_image(stage, "web:2")
    await stage.until(PODS, watch)
    assert {"web:1", "web:2"} not in mixed
    await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)


async def test_scaling_down_and_up(stage: Stage) -> None:
    await stage.client.create(DEPLOYMENTS, deployment(replicas=5))
    await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)
    for replicas in (1, 0, 4):
        await stage.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": replicas}}, "default")
        await stage.until(PODS, lambda pods, n=replicas: len(pods) == n)  # type: ignore[misc]
        await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)


async def test_scaling_in_the_middle_of_a_rollout_is_proportional(stage: Stage) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    await stage.client.create(DEPLOYMENTS, deployment(replicas=10, strategy=strategy))
    await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)
    stage.is_held = lambda pod: pod["spec"]["containers"][0]["image"] == "web:2"
    await set_image(stage, "web:2")

    def sizes(sets: list[Object]) -> dict[str, int]:
        return {rs["spec"]["template"]["spec"]["containers"][0]["image"]: rs["spec"]["replicas"] for rs in sets}

    await stage.until(REPLICA_SETS, lambda sets: sizes(sets) == {"web:1": 8, "web:2": 5})
    await stage.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 15}}, "default")
    await stage.until(REPLICA_SETS, lambda sets: sizes(sets) == {"web:1": 11, "web:2": 7})
    await stage.release()
    await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)


async def test_a_paused_deployment_takes_a_new_template_only_after_resume(stage: Stage) -> None:
    await stage.client.create(DEPLOYMENTS, deployment())
    await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)
    await stage.client.patch(DEPLOYMENTS, "web", {"spec": {"paused": True}}, "default")
    await stage.until_one(DEPLOYMENTS, "web", _progressing("DeploymentPaused"))
    await set_image(stage, "web:2")
    await stage.until_one(
        DEPLOYMENTS,
        "web",
        lambda d: (
            d["status"]["observedGeneration"] == d["metadata"]["generation"] and not d["status"].get("updatedReplicas")
        ),
    )
    assert await active_sets(stage) == {"web:1": 3}
    await stage.client.patch(DEPLOYMENTS, "web", {"spec": {"paused": None}}, "default")
    await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)
    assert await active_sets(stage) == {"web:1": 0, "web:2": 3}


def _progressing(reason: str) -> Any:
    return lambda d: (condition_of(d, "Progressing") or {}).get("reason") == reason


async def test_a_rollout_that_is_stuck_exceeds_its_deadline_and_recovers(stage: Stage) -> None:
    stage.is_held = lambda pod: True
    await stage.client.create(DEPLOYMENTS, deployment(progressDeadlineSeconds=1))
    d = await stage.until_one(DEPLOYMENTS, "web", _progressing("ProgressDeadlineExceeded"))
    condition = condition_of(d, "Progressing")
    assert condition is not None
    assert condition["status"] == "False"
    assert condition["message"].endswith("has timed out progressing.")
    available = condition_of(d, "Available")
    assert available is not None
    assert available["reason"] == "MinimumReplicasUnavailable"
    await stage.release()
    await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)


async def test_old_replica_sets_beyond_the_history_limit_go(stage: Stage) -> None:
    await stage.client.create(DEPLOYMENTS, deployment(replicas=1, revisionHistoryLimit=1))
    await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)
    for version in range(2, 5):
        await set_image(stage, f"web:{version}")
        await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)

    def images(sets: list[Object]) -> set[str]:
        return {rs["spec"]["template"]["spec"]["containers"][0]["image"] for rs in sets}

    await stage.until(REPLICA_SETS, lambda sets: images(sets) == {"web:3", "web:4"})


async def test_an_orphaned_replica_set_is_adopted(stage: Stage) -> None:
    orphan = replica_set("web", 3)
    orphan["metadata"]["labels"] = {"app": "web"}
    await stage.client.create(REPLICA_SETS, orphan)
    await stage.until(PODS, lambda pods: len(pods) == 3)
    created = await stage.client.create(DEPLOYMENTS, deployment())
    await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)
    sets = (await stage.client.list(REPLICA_SETS, "default"))["items"]
    assert [name_of(rs) for rs in sets] == ["web"]
    assert sets[0]["metadata"]["ownerReferences"][0]["uid"] == created["metadata"]["uid"]


async def test_deleting_a_deployment_deletes_everything_below_it(stage: Stage) -> None:
    await stage.client.create(DEPLOYMENTS, deployment())
    await stage.until_one(DEPLOYMENTS, "web", is_rolled_out)
    await stage.client.delete(DEPLOYMENTS, "web", "default")
    await stage.until(REPLICA_SETS, lambda sets: not sets)
    await stage.until(PODS, lambda pods: not pods)
