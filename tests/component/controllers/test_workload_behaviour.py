"""Deployments, StatefulSets, DaemonSets, Jobs and their revisions as Kubernetes' conformance suite exercises them."""

from __future__ import annotations

import asyncio
from typing import Any

from orchestrator.api.objects import (
    Object,
    condition_of,
    controller_of,
    labels_of,
    name_of,
    uid_of,
)
from orchestrator.api.resources import (
    CONTROLLER_REVISIONS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    RESOURCE_QUOTAS,
    STATEFUL_SETS,
)
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.controllers.history import REVISION_LABEL

from .conftest import Stage, TimedStage, deployment, replica_set, template
from .test_daemonset import add_nodes, daemon_set
from .test_job import TRACKING, has, job, pods_of
from .test_resourcequota import quota
from .test_statefulset import stateful_set


def image_of(pod: Object) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def images(*wanted: str) -> Any:
    return lambda pods: sorted(map(image_of, pods)) == sorted(wanted)


async def set_image(stage: Stage, resource: Any, name: str, image: str) -> Object:
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
    return await stage.client.patch(resource, name, patch, "default", content_type=STRATEGIC_MERGE_PATCH)


# Deployments.


async def test_a_rollover_abandons_the_rollout_in_between(stage: Stage) -> None:
    stage.is_held = lambda pod: image_of(pod) == "web:broken"
    await stage.client.create(DEPLOYMENTS, deployment(replicas=3))
    await stage.until_one(DEPLOYMENTS, "web", lambda one: one["status"].get("readyReplicas") == 3)
    await set_image(stage, DEPLOYMENTS, "web", "web:broken")
    await stage.until(PODS, lambda pods: any(image_of(pod) == "web:broken" for pod in pods))
    await set_image(stage, DEPLOYMENTS, "web", "web:3")
    await stage.until(PODS, images("web:3", "web:3", "web:3"))
    sets = (await stage.client.list(REPLICA_SETS, "default"))["items"]
    sizes = {image_of(one["spec"]["template"]): one["spec"]["replicas"] for one in sets}
    assert sizes == {"web:1": 0, "web:broken": 0, "web:3": 3}


async def test_a_hash_that_is_taken_leads_to_the_next_one(stage: Stage) -> None:
    """A ReplicaSet of another template with the very name that the rollout would give to its own."""
    await stage.client.create(DEPLOYMENTS, deployment(replicas=1))
    (first,) = await stage.until(REPLICA_SETS, lambda found: len(found) == 1)
    await stage.client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Orphan")
    await stage.until(DEPLOYMENTS, lambda found: not found)
    # Nobody's, of other labels, and in the way.
    await stage.client.delete(REPLICA_SETS, name_of(first), "default")
    await stage.until(REPLICA_SETS, lambda found: not found)
    await stage.client.create(REPLICA_SETS, {**replica_set("other", 0), "metadata": {
        "name": name_of(first), "namespace": "default"}})  # fmt: skip
    await stage.client.create(DEPLOYMENTS, deployment(replicas=1))
    one = await stage.until_one(DEPLOYMENTS, "web", lambda one: (one.get("status") or {}).get("readyReplicas") == 1)
    assert one["status"]["collisionCount"] == 1
    own = [rs for rs in (await stage.client.list(REPLICA_SETS, "default"))["items"] if controller_of(rs)]
    assert len(own) == 1
    assert name_of(own[0]) != name_of(first)


async def test_proportional_scaling_of_a_rollout_that_hangs(stage: Stage) -> None:
    """Ten replicas, surge 3, unavailable 2, an image that never starts; then thirty."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    stage.is_held = lambda pod: image_of(pod) == "web:none"
    await stage.client.create(DEPLOYMENTS, deployment(replicas=10, strategy=strategy))
    await stage.until_one(DEPLOYMENTS, "web", lambda one: one["status"].get("availableReplicas") == 10)
    await set_image(stage, DEPLOYMENTS, "web", "web:none")

    def sizes(first: int, second: int) -> Any:
        wanted = {"web:1": first, "web:none": second}
        return lambda sets: {image_of(rs["spec"]["template"]): rs["spec"]["replicas"] for rs in sets} == wanted

    await stage.until(REPLICA_SETS, sizes(8, 5))
    await stage.until_one(
        DEPLOYMENTS, "web", lambda one: one["status"]["observedGeneration"] == one["metadata"]["generation"]
    )
    await stage.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 30}}, "default", subresource="scale")
    await stage.until(REPLICA_SETS, sizes(20, 13))


async def test_a_replication_controller_shows_and_forgets_that_a_quota_stops_it(stage: Stage) -> None:
    await stage.client.create(RESOURCE_QUOTAS, quota({"pods": "2"}))
    await stage.until_one(RESOURCE_QUOTAS, "q", lambda one: "used" in (one.get("status") or {}))
    metadata = {"name": "rc", "namespace": "default"}
    spec = {"replicas": 3, "selector": {"app": "rc"}, "template": template("rc")}
    await stage.client.create(REPLICATION_CONTROLLERS, {
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": metadata, "spec": spec})  # fmt: skip
    one = await stage.until_one(
        REPLICATION_CONTROLLERS, "rc", lambda one: condition_of(one, "ReplicaFailure") is not None
    )
    failure = condition_of(one, "ReplicaFailure")
    assert failure is not None
    assert (failure["status"], failure["reason"]) == ("True", "FailedCreate")
    assert "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2" in failure["message"]
    await stage.client.patch(REPLICATION_CONTROLLERS, "rc", {"spec": {"replicas": 2}}, "default")
    await stage.until_one(REPLICATION_CONTROLLERS, "rc", lambda one: condition_of(one, "ReplicaFailure") is None)


# StatefulSets.


async def test_canary_then_phased_rollout(stage: Stage) -> None:
    await stage.client.create(STATEFUL_SETS, stateful_set(replicas=3))
    before = await stage.until_one(STATEFUL_SETS, "web", lambda one: one["status"].get("readyReplicas") == 3)
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    await stage.client.patch(STATEFUL_SETS, "web", {"spec": {"updateStrategy": strategy}}, "default")
    await set_image(stage, STATEFUL_SETS, "web", "web:2")
    canary = await stage.until_one(
        STATEFUL_SETS,
        "web",
        lambda one: (one["status"].get("updatedReplicas"), one["status"]["readyReplicas"]) == (1, 3),
    )
    current, update = canary["status"]["currentRevision"], canary["status"]["updateRevision"]
    assert current == before["status"]["currentRevision"] != update

    def revisions(*wanted: str) -> Any:
        names = dict(zip(("web-0", "web-1", "web-2"), wanted, strict=True))
        return lambda pods: (
            {name_of(p): labels_of(p)[REVISION_LABEL] for p in pods} == names
            and all(condition_of(p, "Ready") for p in pods)
        )

    await stage.until(PODS, revisions(current, current, update))
    # Whatever is deleted comes back on its own side of the partition.
    for name in ("web-0", "web-2"):
        await stage.client.delete(PODS, name, "default")
    await stage.until(PODS, revisions(current, current, update))
    for partition, wanted in ((1, (current, update, update)), (0, (update, update, update))):
        patch = {"spec": {"updateStrategy": {"rollingUpdate": {"partition": partition}}}}
        await stage.client.patch(STATEFUL_SETS, "web", patch, "default")
        await stage.until(PODS, revisions(*wanted))
    done = await stage.until_one(STATEFUL_SETS, "web", lambda one: one["status"].get("currentRevision") == update)
    assert done["status"]["currentReplicas"] == 3


async def test_an_ordinal_whose_name_a_stranger_holds_is_filled_when_he_is_gone(stage: Stage) -> None:
    """As the eviction test of the suite: another pod first stands in the way, then the member fails."""
    stranger: Object = {"apiVersion": "v1", "kind": "Pod", **template("stranger")}
    stranger["metadata"] = {"name": "web-0", "namespace": "default"}
    made = await stage.client.create(PODS, stranger)
    await stage.client.create(STATEFUL_SETS, stateful_set(replicas=1))
    await stage.until_one(STATEFUL_SETS, "web", lambda one: (one.get("status") or {}).get("observedGeneration") == 1)
    await stage.client.delete(PODS, "web-0", "default", uid=uid_of(made))
    (pod,) = await stage.until(PODS, lambda pods: any(
        uid_of(p) != uid_of(made) and p["status"].get("phase") == "Running" for p in pods))  # fmt: skip
    await stage.finish(pod, 1, reason="Evicted")
    (again,) = await stage.until(PODS, lambda pods: [uid_of(p) for p in pods] not in ([], [uid_of(pod)]))
    assert name_of(again) == "web-0"


async def test_burst_scaling_ignores_unhealthy_pods(stage: Stage) -> None:
    await stage.client.create(STATEFUL_SETS, stateful_set(replicas=1, podManagementPolicy="Parallel"))
    await stage.until_one(STATEFUL_SETS, "web", lambda one: one["status"].get("readyReplicas") == 1)
    stage.is_held = lambda pod: True
    await stage.client.patch(STATEFUL_SETS, "web", {"spec": {"replicas": 3}}, "default", subresource="scale")
    await stage.until(PODS, lambda pods: len(pods) == 3)
    await stage.client.patch(STATEFUL_SETS, "web", {"spec": {"replicas": 0}}, "default", subresource="scale")
    await stage.until(PODS, lambda pods: not pods)
    await stage.until_one(STATEFUL_SETS, "web", lambda one: one["status"]["replicas"] == 0)


# DaemonSets and revisions.


async def test_a_daemon_set_rolls_back_without_restarting_what_never_changed(stage: Stage) -> None:
    await add_nodes(stage, "a", "b", "c")
    stage.is_held = lambda pod: image_of(pod) == "foo:non-existent"
    await stage.client.create(DAEMON_SETS, daemon_set())
    await stage.until_one(DAEMON_SETS, "web", lambda one: one["status"].get("numberAvailable") == 3)
    before = {uid_of(pod) for pod in (await stage.client.list(PODS, "default"))["items"]}
    await set_image(stage, DAEMON_SETS, "web", "foo:non-existent")
    await stage.until(PODS, lambda pods: any(image_of(pod) == "foo:non-existent" for pod in pods))
    await set_image(stage, DAEMON_SETS, "web", "web:1")
    await stage.until(PODS, images("web:1", "web:1", "web:1"))
    after = {uid_of(pod) for pod in (await stage.client.list(PODS, "default"))["items"]}
    assert len(before & after) == 2


async def test_revisions_are_made_deleted_and_counted(stage: Stage) -> None:
    """A second revision of the same template becomes the one in use; the next template gets number 3."""
    await add_nodes(stage, "a")
    await stage.client.create(DAEMON_SETS, daemon_set())
    await stage.until_one(DAEMON_SETS, "web", lambda one: one["status"].get("numberAvailable") == 1)
    (first,) = (await stage.client.list(CONTROLLER_REVISIONS, "default"))["items"]
    copied = {key: first["metadata"][key] for key in ("namespace", "labels", "ownerReferences")}
    second = {**first, "metadata": {**copied, "name": "web-second"}, "revision": 2}
    await stage.client.create(CONTROLLER_REVISIONS, second)
    await stage.client.delete(CONTROLLER_REVISIONS, name_of(first), "default")
    patch = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 7}}}}
    await stage.client.patch(DAEMON_SETS, "web", patch, "default")
    found = await stage.until(CONTROLLER_REVISIONS, lambda found: len(found) == 2)
    assert sorted(one["revision"] for one in found) == [2, 3]
    await stage.client.delete(CONTROLLER_REVISIONS, "web-second", "default")
    await stage.until_one(DAEMON_SETS, "web", lambda one: (
        one["status"].get("updatedNumberScheduled"), one["status"].get("numberAvailable")) == (1, 1))  # fmt: skip
    (last,) = (await stage.client.list(CONTROLLER_REVISIONS, "default"))["items"]
    assert last["revision"] == 3


# Jobs.


async def test_a_job_adopts_an_orphan_and_releases_a_stranger(stage: Stage) -> None:
    await stage.client.create(JOBS, job(parallelism=2, completions=2))
    pods = await stage.until(PODS, lambda pods: [p["status"].get("phase") for p in pods] == ["Running"] * 2)
    orphan = name_of(pods[0])
    await stage.client.patch(PODS, orphan, {"metadata": {"ownerReferences": None}}, "default")
    await stage.until_one(PODS, orphan, lambda pod: controller_of(pod) is not None)
    labels = dict.fromkeys(labels_of(pods[1]))
    await stage.client.patch(PODS, name_of(pods[1]), {"metadata": {"labels": labels}}, "default")
    released = await stage.until_one(PODS, name_of(pods[1]), lambda pod: controller_of(pod) is None)
    # Nobody counts it any more, so nothing may hold it.
    released = await stage.until_one(
        PODS, name_of(released), lambda pod: TRACKING not in (pod["metadata"].get("finalizers") or ())
    )
    await stage.until_one(JOBS, "j", lambda one: one["status"].get("active") == 2)
    owned = [pod for pod in await pods_of(stage) if controller_of(pod)]
    assert {name_of(pod) for pod in owned} >= {orphan}
    assert len(owned) == 2


async def test_success_policy_by_count(stage: Stage) -> None:
    policy = {"rules": [{"succeededIndexes": "0-3", "succeededCount": 2}]}
    stage.exit_code = lambda pod: 0 if pod["spec"]["hostname"] in ("j-1", "j-3") else None
    await stage.client.create(JOBS, job(completions=5, parallelism=5, completionMode="Indexed", successPolicy=policy))
    done = await stage.until_one(JOBS, "j", has("Complete", "SuccessPolicy"))
    assert done["status"]["completedIndexes"] == "1,3"


async def test_scheduling_directives_of_a_suspended_job_are_those_it_starts_with(timed: TimedStage) -> None:
    await timed.client.create(JOBS, job(suspend=True))
    await timed.after(1)
    selector = {"spec": {"template": {"spec": {"nodeSelector": {"zone": "a"}}}}}
    await timed.client.patch(JOBS, "j", selector, "default")
    await timed.client.patch(JOBS, "j", {"spec": {"suspend": False}}, "default")
    await timed.after(1)
    (pod,) = await pods_of(timed)
    assert pod["spec"]["nodeSelector"] == {"zone": "a"}


async def test_an_eviction_is_no_failure_where_the_policy_ignores_disruptions(timed: TimedStage) -> None:
    """Evicting through the API marks the pod DisruptionTarget; the kubelet then ends it with a failure."""
    rules = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
    await timed.client.create(JOBS, job(completions=2, parallelism=2, completionMode="Indexed", backoffLimit=0,
                                        podFailurePolicy={"rules": rules}))  # fmt: skip
    await timed.after(0)
    for pod in await pods_of(timed):
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction",
                    "metadata": {"name": name_of(pod), "namespace": "default"}}  # fmt: skip
        await timed.client.create(PODS, eviction, "default", name=name_of(pod), subresource="eviction")
    await timed.after(1)
    timed.exit_code = lambda pod: 0
    await timed.after(60)
    await timed.release()
    await timed.after(60)
    one = await timed.client.get(JOBS, "j", "default")
    assert has("Complete")(one)
    assert one["status"].get("failed") is None
    assert one["status"]["completedIndexes"] == "0,1"


async def test_a_job_without_success_ends_at_its_deadline_also_while_it_backs_off(timed: TimedStage) -> None:
    timed.exit_code = lambda pod: 1
    await timed.client.create(JOBS, job(activeDeadlineSeconds=25, backoffLimit=10))
    await timed.after(40)
    one = await timed.client.get(JOBS, "j", "default")
    assert has("Failed", "DeadlineExceeded")(one)
    count = len(await pods_of(timed))
    await timed.after(600)
    assert len(await pods_of(timed)) == count


async def test_deleting_a_cron_job_takes_jobs_and_pods_along(timed: TimedStage) -> None:
    spec = {"schedule": "*/1 * * * *", "jobTemplate": {"spec": job("tick")["spec"]}}
    metadata = {"name": "tick", "namespace": "default"}
    await timed.client.create(
        CRON_JOBS, {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec}
    )
    await timed.after(125)
    assert len(await pods_of(timed)) == 2
    await timed.client.delete(CRON_JOBS, "tick", "default")
    await timed.after(5)
    assert await pods_of(timed) == []
    assert (await timed.client.list(JOBS, "default"))["items"] == []


async def test_many_changes_of_one_deployment_at_once_lose_no_revision(stage: Stage) -> None:
    await stage.client.create(DEPLOYMENTS, deployment(replicas=2, revisionHistoryLimit=20))
    await stage.until_one(DEPLOYMENTS, "web", lambda one: (one.get("status") or {}).get("readyReplicas") == 2)
    await asyncio.gather(*(set_image(stage, DEPLOYMENTS, "web", f"web:{number}") for number in range(2, 8)))
    last = await stage.client.get(DEPLOYMENTS, "web", "default")
    wanted = image_of(last["spec"]["template"])
    await stage.until(PODS, images(wanted, wanted))
    sets = (await stage.client.list(REPLICA_SETS, "default"))["items"]
    numbers = [int(rs["metadata"]["annotations"]["deployment.kubernetes.io/revision"]) for rs in sets]
    assert len(set(numbers)) == len(numbers)
    newest = max(sets, key=lambda rs: int(rs["metadata"]["annotations"]["deployment.kubernetes.io/revision"]))
    assert image_of(newest["spec"]["template"]) == wanted


async def test_a_pod_that_a_job_adopts_is_held_again_and_counted(stage: Stage) -> None:
    await stage.client.create(JOBS, job())
    (pod,) = await stage.until(PODS, lambda pods: [p["status"].get("phase") for p in pods] == ["Running"])
    await stage.client.patch(PODS, name_of(pod), {"metadata": {"ownerReferences": None, "finalizers": None}}, "default")

    def is_held(one: Object) -> bool:
        return controller_of(one) is not None and one["metadata"].get("finalizers") == [TRACKING]

    await stage.until_one(PODS, name_of(pod), is_held)
    await stage.finish(pod, 0)
    done = await stage.until_one(JOBS, "j", has("Complete"))
    assert done["status"]["succeeded"] == 1
