"""StatefulSets on a running cluster: order, names, updates, claims, revisions."""

from __future__ import annotations

from typing import Any

from orchestrator.aiokit.clock import format_time
from orchestrator.api.objects import Object, controller_of, is_terminating, labels_of, name_of
from orchestrator.api.resources import (
    CONTROLLER_REVISIONS,
    EVENTS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RESOURCE_QUOTAS,
    STATEFUL_SETS,
)

from .conftest import Stage, TimedStage, template


def stateful_set(replicas: int = 3, image: str = "web:1", claims: tuple[str, ...] = (), **spec: Any) -> Object:
    """The StatefulSet `web` in `default`."""
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "serviceName": "web",
            "selector": {"matchLabels": {"app": "web"}},
            "template": template("web", image),
            "volumeClaimTemplates": [{"metadata": {"name": name}, "spec": claim} for name in claims],
            **spec,
        },
    }


def ready(count: int) -> Any:
    return lambda one: (one.get("status") or {}).get("readyReplicas", 0) == count


def rolled_out(one: Object) -> bool:
    status = one.get("status") or {}
    return bool(
        status.get("observedGeneration") == one["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == status.get("readyReplicas", 0) == one["spec"]["replicas"]
        and status["currentRevision"] == status["updateRevision"]
    )


def images(pods: list[Object]) -> dict[str, str]:
    return {name_of(pod): pod["spec"]["containers"][0]["image"] for pod in pods if not is_terminating(pod)}


async def patch(stage: Stage, **spec: Any) -> None:
    await stage.client.patch(STATEFUL_SETS, "web", {"spec": spec}, "default")


async def set_image(stage: Stage, image: str) -> None:
    await patch(stage, template={"spec": {"containers": [{"name": "c", "image": image}]}})


async def pods_of(stage: Stage) -> list[Object]:
    pods: list[Object] = (await stage.client.list(PODS, "default"))["items"]
    return pods


class History:
    """What was seen of the pods, change by change."""

    def __init__(self) -> None:
        self.names: list[list[str]] = []
        self.ready: list[set[str]] = []

    def record(self, pods: list[Object]) -> None:
        self.names.append([name_of(pod) for pod in pods])
        self.ready.append(
            {
                name_of(pod)
                for pod in pods
                for c in (pod.get("status") or {}).get("conditions") or ()
                if c["type"] == "Ready" and c["status"] == "True" and not is_terminating(pod)
            }
        )


async def test_pods_come_in_order_with_stable_names_and_go_in_reverse(stage: Stage) -> None:
    await stage.client.create(STATEFUL_SETS, stateful_set())
    history = History()

    def watch(pods: list[Object]) -> bool:
        history.record(pods)
        return len(history.ready[-1]) == 3

    pods = await stage.until(PODS, watch)
    for before, names in zip(history.ready, history.names[1:], strict=False):
        assert len(names) <= len(before) + 1
    one = await stage.until_one(STATEFUL_SETS, "web", rolled_out)
    for number, pod in enumerate(sorted(pods, key=name_of)):
        assert name_of(pod) == f"web-{number}"
        assert pod["spec"]["hostname"] == f"web-{number}"
        assert pod["spec"]["subdomain"] == "web"
        assert labels_of(pod) == {
            "app": "web", "statefulset.kubernetes.io/pod-name": f"web-{number}",
            "apps.kubernetes.io/pod-index": str(number), "controller-revision-hash": one["status"]["updateRevision"],
        }  # fmt: skip
    await patch(stage, replicas=0)
    gone: list[str] = []

    def watch_down(pods: list[Object]) -> bool:
        names = {name_of(pod) for pod in pods}
        gone.extend(name for name in ("web-2", "web-1", "web-0") if name not in names and name not in gone)
        return not pods

    await stage.until(PODS, watch_down)
    assert gone == ["web-2", "web-1", "web-0"]

    def has_events(events: list[Object]) -> bool:
        said = {(e["reason"], e["message"], e["source"]["component"]) for e in events}
        made = ("SuccessfulCreate", "create Pod web-0 in StatefulSet web successful", "statefulset-controller")
        went = ("SuccessfulDelete", "delete Pod web-2 in StatefulSet web successful", "statefulset-controller")
        return {made, went} <= said

    await stage.until(EVENTS, has_events)


async def test_order_waits_for_a_pod_that_is_not_ready(timed: TimedStage) -> None:
    timed.is_held = lambda pod: name_of(pod) == "web-1"
    await timed.client.create(STATEFUL_SETS, stateful_set())
    await timed.after(100)
    assert sorted(map(name_of, await pods_of(timed))) == ["web-0", "web-1"]
    await timed.release()
    await timed.after(1)
    assert len(await pods_of(timed)) == 3


async def test_scaling_stops_while_a_pod_is_not_well(timed: TimedStage) -> None:
    """In both directions; the lowest one that is not well goes in its turn."""
    await timed.client.create(STATEFUL_SETS, stateful_set(replicas=2))
    await timed.after(1)

    async def set_ready(ready: str) -> None:
        for pod in await pods_of(timed):
            condition = {"type": "Ready", "status": ready, "lastTransitionTime": format_time(timed.clock.now())}
            status = {"status": {"conditions": [condition]}}
            await timed.client.patch(PODS, name_of(pod), status, "default", subresource="status")
        await timed.after(1)

    await set_ready("False")
    one = await timed.client.get(STATEFUL_SETS, "web", "default")
    assert one["status"].get("readyReplicas", 0) == 0
    await patch(timed, replicas=3)
    await timed.after(20)
    assert len(await pods_of(timed)) == 2
    await set_ready("True")
    assert len(await pods_of(timed)) == 3
    await set_ready("False")
    await patch(timed, replicas=0)
    await timed.after(20)
    assert len(await pods_of(timed)) == 3
    await set_ready("True")
    assert await pods_of(timed) == []


async def test_parallel_pods_come_and_go_at_once(timed: TimedStage) -> None:
    timed.is_held = lambda pod: True
    await timed.client.create(STATEFUL_SETS, stateful_set(podManagementPolicy="Parallel"))
    await timed.after(1)
    assert len(await pods_of(timed)) == 3
    await patch(timed, replicas=1)
    await timed.after(1)
    assert [*map(name_of, await pods_of(timed))] == ["web-0"]


async def test_a_rolling_update_goes_from_the_highest_ordinal_one_by_one(stage: Stage) -> None:
    await stage.client.create(STATEFUL_SETS, stateful_set())
    first = await stage.until_one(STATEFUL_SETS, "web", rolled_out)
    order: list[str] = []
    least = 3
    history = History()

    def watch(pods: list[Object]) -> bool:
        nonlocal least
        history.record(pods)
        least = min(least, len(history.ready[-1]))
        now = images(pods)
        order.extend(name for name in ("web-2", "web-1", "web-0") if now.get(name) == "web:2" and name not in order)
        return len(order) == 3 and len(history.ready[-1]) == 3

    await set_image(stage, "web:2")
    await stage.until(PODS, watch)
    assert order == ["web-2", "web-1", "web-0"]
    assert least == 2
    last = await stage.until_one(STATEFUL_SETS, "web", rolled_out)
    assert last["status"]["currentRevision"] != first["status"]["currentRevision"]
    revisions = (await stage.client.list(CONTROLLER_REVISIONS, "default"))["items"]
    assert sorted(r["revision"] for r in revisions) == [1, 2]
    assert all(controller_of(r)["uid"] == first["metadata"]["uid"] for r in revisions)  # type: ignore[index]


async def test_a_rollback_reuses_the_revision_and_raises_its_number(stage: Stage) -> None:
    await stage.client.create(STATEFUL_SETS, stateful_set(replicas=1))
    first = await stage.until_one(STATEFUL_SETS, "web", rolled_out)
    for image in ("web:2", "web:1"):
        await set_image(stage, image)
        await stage.until(PODS, lambda pods, i=image: images(pods) == {"web-0": i})  # type: ignore[misc]
        last = await stage.until_one(STATEFUL_SETS, "web", rolled_out)
    assert last["status"]["updateRevision"] == first["status"]["updateRevision"]
    revisions = (await stage.client.list(CONTROLLER_REVISIONS, "default"))["items"]
    assert {name_of(r): r["revision"] for r in revisions}[last["status"]["updateRevision"]] == 3


async def test_partition_holds_back_lower_ordinals_also_when_they_are_recreated(stage: Stage) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    await stage.client.create(STATEFUL_SETS, stateful_set(updateStrategy=strategy))
    await stage.until_one(STATEFUL_SETS, "web", rolled_out)
    await set_image(stage, "web:2")
    expected = {"web-0": "web:1", "web-1": "web:1", "web-2": "web:2"}
    await stage.until(PODS, lambda pods: images(pods) == expected)
    old = next(pod for pod in await pods_of(stage) if name_of(pod) == "web-1")
    await stage.client.delete(PODS, "web-1", "default")

    def is_recreated(pods: list[Object]) -> bool:
        new = {name_of(pod): pod["metadata"]["uid"] for pod in pods}
        return bool(new.get("web-1", old["metadata"]["uid"]) != old["metadata"]["uid"])

    pods = await stage.until(PODS, is_recreated)
    assert images(pods)["web-1"] == "web:1"
    one = await stage.until_one(STATEFUL_SETS, "web", ready(3))
    assert one["status"]["currentRevision"] != one["status"]["updateRevision"]
    assert (one["status"]["currentReplicas"], one["status"]["updatedReplicas"]) == (2, 1)
    await patch(stage, updateStrategy={"rollingUpdate": {"partition": 0}})
    await stage.until(PODS, lambda pods: set(images(pods).values()) == {"web:2"})


async def test_on_delete_updates_only_what_somebody_deletes(timed: TimedStage) -> None:
    await timed.client.create(STATEFUL_SETS, stateful_set(updateStrategy={"type": "OnDelete"}))
    await timed.after(1)
    await set_image(timed, "web:2")
    await timed.after(60)
    assert set(images(await pods_of(timed)).values()) == {"web:1"}
    await timed.client.delete(PODS, "web-1", "default")
    await timed.after(1)
    assert images(await pods_of(timed)) == {"web-0": "web:1", "web-1": "web:2", "web-2": "web:1"}


async def test_max_unavailable_updates_several_at_a_time(timed: TimedStage) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}
    one = stateful_set(replicas=5, podManagementPolicy="Parallel", updateStrategy=strategy)
    await timed.client.create(STATEFUL_SETS, one)
    await timed.after(1)
    timed.is_held = lambda pod: True
    await set_image(timed, "web:2")
    await timed.after(10)
    assert sorted(name for name, image in images(await pods_of(timed)).items() if image == "web:2") == [
        "web-3", "web-4"]  # fmt: skip
    await timed.release()
    await timed.after(1)
    assert set(images(await pods_of(timed)).values()) == {"web:2"}


async def test_start_ordinal(stage: Stage) -> None:
    await stage.client.create(STATEFUL_SETS, stateful_set(replicas=2, ordinals={"start": 5}))
    await stage.until_one(STATEFUL_SETS, "web", ready(2))
    assert sorted(map(name_of, await pods_of(stage))) == ["web-5", "web-6"]


async def test_min_ready_seconds_delays_the_next_pod(timed: TimedStage) -> None:
    await timed.client.create(STATEFUL_SETS, stateful_set(replicas=2, minReadySeconds=30))
    await timed.after(29)
    assert [*map(name_of, await pods_of(timed))] == ["web-0"]
    (one,) = (await timed.client.list(STATEFUL_SETS, "default"))["items"]
    assert (one["status"]["readyReplicas"], one["status"]["availableReplicas"]) == (1, 0)
    await timed.after(2)
    assert len(await pods_of(timed)) == 2


async def test_a_failed_pod_is_recreated_under_its_name(stage: Stage) -> None:
    await stage.client.create(STATEFUL_SETS, stateful_set(replicas=1))
    await stage.until_one(STATEFUL_SETS, "web", ready(1))
    (pod,) = await pods_of(stage)
    await stage.finish(pod, 1)
    (again,) = await stage.until(
        PODS,
        lambda pods: (
            [p["metadata"]["uid"] != pod["metadata"]["uid"] for p in pods] == [True]
            and pods[0]["status"].get("phase") == "Running"
        ),
    )
    assert name_of(again) == "web-0"


async def test_no_pod_is_made_for_a_claim_that_is_being_deleted(timed: TimedStage) -> None:
    await timed.client.create(STATEFUL_SETS, stateful_set(replicas=1, claims=("data",)))
    await timed.until_one(STATEFUL_SETS, "web", ready(1))
    held = {"metadata": {"finalizers": ["example.com/hold"]}}
    await timed.client.patch(PERSISTENT_VOLUME_CLAIMS, "data-web-0", held, "default")
    await timed.client.delete(PERSISTENT_VOLUME_CLAIMS, "data-web-0", "default")
    (pod,) = await pods_of(timed)
    await timed.client.delete(PODS, name_of(pod), "default", grace_period_seconds=0)
    refusal = "create Pod web-0 in StatefulSet web failed error: pvc data-web-0 is being deleted"
    await timed.until(EVENTS, lambda events: any(e["message"] == refusal for e in events))
    assert await pods_of(timed) == []
    await timed.client.patch(PERSISTENT_VOLUME_CLAIMS, "data-web-0", {"metadata": {"finalizers": None}}, "default")
    await timed.until_one(STATEFUL_SETS, "web", ready(1))  # without the rest of the back-off


async def test_a_claim_that_is_refused_is_told_of_twice(stage: Stage) -> None:
    quota = {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": {"persistentvolumeclaims": "0"}}}
    await stage.client.create(RESOURCE_QUOTAS, {"apiVersion": "v1", "kind": "ResourceQuota", **quota})
    await stage.until_one(RESOURCE_QUOTAS, "q", lambda one: "hard" in (one.get("status") or {}))
    await stage.client.create(STATEFUL_SETS, stateful_set(replicas=1, claims=("data",)))
    claim = "create Claim data-web-0 for Pod web-0 in StatefulSet web failed error: "
    pod = "create Pod web-0 in StatefulSet web failed error: failed to create PVC data-web-0: "
    await stage.until(
        EVENTS, lambda events: all(any(e["message"].startswith(start) for e in events) for start in (claim, pod))
    )


async def test_the_status_counts_down_while_a_set_is_deleted(stage: Stage) -> None:
    await stage.client.create(STATEFUL_SETS, stateful_set(replicas=1))
    await stage.until_one(STATEFUL_SETS, "web", ready(1))
    await stage.client.patch(STATEFUL_SETS, "web", {"metadata": {"finalizers": ["example.com/hold"]}}, "default")
    await stage.client.delete(STATEFUL_SETS, "web", "default", propagation_policy="Foreground")
    one = await stage.until_one(STATEFUL_SETS, "web", lambda one: one["status"]["replicas"] == 0)
    assert one["status"]["observedGeneration"] == one["metadata"]["generation"]


async def test_claims_are_made_once_and_stay(stage: Stage) -> None:
    await stage.client.create(STATEFUL_SETS, stateful_set(replicas=2, claims=("data",)))
    await stage.until_one(STATEFUL_SETS, "web", ready(2))
    claims = (await stage.client.list(PERSISTENT_VOLUME_CLAIMS, "default"))["items"]
    assert sorted(map(name_of, claims)) == ["data-web-0", "data-web-1"]
    assert all(labels_of(c) == {"app": "web"} and not c["metadata"].get("ownerReferences") for c in claims)
    pods = sorted(await pods_of(stage), key=name_of)
    volume = next(v for v in pods[1]["spec"]["volumes"] if v["name"] == "data")
    assert volume["persistentVolumeClaim"]["claimName"] == "data-web-1"
    await patch(stage, replicas=0)
    await stage.until(PODS, lambda now: now == [])
    assert len((await stage.client.list(PERSISTENT_VOLUME_CLAIMS, "default"))["items"]) == 2


async def test_claims_go_with_pods_that_are_scaled_away_when_the_policy_says_so(stage: Stage) -> None:
    policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    await stage.client.create(
        STATEFUL_SETS, stateful_set(replicas=3, claims=("data",), persistentVolumeClaimRetentionPolicy=policy)
    )
    await stage.until_one(STATEFUL_SETS, "web", ready(3))
    await patch(stage, replicas=1)
    await stage.until(PERSISTENT_VOLUME_CLAIMS, lambda now: [*map(name_of, now)] == ["data-web-0"])
    await patch(stage, replicas=2)
    await stage.until_one(STATEFUL_SETS, "web", ready(2))
    names = sorted(map(name_of, (await stage.client.list(PERSISTENT_VOLUME_CLAIMS, "default"))["items"]))
    assert names == ["data-web-0", "data-web-1"]


async def test_claims_go_with_the_set_when_the_policy_says_so(stage: Stage) -> None:
    policy = {"whenScaled": "Retain", "whenDeleted": "Delete"}
    await stage.client.create(
        STATEFUL_SETS, stateful_set(replicas=1, claims=("data",), persistentVolumeClaimRetentionPolicy=policy)
    )
    await stage.until_one(STATEFUL_SETS, "web", ready(1))
    await stage.client.delete(STATEFUL_SETS, "web", "default", propagation_policy="Background")
    await stage.until(PERSISTENT_VOLUME_CLAIMS, lambda now: now == [])
    await stage.until(PODS, lambda now: now == [])


async def test_old_revisions_beyond_the_limit_go(stage: Stage) -> None:
    await stage.client.create(STATEFUL_SETS, stateful_set(replicas=1, revisionHistoryLimit=1))
    await stage.until_one(STATEFUL_SETS, "web", rolled_out)
    for number in range(2, 5):
        await set_image(stage, f"web:{number}")
        await stage.until(PODS, lambda pods, n=number: images(pods) == {"web-0": f"web:{n}"})  # type: ignore[misc]
        await stage.until_one(STATEFUL_SETS, "web", rolled_out)
    await stage.until(CONTROLLER_REVISIONS, lambda now: sorted(r["revision"] for r in now) == [3, 4])


async def test_an_orphan_with_a_fitting_name_is_adopted(stage: Stage) -> None:
    metadata = {"name": "web-0", "namespace": "default", "labels": {"app": "web"}}
    await stage.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", **template(), "metadata": metadata})
    created = await stage.client.create(STATEFUL_SETS, stateful_set(replicas=1, updateStrategy={"type": "OnDelete"}))
    label = "statefulset.kubernetes.io/pod-name"
    (pod,) = await stage.until(PODS, lambda now: bool(now and label in labels_of(now[0])))
    assert controller_of(pod)["uid"] == created["metadata"]["uid"]  # type: ignore[index]
