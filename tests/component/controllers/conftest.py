"""A cluster with controllers and a stand-in for nodes: pods run as soon as they exist.

The stand-in plays scheduler and kubelet for every pod, so that these tests are about controllers
alone, and can hold pods back (`hold`) or make them fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orchestrator.aiokit.clock import Clock, format_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, is_terminating, name_of, namespace_of, uid_of
from orchestrator.api.resources import PODS, SERVICE_ACCOUNTS, Resource
from orchestrator.apiserver.authorizer import Attributes, Authorizer, Decision
from orchestrator.client.client import Client
from orchestrator.client.informer import Informer
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.testing import ManualClock, eventually, running_cluster


class Refusals:
    """An authorizer that notes what components of the cluster were not allowed to do."""

    def __init__(self, inner: Authorizer) -> None:
        self._inner = inner
        self.seen: set[str] = set()

    def authorize(self, attributes: Attributes) -> tuple[Decision, str]:
        decision, reason = self._inner.authorize(attributes)
        if decision is not Decision.ALLOW and attributes.user.name.startswith("system:"):
            what = f"{attributes.resource}/{attributes.subresource}".rstrip("/")
            self.seen.add(f"{attributes.user.name} may not {attributes.verb} {what}.{attributes.group}")
        return decision, reason


class Stage:
    """A client with shorthands, and the pods' fate."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.refusals = cluster.api.authorizer = Refusals(cluster.api.authorizer)
        self.client: Client = cluster.client()
        self.clock: Clock = cluster.clock
        self.is_held: Callable[[Object], bool] = lambda pod: False
        self.exit_code: Callable[[Object], int | None] = lambda pod: None
        """What a pod that runs ends with at once; None: it goes on."""
        self.lingers: Callable[[Object], bool] = lambda pod: False
        """Whether a pod that is being deleted takes its time."""
        self._queue: asyncio.Queue[Object] = asyncio.Queue()
        self._ip = 0
        self._started: set[str] = set()
        """The uids of pods that have an address: the queue may hold an older state of them."""

    async def until(
        self, resource: Resource, predicate: Callable[[list[Object]], bool], namespace: str = "default", **kwargs: Any
    ) -> list[Object]:
        """Wait for a state of a collection."""
        return await eventually(self.client, resource, predicate, namespace=namespace, **kwargs)

    async def until_one(
        self, resource: Resource, name: str, predicate: Callable[[Object], bool], namespace: str = "default"
    ) -> Object:
        """Wait for a state of one object."""

        def found(objects: list[Object]) -> bool:
            return any(name_of(one) == name and predicate(one) for one in objects)

        objects = await self.until(resource, found, namespace if resource.namespaced else "")
        return next(one for one in objects if name_of(one) == name)

    async def release(self) -> None:
        """No pod is held back any more."""
        self.is_held = self.lingers = lambda pod: False
        for pod in (await self.client.list(PODS))["items"]:
            self._queue.put_nowait(pod)

    def on_pod(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._queue.put_nowait(new)

    async def run_pods(self) -> None:
        while True:
            pod = await self._queue.get()
            try:
                await self._advance(pod)
            except (errors.NotFound, errors.Conflict):
                continue

    async def finish(self, pod: Object, code: int = 0, **status: Any) -> None:
        """The container of a pod ends with this code."""
        stamp = format_time(self.clock.now())
        ended = {"exitCode": code, "startedAt": stamp, "finishedAt": stamp, "reason": "Error" if code else "Completed"}
        container = {"name": "c", "image": "c", "imageID": "c", "ready": False, "restartCount": 0}
        status = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{**container, "state": {"terminated": ended}}],
            "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": stamp}],
            **status,
        }
        patch = {"metadata": {"uid": uid_of(pod)}, "status": status}
        await self.client.patch(
            PODS, name_of(pod), patch, namespace_of(pod), subresource="status", content_type=STRATEGIC_MERGE_PATCH
        )

    async def _advance(self, pod: Object) -> None:
        name, namespace = name_of(pod), namespace_of(pod)
        phase = (pod.get("status") or {}).get("phase", "Pending")
        if is_terminating(pod):
            if self.lingers(pod):
                return
            if pod["metadata"].get("finalizers") and phase in ("Pending", "Running"):
                await self.finish(pod, 137)
            if pod["metadata"].get("deletionGracePeriodSeconds") != 0:
                await self.client.delete(PODS, name, namespace, uid=uid_of(pod), grace_period_seconds=0)
        elif phase == "Running" and (code := self.exit_code(pod)) is not None:
            await self.finish(pod, code)
        elif phase == "Pending" and not self.is_held(pod) and uid_of(pod) not in self._started:
            self._started.add(uid_of(pod))
            self._ip += 1
            ip = f"10.244.{self._ip // 250}.{self._ip % 250 + 1}"
            stamp = format_time(self.clock.now())
            condition = {"type": "Ready", "status": "True", "lastTransitionTime": stamp}
            addresses = {"podIP": ip, "podIPs": [{"ip": ip}]}
            status = {"phase": "Running", "startTime": stamp, "conditions": [condition], **addresses}
            patch = {"metadata": {"uid": uid_of(pod)}, "status": status}
            await self.client.patch(
                PODS, name, patch, namespace, subresource="status", content_type=STRATEGIC_MERGE_PATCH
            )


@asynccontextmanager
async def stage_with(*controllers: str, clock: Clock | None = None, **options: Any) -> AsyncIterator[Stage]:
    """A cluster with these controllers (all: `*`), no nodes and no scheduler.

    Whatever a test is about, it fails when a controller was refused something under its own identity.
    """
    async with running_cluster(controllers=controllers, scheduler=False, nodes=0, clock=clock, **options) as cluster:
        stage = Stage(cluster)
        informer = Informer(stage.client, PODS, clock=stage.clock)
        informer.add_handler(stage.on_pod)
        tasks = [asyncio.create_task(informer.run(), name="stage/informer"),
                 asyncio.create_task(stage.run_pods(), name="stage/pods")]  # fmt: skip
        try:
            await informer.wait_synced()
            # Pods are refused before their namespace has its ServiceAccount.
            await stage.until_one(SERVICE_ACCOUNTS, "default", lambda account: True)
            yield stage
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert not cluster.supervisor.failing()
            assert not stage.refusals.seen


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A cluster with every controller but those that watch nodes: there are none here."""
    async with stage_with("*", "-podgc", "-nodelifecycle") as one:
        yield one


class TimedStage(Stage):
    """A stage whose time the test moves."""

    clock: ManualClock

    async def after(self, seconds: float) -> None:
        """Let this time pass, and everything that follows from it happen."""
        await self.clock.run(seconds)


@pytest.fixture
async def timed() -> AsyncIterator[TimedStage]:
    """As `stage`, on a clock that stands still."""
    async with stage_with("*", "-podgc", "-nodelifecycle", clock=ManualClock()) as one:
        one.__class__ = TimedStage
        assert isinstance(one, TimedStage)
        yield one


def template(app: str = "web", image: str = "web:1") -> dict[str, Any]:
    """A pod template."""
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": image}]}}


def deployment(name: str = "web", replicas: int = 3, image: str = "web:1", **spec: Any) -> Object:
    """A Deployment in `default`."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template(name, image),
            **spec,
        },
    }


def replica_set(name: str = "web", replicas: int = 3, **spec: Any) -> Object:
    """A ReplicaSet in `default`."""
    return {**deployment(name, replicas, **spec), "kind": "ReplicaSet"}
