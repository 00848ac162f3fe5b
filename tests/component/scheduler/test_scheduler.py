"""The scheduler in a cluster: a real API server, nodes without kubelets, pods that only get bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from orchestrator.aiokit.clock import Clock, SystemClock
from orchestrator.api import errors
from orchestrator.api.objects import Object, condition_of, name_of
from orchestrator.api.resources import EVENTS, PODS, REPLICA_SETS
from orchestrator.apiserver.request import ApiRequest, ObjectResult
from orchestrator.apiserver.server import ApiServer
from orchestrator.client.client import Client
from orchestrator.client.informer import Informers
from orchestrator.client.transport import Request, Transport, WatchEvent, WatchStream
from orchestrator.cluster.cluster import Cluster
from orchestrator.component.events import EventRecorder
from orchestrator.component.metrics import REGISTRY
from orchestrator.scheduler import Scheduler
from orchestrator.scheduler.pod_writer import EVENT_ACTIONS
from orchestrator.scheduler.scheduler import ASSUMED_SECONDS_MAX
from orchestrator.testing import ManualClock, eventually, settle
from tests.component.scheduler.objects import add_node, bare_cluster, pod

ZONE = "topology.kubernetes.io/zone"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with bare_cluster() as running:
        yield running


@pytest.fixture
def client(cluster: Cluster) -> Client:
    return cluster.client()


def places(pods: Sequence[Object]) -> dict[str, str]:
    return {name_of(item): item["spec"].get("nodeName", "") for item in pods}


def reason(item: Object) -> str:
    return str((condition_of(item, "PodScheduled") or {}).get("reason", ""))


async def bound(client: Client, count: int) -> dict[str, str]:
    """Wait until so many pods have a node."""
    return places(await eventually(client, PODS, lambda pods: sum(map(bool, places(pods).values())) == count))


async def refused(client: Client, name: str) -> Object:
    """Wait until a pod is called unschedulable."""
    found = await eventually(
        client, PODS, lambda pods: any(name_of(item) == name and reason(item) == "Unschedulable" for item in pods)
    )
    return next(item for item in found if name_of(item) == name)


async def test_pods_spread_by_requests_and_the_rest_waits_for_room(client: Client) -> None:
    for name in ("a", "b"):
        await add_node(client, name)
    for number in range(3):
        await client.create(PODS, pod(f"p{number}"))
    placed = await bound(client, 2)
    assert sorted(filter(None, placed.values())) == ["a", "b"]
    waiting = next(name for name, node in placed.items() if not node)
    condition = condition_of(await refused(client, waiting), "PodScheduled")
    assert condition is not None
    message = (
        "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: "
        "0/2 nodes are available: 2 No preemption victims found for incoming pod."
    )
    assert condition["message"] == message
    events = await eventually(client, EVENTS, lambda events: len(events) >= 3)
    by_reason = {event["reason"]: event for event in events}
    assert by_reason["FailedScheduling"]["message"] == message
    assert by_reason["FailedScheduling"]["type"] == "Warning"
    done = by_reason["Scheduled"]
    name = done["involvedObject"]["name"]
    assert done["message"] == f"Successfully assigned default/{name} to {placed[name]}"
    assert (done["reportingComponent"], done["action"], done["lastTimestamp"]) == ("default-scheduler", "Binding", None)
    assert done["eventTime"]
    await add_node(client, "c")
    placed = await bound(client, 3)
    assert placed[waiting] == "c"


async def test_room_that_a_deleted_pod_leaves_is_used(client: Client) -> None:
    await add_node(client, "a")
    await client.create(PODS, pod("first"))
    await bound(client, 1)
    await client.create(PODS, pod("second"))
    await refused(client, "second")
    await client.delete(PODS, "first", "default", grace_period_seconds=0)
    await eventually(client, PODS, lambda pods: places(pods) == {"second": "a"})


async def test_gates_hold_a_pod_back(client: Client) -> None:
    await add_node(client, "a")
    await client.create(PODS, pod("gated", schedulingGates=[{"name": "example.com/wait"}]))
    await client.create(PODS, pod("free", cpu="100m"))
    assert (await bound(client, 1))["gated"] == ""
    await client.patch(PODS, "gated", {"spec": {"schedulingGates": []}}, "default")
    await bound(client, 2)


async def test_other_schedulers_pods_are_left_alone_but_counted(client: Client) -> None:
    await add_node(client, "a")
    await client.create(PODS, pod("other", schedulerName="other-scheduler"))
    await client.create(PODS, pod("elsewhere", nodeName="a"))
    await client.create(PODS, pod("ours"))
    await refused(client, "ours")
    found = {name_of(item): item for item in (await client.list(PODS))["items"]}
    assert condition_of(found["other"], "PodScheduled") is None


async def test_spread_constraints_hold_in_a_running_cluster(client: Client) -> None:
    for name, zone in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "y")):
        await add_node(client, name, cpu="4", labels={ZONE: zone})
    selector = {"matchLabels": {"app": "web"}}
    constraint = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}
    for number in range(6):
        await client.create(
            PODS, pod(f"w{number}", cpu="10m", labels={"app": "web"}, topologySpreadConstraints=[constraint])
        )
    nodes = list((await bound(client, 6)).values())
    assert sum(node in "ab" for node in nodes) == 3


async def test_replicas_of_a_set_spread_over_nodes_by_default(client: Client) -> None:
    """The big node would win by free room alone; the default constraints weigh more."""
    await add_node(client, "big", cpu="64")
    for name in ("s1", "s2"):
        await add_node(client, name, cpu="2")
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": pod("x", cpu="100m")["spec"]}
    owner = await client.create(
        REPLICA_SETS,
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": template},
        },
    )
    reference = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "web",
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    for number in range(3):
        replica = pod(f"web-{number}", cpu="100m", labels=labels)
        replica["metadata"]["ownerReferences"] = [reference]
        await client.create(PODS, replica)
        await bound(client, number + 1)
    assert sorted((await bound(client, 3)).values()) == ["big", "s1", "s2"]


class Prioritizing:
    """A transport that shows pods called `urgent` as important, whatever PriorityClasses there are."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner

    async def send(self, request: Request) -> Object:
        answer = await self.inner.send(request)
        if request.verb == "list" and request.resource == PODS:
            return {**answer, "items": [raised(item) for item in answer["items"]]}
        return answer

    async def open_watch(self, request: Request) -> WatchStream:
        stream = await self.inner.open_watch(request)
        return RaisedStream(stream) if request.resource == PODS else stream

    async def close(self) -> None:
        await self.inner.close()


class RaisedStream:
    def __init__(self, inner: WatchStream) -> None:
        self.inner = inner

    async def next_batch(self) -> list[WatchEvent]:
        return [WatchEvent(event.type, raised(event.object)) for event in await self.inner.next_batch()]

    def close(self) -> None:
        self.inner.close()


def raised(item: Object) -> Object:
    return {**item, "spec": {**item["spec"], "priority": 1000}} if name_of(item) == "urgent" else item


async def test_a_more_important_pod_evicts() -> None:
    async with bare_cluster(scheduler=False) as cluster:
        client = cluster.client()
        async with RunningScheduler(Prioritizing(cluster.client().transport)):
            await check_eviction(client)


async def check_eviction(client: Client) -> None:
    await add_node(client, "a")
    await client.create(PODS, pod("low"))
    await bound(client, 1)
    await client.create(PODS, pod("urgent"))

    def is_promised(pods: list[Object]) -> bool:
        return any(
            name_of(item) == "urgent" and (item["status"].get("nominatedNodeName") or item["spec"].get("nodeName"))
            for item in pods
        )

    await eventually(client, PODS, is_promised)
    victims = await eventually(
        client,
        PODS,
        lambda pods: all(item["metadata"].get("deletionTimestamp") for item in pods if name_of(item) == "low"),
    )
    for item in victims:
        if name_of(item) == "low":
            disruption = condition_of(item, "DisruptionTarget")
            assert disruption is not None
            assert disruption["reason"] == "PreemptionByScheduler"
            # Nobody runs here to end it: play the kubelet.
            await client.delete(PODS, "low", "default", grace_period_seconds=0)
    await eventually(client, PODS, lambda pods: places(pods) == {"urgent": "a"})
    events = await eventually(client, EVENTS, lambda events: any(event["reason"] == "Preempted" for event in events))
    preempted = next(event for event in events if event["reason"] == "Preempted")
    assert preempted["involvedObject"]["name"] == "low"


class Flaky:
    """A transport whose first bindings fail."""

    def __init__(self, inner: Transport, failures: list[Exception]) -> None:
        self.inner = inner
        self.failures = failures

    async def send(self, request: Request) -> Object:
        if request.subresource == "binding" and self.failures:
            raise self.failures.pop(0)
        return await self.inner.send(request)

    async def open_watch(self, request: Request) -> WatchStream:
        return await self.inner.open_watch(request)

    async def close(self) -> None:
        await self.inner.close()


class Blind:
    """A transport whose watches never show that a pod was bound."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner

    async def send(self, request: Request) -> Object:
        return await self.inner.send(request)

    async def open_watch(self, request: Request) -> WatchStream:
        stream = await self.inner.open_watch(request)
        return BlindStream(stream) if request.resource == PODS else stream

    async def close(self) -> None:
        await self.inner.close()


class BlindStream:
    def __init__(self, inner: WatchStream) -> None:
        self.inner = inner

    async def next_batch(self) -> list[WatchEvent]:
        while True:
            batch = await self.inner.next_batch()
            shown = [event for event in batch if not event.object.get("spec", {}).get("nodeName")]
            if shown or not batch:
                return shown

    def close(self) -> None:
        self.inner.close()


class RunningScheduler:
    """A scheduler beside the cluster, on a transport of the test's own."""

    def __init__(self, transport: Transport, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        client = Client(transport)
        self.informers = Informers(client, clock=clock, detect_mutations=True)
        self.recorder = EventRecorder(client, component="default-scheduler", clock=clock, actions=EVENT_ACTIONS)
        self.scheduler = Scheduler(client=client, informers=self.informers, recorder=self.recorder, clock=clock)

    async def __aenter__(self) -> Scheduler:
        self._tasks = [
            asyncio.create_task(part.run(), name=type(part).__name__)
            for part in (self.informers, self.recorder, self.scheduler)
        ]
        return self.scheduler

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            assert isinstance(result, asyncio.CancelledError), result


async def test_a_bind_does_not_wait_for_the_commits_of_others(cluster: Cluster, client: Client) -> None:
    pods = 100
    bind = cluster.api.subresources["pods", "binding", "create"]
    waiting, all_there = 0, asyncio.Event()

    async def bind_together(server: ApiServer, request: ApiRequest) -> ObjectResult:
        nonlocal waiting
        waiting += 1
        if waiting == pods:
            all_there.set()
        await all_there.wait()
        return await bind(server, request)

    cluster.api.subresources["pods", "binding", "create"] = bind_together
    await add_node(client, "a", cpu="8")
    for number in range(pods):
        await client.create(PODS, pod(f"p{number}", cpu="1m"))
    assert set((await bound(client, pods)).values()) == {"a"}


async def test_a_failed_bind_is_forgotten_and_tried_again() -> None:
    async with bare_cluster(scheduler=False) as cluster:
        client = cluster.client()
        await add_node(client, "a")
        failing = Flaky(cluster.client().transport, [errors.ServiceUnavailable("not now"), OSError("gone")])
        async with RunningScheduler(failing) as scheduler:
            await client.create(PODS, pod("p"))
            await bound(client, 1)
            assert not failing.failures
            events = await eventually(
                client, EVENTS, lambda events: {event["reason"] for event in events} >= {"Scheduled"}
            )
            assert any("binding rejected" in event["message"] for event in events)
            assert scheduler.cache.nodes["a"].requested["cpu"] == 600


async def test_an_assumption_that_is_never_confirmed_expires() -> None:
    clock = ManualClock()
    async with bare_cluster(scheduler=False) as cluster:
        client = cluster.client()
        await add_node(client, "a")
        async with RunningScheduler(Blind(cluster.client().transport), clock) as scheduler:
            await client.create(PODS, pod("p"))
            await bound(client, 1)
            await eventually(client, EVENTS, lambda events: any(event["reason"] == "Scheduled" for event in events))
            await clock.run(ASSUMED_SECONDS_MAX - 1)
            assert scheduler.cache.nodes["a"].requested["cpu"] == 600
            await clock.run(1)
            assert scheduler.cache.nodes["a"].requested["cpu"] == 0


async def test_what_happened_before_a_binding_and_is_heard_of_after_it_places_nobody_twice() -> None:
    async with bare_cluster(scheduler=False) as cluster:
        client = cluster.client()
        for name in ("a", "b"):
            await add_node(client, name, cpu="2")
        async with RunningScheduler(Blind(cluster.client().transport)) as scheduler:
            await client.create(PODS, pod("p"))
            await bound(client, 1)
            await eventually(client, EVENTS, lambda events: any(event["reason"] == "Scheduled" for event in events))
            known = await client.get(PODS, "p", "default")
            before = {**known, "spec": {key: known["spec"][key] for key in known["spec"] if key != "nodeName"}}
            scheduler._on_pod(before, {**before, "metadata": {**before["metadata"], "labels": {"late": "yes"}}})
            await settle()
            nodes = scheduler.cache.nodes
            assert sum(node.requested["cpu"] for node in nodes.values()) == 600
            assert not len(scheduler.queue)


async def test_a_restart_finds_bound_and_pending_pods() -> None:
    async with bare_cluster(scheduler=False) as cluster:
        client = cluster.client()
        await add_node(client, "a")
        async with RunningScheduler(cluster.client().transport):
            await client.create(PODS, pod("first"))
            await bound(client, 1)
        await client.create(PODS, pod("second"))
        await client.create(PODS, pod("third", cpu="300m"))
        async with RunningScheduler(cluster.client().transport):
            await refused(client, "second")
            assert (await bound(client, 2))["third"] == "a"


async def test_the_same_scheduler_can_run_again() -> None:
    """The supervisor calls `run` anew after an exception; nothing of the first run may linger."""
    async with bare_cluster(scheduler=False) as cluster:
        client = cluster.client()
        await add_node(client, "a")
        clock = SystemClock()
        own = cluster.client()
        informers = Informers(own, clock=clock)
        recorder = EventRecorder(own, component="default-scheduler", clock=clock, actions=EVENT_ACTIONS)
        scheduler = Scheduler(client=own, informers=informers, recorder=recorder, clock=clock)
        async with asyncio.TaskGroup() as group:
            following = group.create_task(informers.run())
            first = group.create_task(scheduler.run())
            await client.create(PODS, pod("first"))
            await bound(client, 1)
            first.cancel()
            await asyncio.wait([first])
            await client.create(PODS, pod("second", cpu="100m"))
            second = group.create_task(scheduler.run())
            await bound(client, 2)
            assert scheduler.cache.nodes["a"].requested["cpu"] == 700
            for task in (second, following):
                task.cancel()


async def test_profiles_of_the_configuration_each_place_their_own_pods() -> None:
    packing = {
        "schedulerName": "packer",
        "pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "MostAllocated"}}}],
    }
    async with bare_cluster(scheduler_config={"profiles": [{}, packing]}) as cluster:
        client = cluster.client()
        for name in ("a", "b"):
            await add_node(client, name, cpu="4")
        await client.create(PODS, pod("first", nodeName="a"))
        await client.create(PODS, pod("stranger", schedulerName="nobody"))
        await client.create(PODS, pod("packed", schedulerName="packer"))
        await bound(client, 2)
        await client.create(PODS, pod("spread"))
        assert await bound(client, 3) == {"first": "a", "packed": "a", "spread": "b", "stranger": ""}
        events = await eventually(client, EVENTS, lambda events: len(events) == 2)
        said = {event["involvedObject"]["name"]: event["reportingComponent"] for event in events}
        assert said == {"packed": "packer", "spread": "default-scheduler"}


async def test_the_stable_metrics_tell_of_attempts_queues_and_preemption(client: Client) -> None:
    """By difference: the registry is the process's."""
    profile = {"profile": "default-scheduler"}
    expected = [
        ("scheduler_schedule_attempts_total", {**profile, "result": "scheduled"}, 1),
        ("scheduler_schedule_attempts_total", {**profile, "result": "unschedulable"}, 1),
        ("scheduler_scheduling_attempt_duration_seconds_count", {**profile, "result": "scheduled"}, 1),
        ("scheduler_scheduling_attempt_duration_seconds_count", {**profile, "result": "unschedulable"}, 1),
        ("scheduler_pod_scheduling_attempts_count", {}, 1),
        ("scheduler_pod_scheduling_sli_duration_seconds_count", {"attempts": "1"}, 1),
        ("scheduler_queue_incoming_pods_total", {"queue": "active", "event": "PodAdd"}, 2),
        ("scheduler_queue_incoming_pods_total", {"queue": "gated", "event": "PodAdd"}, 1),
        ("scheduler_queue_incoming_pods_total", {"queue": "unschedulable", "event": "ScheduleAttemptFailure"}, 1),
        ("scheduler_preemption_attempts_total", {}, 1),
    ]
    before = [REGISTRY.get_sample_value(name, labels) or 0 for name, labels, _ in expected]
    await add_node(client, "a")
    await client.create(PODS, pod("small"))
    await eventually(client, PODS, lambda pods: places(pods) == {"small": "a"})
    await client.create(PODS, pod("gated", schedulingGates=[{"name": "example.com/wait"}]))
    await client.create(PODS, pod("large", cpu="2"))

    def is_refused(pods: Sequence[Object]) -> bool:
        large = next((one for one in pods if name_of(one) == "large"), None)
        return large is not None and condition_of(large, "PodScheduled") is not None

    await eventually(client, PODS, is_refused)
    after = [REGISTRY.get_sample_value(name, labels) or 0 for name, labels, _ in expected]
    assert [b - a for a, b in zip(before, after, strict=True)] == [more for _, _, more in expected]
    pending = {queue: REGISTRY.get_sample_value("scheduler_pending_pods", {"queue": queue})
               for queue in ("active", "backoff", "unschedulable", "gated")}  # fmt: skip
    assert pending == {"active": 0, "backoff": 0, "unschedulable": 1, "gated": 1}
