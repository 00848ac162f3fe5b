"""DaemonSets on a running cluster: nodes come, change and go; templates roll."""

from __future__ import annotations

from typing import Any

from orchestrator.api.objects import Object, annotations_of, is_terminating, labels_of, name_of
from orchestrator.api.resources import CONTROLLER_REVISIONS, DAEMON_SETS, EVENTS, NODES, PODS
from orchestrator.controllers.daemonset.placement import target_of

from .conftest import Stage, TimedStage, template


def daemon_set(image: str = "web:1", pod: dict[str, Any] | None = None, **spec: Any) -> Object:
    """The DaemonSet `web` in `default`."""
    pods = template("web", image)
    pods["spec"].update(pod or {})
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": pods, **spec},
    }


async def add_nodes(stage: Stage, *names: str, labels: dict[str, str] | None = None) -> None:
    for name in names:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels or {}}}
        await stage.client.create(NODES, node)
        await taint(stage, name)  # a new node is not ready, and nobody here would tell that it is


async def taint(stage: Stage, node: str, *taints: str) -> None:
    spec = [{"key": key, "effect": effect} for key, _, effect in (one.partition(":") for one in taints)]
    await stage.client.patch(NODES, node, {"spec": {"taints": spec or None}})


async def set_image(stage: Stage, image: str) -> None:
    containers = [{"name": "c", "image": image}]
    await stage.client.patch(
        DAEMON_SETS, "web", {"spec": {"template": {"spec": {"containers": containers}}}}, "default"
    )


async def pods_of(stage: Stage) -> list[Object]:
    pods: list[Object] = (await stage.client.list(PODS, "default"))["items"]
    return pods


def placed(pods: list[Object]) -> list[str]:
    return sorted(target_of(pod) for pod in pods if not is_terminating(pod))


def images(pods: list[Object]) -> dict[str, str]:
    return {target_of(pod): pod["spec"]["containers"][0]["image"] for pod in pods if not is_terminating(pod)}


def counts(one: Object) -> tuple[int, ...]:
    status = one.get("status") or {}
    names = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled",
             "numberAvailable", "numberMisscheduled")  # fmt: skip
    return tuple(status.get(name, 0) for name in names)


async def test_a_pod_on_every_node_tied_by_name_with_tolerations_and_labels(stage: Stage) -> None:
    await add_nodes(stage, "a", "b", "c")
    await stage.client.create(DAEMON_SETS, daemon_set())
    one = await stage.until_one(DAEMON_SETS, "web", lambda one: counts(one) == (3, 3, 3, 3, 3, 0))
    assert one["status"]["observedGeneration"] == 1
    pods = await pods_of(stage)
    assert placed(pods) == ["a", "b", "c"]
    (revision,) = (await stage.client.list(CONTROLLER_REVISIONS, "default"))["items"]
    suffix = labels_of(revision)["controller-revision-hash"]
    assert name_of(revision) == f"web-{suffix}"
    assert revision["revision"] == 1
    for pod in pods:
        assert labels_of(pod) == {"app": "web", "controller-revision-hash": suffix, "pod-template-generation": "1"}
        (term,) = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
            "nodeSelectorTerms"
        ]
        assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [target_of(pod)]}]}
        tolerated = {(t["key"].rpartition("/")[2], t["effect"]) for t in pod["spec"]["tolerations"]}
        assert tolerated == {
            ("not-ready", "NoExecute"), ("unreachable", "NoExecute"), ("disk-pressure", "NoSchedule"),
            ("memory-pressure", "NoSchedule"), ("pid-pressure", "NoSchedule"), ("unschedulable", "NoSchedule"),
        }  # fmt: skip
    assert annotations_of(one)["deprecated.daemonset.template.generation"] == "1"

    def has_events(events: list[Object]) -> bool:
        return sum(int(e["count"]) for e in events if e["source"]["component"] == "daemonset-controller") == 3

    await stage.until(EVENTS, has_events)


async def test_nodes_come_and_go(stage: Stage) -> None:
    await add_nodes(stage, "a")
    await stage.client.create(DAEMON_SETS, daemon_set())
    await stage.until(PODS, lambda pods: placed(pods) == ["a"])
    await add_nodes(stage, "b")
    await stage.until(PODS, lambda pods: placed(pods) == ["a", "b"])
    await stage.client.delete(NODES, "a")
    await stage.until(PODS, lambda pods: placed(pods) == ["b"])


async def test_labels_and_taints_of_nodes_decide(stage: Stage) -> None:
    await add_nodes(stage, "a", "b", labels={"disk": "ssd"})
    await add_nodes(stage, "c")
    await stage.client.create(DAEMON_SETS, daemon_set(pod={"nodeSelector": {"disk": "ssd"}}))
    await stage.until(PODS, lambda pods: placed(pods) == ["a", "b"])
    await stage.client.patch(NODES, "c", {"metadata": {"labels": {"disk": "ssd"}}})
    await stage.until(PODS, lambda pods: placed(pods) == ["a", "b", "c"])
    await stage.client.patch(NODES, "a", {"metadata": {"labels": {"disk": "hdd"}}})
    await stage.until(PODS, lambda pods: placed(pods) == ["b", "c"])
    # A taint against scheduling lets a pod stay, one against running does not.
    await taint(stage, "b", "own:NoSchedule")
    await stage.until_one(DAEMON_SETS, "web", lambda one: counts(one)[0] == 1 and counts(one)[5] == 1)
    assert placed(await pods_of(stage)) == ["b", "c"]
    await taint(stage, "b", "own:NoExecute")
    await stage.until(PODS, lambda pods: placed(pods) == ["c"])
    await taint(stage, "b")
    await stage.until(PODS, lambda pods: placed(pods) == ["b", "c"])
    await taint(stage, "c", "node.kubernetes.io/unreachable:NoExecute", "node.kubernetes.io/not-ready:NoSchedule")
    await stage.until_one(DAEMON_SETS, "web", lambda one: counts(one)[0] == 1)
    assert placed(await pods_of(stage)) == ["b", "c"]


async def test_a_rolling_update_takes_one_node_at_a_time(stage: Stage) -> None:
    await add_nodes(stage, "a", "b", "c", "d")
    await stage.client.create(DAEMON_SETS, daemon_set())
    await stage.until_one(DAEMON_SETS, "web", lambda one: counts(one)[4] == 4)
    least: list[int] = []

    def watch(pods: list[Object]) -> bool:
        alive = [pod for pod in pods if not is_terminating(pod)]
        conditions = [(pod.get("status") or {}).get("conditions") or () for pod in alive]
        least.append(sum(any(c["type"] == "Ready" and c["status"] == "True" for c in cs) for cs in conditions))
        return set(images(pods).values()) == {"web:2"} and least[-1] == 4

    await set_image(stage, "web:2")
    await stage.until(PODS, watch)
    assert min(least) == 3
    await stage.until_one(DAEMON_SETS, "web", lambda one: counts(one) == (4, 4, 4, 4, 4, 0))
    revisions = (await stage.client.list(CONTROLLER_REVISIONS, "default"))["items"]
    assert sorted(r["revision"] for r in revisions) == [1, 2]


async def test_max_unavailable(timed: TimedStage) -> None:
    await add_nodes(timed, "a", "b", "c", "d")
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%"}}
    await timed.client.create(DAEMON_SETS, daemon_set(updateStrategy=strategy))
    await timed.after(1)
    timed.is_held = lambda pod: pod["spec"]["containers"][0]["image"] == "web:2"
    await set_image(timed, "web:2")
    await timed.after(10)
    assert sorted(images(await pods_of(timed)).values()) == ["web:1", "web:1", "web:2", "web:2"]


async def test_surge_brings_the_new_pod_before_the_old_one_goes(timed: TimedStage) -> None:
    await add_nodes(timed, "a", "b", "c")
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    await timed.client.create(DAEMON_SETS, daemon_set(updateStrategy=strategy))
    await timed.after(1)
    timed.is_held = lambda pod: pod["spec"]["containers"][0]["image"] == "web:2"
    await set_image(timed, "web:2")
    await timed.after(10)
    pods = await pods_of(timed)
    assert sorted(pod["spec"]["containers"][0]["image"] for pod in pods) == ["web:1", "web:1", "web:1", "web:2"]
    await timed.release()
    await timed.after(10)
    pods = await pods_of(timed)
    assert sorted(pod["spec"]["containers"][0]["image"] for pod in pods) == ["web:2", "web:2", "web:2"]


async def test_on_delete(timed: TimedStage) -> None:
    await add_nodes(timed, "a", "b")
    await timed.client.create(DAEMON_SETS, daemon_set(updateStrategy={"type": "OnDelete"}))
    await timed.after(1)
    await set_image(timed, "web:2")
    await timed.after(60)
    pods = await pods_of(timed)
    assert images(pods) == {"a": "web:1", "b": "web:1"}
    await timed.client.delete(PODS, next(name_of(pod) for pod in pods if target_of(pod) == "a"), "default")
    await timed.after(1)
    assert images(await pods_of(timed)) == {"a": "web:2", "b": "web:1"}
    (one,) = (await timed.client.list(DAEMON_SETS, "default"))["items"]
    assert one["status"]["updatedNumberScheduled"] == 1


async def test_failed_pods_are_replaced_later_and_later(timed: TimedStage) -> None:
    await add_nodes(timed, "a")
    timed.exit_code = lambda pod: 1
    await timed.client.create(DAEMON_SETS, daemon_set())
    seen: set[str] = set()
    total: list[int] = []
    for seconds in (0.5, 1.0, 2.0, 4.0):
        await timed.after(seconds)
        seen |= {pod["metadata"]["uid"] for pod in await pods_of(timed)}
        total.append(len(seen))
    assert total[-1] <= 5
    events = (await timed.client.list(EVENTS, "default"))["items"]
    failed = [e for e in events if e["reason"] == "FailedDaemonPod"]
    assert 2 <= len(failed) <= 4
    assert failed[0]["message"].endswith("on node a, will try to kill it")


async def test_old_revisions_beyond_the_limit_go(stage: Stage) -> None:
    await add_nodes(stage, "a")
    await stage.client.create(DAEMON_SETS, daemon_set(revisionHistoryLimit=1))
    await stage.until(PODS, lambda pods: images(pods) == {"a": "web:1"})
    for number in range(2, 5):
        await set_image(stage, f"web:{number}")
        await stage.until(PODS, lambda pods, n=number: images(pods) == {"a": f"web:{n}"})  # type: ignore[misc]
    await stage.until(CONTROLLER_REVISIONS, lambda now: sorted(r["revision"] for r in now) == [3, 4])
