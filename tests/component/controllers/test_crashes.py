"""Crashes, refusals, conflicts and late caches in the middle of everything: what must hold at every moment.

Each test draws what people do and a seed for what goes wrong, lets it happen, and looks at every state that
anybody could have seen: no duplicate, no orphan, no lost revision, no lost finalizer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.api import errors
from orchestrator.api.objects import Object, annotations_of, controller_of, is_terminating, labels_of, name_of, uid_of
from orchestrator.api.resources import (
    CONTROLLER_REVISIONS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    JOBS,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    STATEFUL_SETS,
    VOLUME_ATTACHMENTS,
)
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.controllers.attachdetach.controller import MANAGED
from orchestrator.controllers.daemonset.placement import target_of
from orchestrator.controllers.deployment.revisions import REVISION
from orchestrator.controllers.history import REVISION_LABEL
from orchestrator.controllers.pods import is_active, is_finished, is_ready

from .conftest import deployment, replica_set
from .crashing import Lives, crashing
from .test_attachdetach import UNIQUE, add_bound_volume, answer_attachment, attached, using_pod
from .test_cronjob import cron_job
from .test_daemonset import add_nodes, daemon_set
from .test_endpoints import mine, service
from .test_job import INDEX, TRACKING, job
from .test_statefulset import stateful_set

few = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
# Digits below 100 each: Hypothesis mixes greater integers that it finds in the modules that happen to be imported into
# what it draws, so that even derandomized examples would depend on which tests ran before.
seeds = st.tuples(*[st.integers(0, 99)] * 4).map(lambda digits: sum(n * 100**place for place, n in enumerate(digits)))
waits = st.sampled_from([0.0, 0.5, 3.0, 20.0])


def steps(*kinds: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[Any, float]]]:
    """What people do, and how long they wait after it."""
    return st.lists(st.tuples(st.one_of(*kinds), waits), min_size=2, max_size=6)


scale = st.tuples(st.just("scale"), st.integers(0, 5))
image = st.tuples(st.just("image"), st.integers(1, 3))
kill = st.tuples(st.just("kill"), st.integers(0, 4))


async def act(lives: Lives, resource: Any, name: str, step: tuple[str, int]) -> None:
    """One thing that somebody does to a workload."""
    client, (what, number) = lives.stage.client, step
    if what == "scale":
        await client.patch(resource, name, {"spec": {"replicas": number}}, "default")
    elif what == "image":
        spec = {"containers": [{"name": "c", "image": f"web:{number}"}]}
        patch = {"spec": {"template": {"spec": spec}}}
        await client.patch(resource, name, patch, "default", content_type=STRATEGIC_MERGE_PATCH)
    elif what == "kill":
        pods = (await client.list(PODS, "default"))["items"]
        if pods:
            try:
                await client.delete(PODS, name_of(pods[number % len(pods)]), "default")
            except errors.NotFound:
                return
    else:
        await client.patch(resource, name, {"spec": {what: bool(number)}}, "default")


def owned(pods: dict[str, Object], uid: str) -> list[Object]:
    return [pod for pod in pods.values() if (controller_of(pod) or {}).get("uid") == uid]


def check_no_orphans(world: dict[str, dict[str, Object]], *kinds: str) -> None:
    """At the end, whatever has a controller has one that exists."""
    uids = {uid_of(one) for objects in world.values() for one in objects.values()}
    for kind in kinds:
        for one in world.get(kind, {}).values():
            reference = controller_of(one)
            assert reference is not None, name_of(one)
            assert reference["uid"] in uids, name_of(one)


def image_of(obj: Object) -> str:
    spec = obj["spec"]["template"]["spec"] if "template" in obj["spec"] else obj["spec"]
    return str(spec["containers"][0]["image"])


# Deployments.


@few
@given(seeds, steps(scale, image, kill, st.tuples(st.just("paused"), st.integers(0, 1))))
def test_deployments(seed: int, actions: list[tuple[Any, float]]) -> None:
    asyncio.run(run_deployment(seed, actions))


async def run_deployment(seed: int, actions: list[tuple[Any, float]]) -> None:
    recorded = (PODS, REPLICA_SETS, DEPLOYMENTS)
    async with crashing("deployment", "replicaset", "garbagecollector", seed=seed, recorded=recorded) as lives:
        await lives.stage.client.create(DEPLOYMENTS, deployment(replicas=3))
        for step, seconds in actions:
            await act(lives, DEPLOYMENTS, "web", step)
            await lives.pass_time(seconds)
        await act(lives, DEPLOYMENTS, "web", ("paused", 0))
        await lives.calm_down()
        world = check_deployment(lives)
        one = world["Deployment"]["default/web"]
        wanted = one["spec"]["replicas"]
        assert one["status"].get("availableReplicas", 0) == wanted
        assert [image_of(pod) for pod in world.get("Pod", {}).values()] == [image_of(one)] * wanted
        check_no_orphans(world, "ReplicaSet", "Pod")
        await lives.stage.client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Foreground")
        await lives.pass_time(60)
        for resource in recorded:
            assert (await lives.stage.client.list(resource, "default"))["items"] == []


def check_deployment(lives: Lives) -> dict[str, dict[str, Object]]:
    most: Counter[str] = Counter()
    revisions: dict[str, int] = {}
    world: dict[str, dict[str, Object]] = {}
    for record, world in lives.moments():
        obj = record.obj
        if obj["kind"] == "ReplicaSet":
            most[uid_of(obj)] = max(most[uid_of(obj)], obj["spec"]["replicas"])
            number = int(annotations_of(obj)[REVISION])
            assert number >= revisions.get(uid_of(obj), 0), "a revision was taken back"
            revisions[uid_of(obj)] = number
            images = Counter(image_of(rs) for rs in world["ReplicaSet"].values())
            assert max(images.values(), default=0) <= 1, "two ReplicaSets of one template"
        elif obj["kind"] == "Pod" and record.type == "ADDED":
            owner = controller_of(obj)
            assert owner is not None
            active = [pod for pod in owned(world["Pod"], owner["uid"]) if is_active(pod)]
            assert len(active) <= most[owner["uid"]], "more pods than there were ever to be"
    newest = {int(annotations_of(rs)[REVISION]): rs for rs in world["ReplicaSet"].values()}
    assert len(newest) == len(world["ReplicaSet"]), "two ReplicaSets of one revision"
    one = world["Deployment"]["default/web"]
    assert annotations_of(one)[REVISION] == str(max(newest))
    assert image_of(newest[max(newest)]) == image_of(one)
    return world


# StatefulSets.


@few
@given(seeds, st.sampled_from(["OrderedReady", "Parallel"]), steps(scale, image, kill))
def test_stateful_sets(seed: int, policy: str, actions: list[tuple[Any, float]]) -> None:
    asyncio.run(run_stateful_set(seed, policy, actions))


async def run_stateful_set(seed: int, policy: str, actions: list[tuple[Any, float]]) -> None:
    recorded = (PODS, CONTROLLER_REVISIONS, STATEFUL_SETS)
    async with crashing("statefulset", "garbagecollector", seed=seed, recorded=recorded) as lives:
        await lives.stage.client.create(STATEFUL_SETS, stateful_set(replicas=2, podManagementPolicy=policy))
        for step, seconds in actions:
            await act(lives, STATEFUL_SETS, "web", step)
            await lives.pass_time(seconds)
        await lives.calm_down()
        world = check_revisions(lives, "StatefulSet", name_of)
        one = world["StatefulSet"]["default/web"]
        wanted = one["spec"]["replicas"]
        pods = world.get("Pod", {})
        assert sorted(pods) == [f"default/web-{ordinal}" for ordinal in range(wanted)]
        assert {image_of(pod) for pod in pods.values()} <= {image_of(one)}
        status = one["status"]
        assert status["currentRevision"] == status["updateRevision"]
        assert (status["replicas"], status.get("readyReplicas", 0)) == (wanted, wanted)
        check_no_orphans(world, "ControllerRevision", "Pod")
        if policy == "OrderedReady":
            check_order(lives)


def check_revisions(lives: Lives, kind: str, identity: Any) -> dict[str, dict[str, Object]]:
    """A revision that a pod runs, or that the status names, exists; no two have one number or one content."""
    world: dict[str, dict[str, Object]] = {}
    for record, world in lives.moments():
        present = [one for one in world.get("ControllerRevision", {}).values() if not is_terminating(one)]
        if record.obj["kind"] == "ControllerRevision":
            contents = Counter(image_of({"spec": one["data"]["spec"]}) for one in present)
            assert max(contents.values(), default=0) <= 1, "two revisions of one template"
        known = {identity(one) for one in present}
        for pod in world.get("Pod", {}).values():
            assert labels_of(pod)[REVISION_LABEL] in known, "a pod runs a revision that is lost"
        for one in world.get(kind, {}).values():
            status = one.get("status") or {}
            for name in ("currentRevision", "updateRevision"):
                assert status.get(name) in {None, "", *known}, "the status names a revision that is lost"
    numbers = [one["revision"] for one in world["ControllerRevision"].values()]
    assert len(set(numbers)) == len(numbers)
    return world


def check_order(lives: Lives) -> None:
    """A member is made only after all below it were made and had been ready."""
    was_ready: set[str] = set()
    for record in lives.history:
        obj = record.obj
        if obj["kind"] != "Pod":
            continue
        if is_ready(obj):
            was_ready.add(name_of(obj))
        if record.type == "ADDED":
            ordinal = int(name_of(obj).rpartition("-")[2])
            for below in range(ordinal):
                assert f"web-{below}" in was_ready


# DaemonSets.


@few
@given(seeds, steps(image, kill))
def test_daemon_sets(seed: int, actions: list[tuple[Any, float]]) -> None:
    asyncio.run(run_daemon_set(seed, actions))


async def run_daemon_set(seed: int, actions: list[tuple[Any, float]]) -> None:
    recorded = (PODS, CONTROLLER_REVISIONS, DAEMON_SETS)
    async with crashing("daemonset", "garbagecollector", seed=seed, recorded=recorded) as lives:
        await add_nodes(lives.stage, "a", "b", "c")
        await lives.stage.client.create(DAEMON_SETS, daemon_set())
        for number, (step, seconds) in enumerate(actions):
            await act(lives, DAEMON_SETS, "web", step)
            if number == 1:
                await lives.stage.client.delete(NODES, "a")
            await lives.pass_time(seconds)
        await lives.calm_down()
        world = check_revisions(lives, "DaemonSet", lambda one: labels_of(one)[REVISION_LABEL])
        pods = world["Pod"].values()
        assert sorted(target_of(pod) for pod in pods) == ["b", "c"]
        assert {image_of(pod) for pod in pods} == {image_of(world["DaemonSet"]["default/web"])}
        for record, moment in lives.moments():
            if record.obj["kind"] == "Pod" and record.type == "ADDED":
                per_node = Counter(target_of(pod) for pod in moment["Pod"].values() if is_active(pod))
                assert max(per_node.values()) <= 1, "two pods of a DaemonSet on one node"


# Jobs.

parallelism = st.tuples(st.just("parallelism"), st.integers(0, 4))
suspend = st.tuples(st.just("suspend"), st.integers(0, 1))
finish = st.tuples(st.sampled_from(["succeed", "fail"]), st.integers(0, 4))


async def act_on_job(lives: Lives, step: tuple[str, int]) -> None:
    client, (what, number) = lives.stage.client, step
    if what in ("parallelism", "suspend"):
        value = number if what == "parallelism" else bool(number)
        await client.patch(JOBS, "j", {"spec": {what: value}}, "default")
    elif what == "kill":
        await act(lives, JOBS, "j", (what, number))
    else:
        running = [pod for pod in (await client.list(PODS, "default"))["items"]
                   if pod["status"].get("phase") == "Running" and not is_terminating(pod)]  # fmt: skip
        if running:
            await lives.stage.finish(running[number % len(running)], 0 if what == "succeed" else 1)


@few
@given(seeds, st.booleans(), steps(parallelism, suspend, kill, finish))
def test_jobs(seed: int, indexed: bool, actions: list[tuple[Any, float]]) -> None:
    asyncio.run(run_job(seed, indexed, actions))


async def run_job(seed: int, indexed: bool, actions: list[tuple[Any, float]]) -> None:
    mode = {"completionMode": "Indexed"} if indexed else {}
    async with crashing("job", "garbagecollector", seed=seed, recorded=(PODS, JOBS)) as lives:
        await lives.stage.client.create(JOBS, job(completions=5, parallelism=3, backoffLimit=1000, **mode))
        for step, seconds in actions:
            await act_on_job(lives, step)
            await lives.pass_time(seconds)
        await lives.stage.client.patch(JOBS, "j", {"spec": {"suspend": False, "parallelism": 3}}, "default")
        lives.stage.exit_code = lambda pod: 0
        await lives.stage.release()
        await lives.calm_down()
        one = check_job(lives, indexed=indexed)
        assert {c["type"] for c in one["status"]["conditions"] if c["status"] == "True"} >= {"Complete"}
        assert one["status"]["succeeded"] == 5
        if indexed:
            assert one["status"]["completedIndexes"] == "0-4"
        await lives.stage.client.delete(JOBS, "j", "default", propagation_policy="Background")
        await lives.pass_time(60)
        assert (await lives.stage.client.list(PODS, "default"))["items"] == []


def check_job(lives: Lives, *, indexed: bool) -> Object:
    most = 0
    counted: set[str] = set()
    succeeded = 0
    one: Object = {}
    world: dict[str, dict[str, Object]] = {}
    held: dict[str, bool] = {}
    """Whether a pod carried the finalizer when it was seen last."""
    for record, world in lives.moments():
        obj = record.obj
        if obj["kind"] == "Job":
            one = obj
            most = max(most, obj["spec"]["parallelism"])
            status = obj.get("status") or {}
            uncounted = status.get("uncountedTerminatedPods") or {}
            counted |= {*(uncounted.get("succeeded") or ()), *(uncounted.get("failed") or ())}
            assert status.get("succeeded", 0) >= succeeded, "a success was forgotten"
            succeeded = status.get("succeeded", 0)
            assert succeeded <= 5
            continue
        was_held, held[uid_of(obj)] = held.get(uid_of(obj)), TRACKING in (obj["metadata"].get("finalizers") or ())
        if was_held and not held[uid_of(obj)] and is_finished(obj):
            # Indexed successes are in completedIndexes at once; everything else is listed first. What was let go
            # while it ran is what suspension or fewer parallel pods took away, and counts as nothing.
            is_listed = uid_of(obj) in counted or (indexed and obj["status"]["phase"] == "Succeeded")
            assert is_listed or is_suspended_or_done(one), "a finished pod was let go before it was counted"
        if record.type == "ADDED":
            assert TRACKING in obj["metadata"]["finalizers"]
            active = [pod for pod in world["Pod"].values() if is_active(pod)]
            assert len(active) <= most, "more pods than parallelism ever allowed"
            if indexed:
                indexes = Counter(annotations_of(pod)[INDEX] for pod in active)
                assert max(indexes.values()) <= 1, "two pods of one index"
    left = [pod for pod in world.get("Pod", {}).values() if TRACKING in (pod["metadata"].get("finalizers") or ())]
    assert not left, "a finalizer was left behind"
    return one


def is_suspended_or_done(one: Object) -> bool:
    """Pods that are deleted because of suspension or the end of the Job count as nothing."""
    if one["spec"].get("suspend"):
        return True
    return any(c["status"] == "True" for c in (one.get("status") or {}).get("conditions") or ())


# CronJobs and endpoints.


@few
@given(seeds, st.sampled_from(["Allow", "Forbid", "Replace"]), steps(suspend, st.just(("finish", 0))))
# The write of the status that names a new Job fails, and the CronJob is suspended before it can be tried again.
@example(508, "Allow", [(("finish", 0), 20.0), (("suspend", 1), 0.0), (("suspend", 0), 0.0)])
# The same, and the schedule goes on while that Job runs.
@example(508, "Forbid", [(("finish", 0), 20.0), (("suspend", 1), 0.0), (("suspend", 0), 20.0), (("finish", 0), 0.0)])
def test_cron_jobs(seed: int, policy: str, actions: list[tuple[Any, float]]) -> None:
    asyncio.run(run_cron_job(seed, policy, actions))


async def run_cron_job(seed: int, policy: str, actions: list[tuple[Any, float]]) -> None:
    async with crashing("cronjob", "job", "garbagecollector", seed=seed, recorded=(CRON_JOBS, JOBS)) as lives:
        client = lives.stage.client
        await client.create(CRON_JOBS, cron_job("*/1 * * * *", concurrencyPolicy=policy))
        for (what, number), seconds in actions:
            await lives.pass_time(50 + seconds)
            if what == "suspend":
                await client.patch(CRON_JOBS, "c", {"spec": {"suspend": bool(number)}}, "default")
                continue
            for pod in (await client.list(PODS, "default"))["items"]:
                if pod["status"].get("phase") == "Running" and not is_terminating(pod):
                    await lives.stage.finish(pod)
        await client.patch(CRON_JOBS, "c", {"spec": {"suspend": True}}, "default")
        await lives.calm_down()
        made: Counter[str] = Counter()
        times: Counter[str] = Counter()
        for record, world in lives.moments():
            if record.obj["kind"] != "Job" or record.type != "ADDED":
                continue
            made[name_of(record.obj)] += 1
            times[annotations_of(record.obj)["batch.kubernetes.io/cronjob-scheduled-timestamp"]] += 1
            if policy != "Allow":
                running = [one for one in world["Job"].values() if not is_over(one) and not is_terminating(one)]
                assert len(running) <= 1, "two Jobs at a time"
        assert max(made.values(), default=0) <= 1, "a Job was made twice"
        assert max(times.values(), default=0) <= 1, "a time has two Jobs"
        (one,) = (await client.list(CRON_JOBS, "default"))["items"]
        jobs = {uid_of(job): job for job in (await client.list(JOBS, "default"))["items"]}
        assert {uid for uid, job in jobs.items() if not is_over(job)} == {
            active["uid"] for active in (one.get("status") or {}).get("active") or ()
        }


def is_over(one: Object) -> bool:
    conditions = (one.get("status") or {}).get("conditions") or ()
    return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)


@few
@given(seeds, steps(scale, kill, st.tuples(st.just("selector"), st.integers(0, 1))))
def test_endpoints(seed: int, actions: list[tuple[Any, float]]) -> None:
    asyncio.run(run_endpoints(seed, actions))


async def run_endpoints(seed: int, actions: list[tuple[Any, float]]) -> None:
    names = ("replicaset", "endpoint", "endpointslice", "endpointslicemirroring", "garbagecollector")
    async with crashing(*names, seed=seed, recorded=(PODS, ENDPOINT_SLICES)) as lives:
        client = lives.stage.client
        await client.create(SERVICES, service())
        await client.create(REPLICA_SETS, replica_set(replicas=3))
        for step, seconds in actions:
            if step[0] == "selector":
                selector = {"app": "web" if step[1] else "nobody"}
                await client.patch(SERVICES, "web", {"spec": {"selector": selector}}, "default")
            else:
                await act(lives, REPLICA_SETS, "web", step)
            await lives.pass_time(seconds)
        await lives.calm_down()
        one = await client.get(SERVICES, "web", "default")
        pods = (await client.list(PODS, "default", label_selector=f"app={one['spec']['selector']['app']}"))["items"]
        slices = mine((await client.list(ENDPOINT_SLICES, "default"))["items"])
        listed = Counter(e["targetRef"]["uid"] for piece in slices for e in piece["endpoints"] or ())
        assert listed == Counter(map(uid_of, pods)), "each pod is in one slice once"
        endpoints = await client.get(ENDPOINTS, "web", "default")
        addresses = [a["targetRef"]["uid"] for s in endpoints.get("subsets") or () for a in s.get("addresses") or ()]
        assert sorted(addresses) == sorted(map(uid_of, pods))
        await client.delete(SERVICES, "web", "default")
        await lives.pass_time(60)
        assert mine((await client.list(ENDPOINT_SLICES, "default"))["items"]) == []
        assert "web" not in {name_of(e) for e in (await client.list(ENDPOINTS, "default"))["items"]}


# Attached volumes.

run = st.tuples(st.just("run"), st.integers(0, 1))
end = st.tuples(st.just("end"), st.integers(0, 1))
mount = st.tuples(st.just("mount"), st.integers(0, 1))
again = st.tuples(st.just("again"), st.integers(0, 1))
"""The next pod comes before caches know that the last one has gone."""


class Kubelets:
    """What attacher and kubelets do about one volume that a single node can have."""

    def __init__(self, lives: Lives) -> None:
        self.lives = lives
        self.client = lives.stage.client
        self.mounted: dict[str, int] = {}
        """By node: the revision from which on it has the volume mounted."""
        self.times: list[tuple[str, int, int]] = []
        """(node, first revision, last revision) of everything that was mounted."""

    async def act(self, what: str, node: str) -> None:
        if what in ("end", "again"):
            with suppress(errors.NotFound):
                await self.client.delete(PODS, f"on-{node}", "default", grace_period_seconds=0)
            await self._use(node, None)
        if what in ("run", "again"):
            with suppress(errors.AlreadyExists):
                await self.client.create(PODS, using_pod(f"on-{node}", node))
        if what == "run":
            await self.lives.pass_time(5)
        for one in (await self.client.list(VOLUME_ATTACHMENTS))["items"]:
            await answer_attachment(self.client, one)
        if what == "run":
            await self.lives.pass_time(5)
        if what in ("run", "again", "mount") and node not in self.mounted:
            in_use = await self._use(node, [UNIQUE])
            if UNIQUE in attached(await self.client.get(NODES, node)):
                self.mounted[node] = in_use

    async def _use(self, node: str, volumes: list[str] | None) -> int:
        patch = {"status": {"volumesInUse": volumes}}
        written = await self.client.patch(NODES, node, patch, subresource="status")
        revision = int(written["metadata"]["resourceVersion"])
        if volumes is None and node in self.mounted:
            self.times.append((node, self.mounted.pop(node), revision))
        return revision


@few
@given(seeds, steps(run, end, mount, again))
def test_attached_volumes(seed: int, actions: list[tuple[Any, float]]) -> None:
    asyncio.run(run_attached_volumes(seed, actions))


async def run_attached_volumes(seed: int, actions: list[tuple[Any, float]]) -> None:
    async with crashing("attachdetach", seed=seed, recorded=(VOLUME_ATTACHMENTS,)) as lives:
        await add_nodes(lives.stage, "a", "b")
        for node in "ab":
            await lives.stage.client.patch(NODES, node, {"metadata": {"annotations": {MANAGED: "true"}}})
        await add_bound_volume(lives.stage.client)
        kubelets = Kubelets(lives)
        for (what, number), seconds in actions:
            await kubelets.act(what, "ab"[number])
            await lives.pass_time(seconds)
        for node in "ab":
            await kubelets.act("end", node)
        await lives.calm_down()
        for record, world in lives.moments():
            nodes = [one["spec"]["nodeName"] for one in world["VolumeAttachment"].values()]
            assert len(nodes) <= 1, "a volume for one node is attached to two"
            if record.type == "DELETED":
                node = record.obj["spec"]["nodeName"]
                is_mounted = any(at == node and first < record.revision < last for at, first, last in kubelets.times)
                assert not is_mounted, "a volume is detached from a node that has it mounted"
        assert not (await lives.stage.client.list(VOLUME_ATTACHMENTS))["items"]
        assert [attached(one) for one in (await lives.stage.client.list(NODES))["items"]] == [[], []]
