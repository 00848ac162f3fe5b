"""A kubelet that dies, or loses the Engine, at every single call of a pod's start and of its end.

Whatever happens in between: in the end the pod runs, each of its containers was started exactly once, and nothing
of a deleted pod is left, neither container nor interface nor address.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.aiokit.clock import SystemClock, TimerHandle
from orchestrator.api.objects import Object
from orchestrator.api.resources import PODS, SERVICE_ACCOUNTS
from orchestrator.client.informer import Informers
from orchestrator.cluster.cluster import Cluster, Parts
from orchestrator.cluster.users import KUBELETS
from orchestrator.config import Config
from orchestrator.kubelet.docker.engine import EngineError
from orchestrator.kubelet.docker.runtime import DockerRuntime
from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.nodes import Kubelets
from orchestrator.kubelet.runtime import RuntimeUnavailable
from orchestrator.testing import eventually
from tests.component.kubelet.fake_engine import Docker, FakeEngine, FakeNetwork

CALLS_MAX = 60


class FastClock(SystemClock):
    """Time that passes fifty times as fast, so that a back-off of ten seconds is a moment."""

    FACTOR = 50.0

    def __init__(self) -> None:
        self._wall, self._seconds = super().now(), super().monotonic()

    def now(self) -> datetime:
        return self._wall + timedelta(seconds=self.monotonic() - self._seconds)

    def monotonic(self) -> float:
        return self._seconds + (super().monotonic() - self._seconds) * self.FACTOR

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / self.FACTOR)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> TimerHandle:
        return super().call_later(seconds / self.FACTOR, callback)


class Runtime(DockerRuntime):
    """Its processes exist only in the fake Engine."""

    def _check_local(self, pid: int, container_id: str) -> None:
        return


class Machine:
    """What outlives a process: the Engine, the kernel's interfaces, files."""

    def __init__(self, cluster: Cluster, state_dir: Path) -> None:
        self.cluster = cluster
        self.client = cluster.client()
        self.docker = Docker()
        self.veths: set[str] = set()
        self._state_dir = state_dir

    @asynccontextmanager
    async def process(self, prepare: Callable[[FakeEngine], None]) -> AsyncIterator[FakeEngine]:
        """One life of the node."""
        engine = FakeEngine(self.docker)
        prepare(engine)
        network: Any = FakeNetwork("c", self._state_dir, self.veths)
        clock = self.cluster.clock
        runtime = Runtime(
            engine=engine,  # type: ignore[arg-type]
            network=network,
            cluster_id="c",
            node_name="node-1",
            clock=clock,
            node_ip="172.30.0.2",
            pod_cidr="10.244.1.0/24",
        )
        informers = Informers(self.cluster.client(KUBELETS, ()), clock=clock)
        kubelets = Kubelets(client_for=lambda name: self.cluster.client(KUBELETS, ()), informers=informers, clock=clock)
        kubelets.add(NodeOptions(name="node-1", ip="172.30.0.2", pod_cidr="10.244.1.0/24"), runtime)
        tasks = [asyncio.create_task(work) for work in (informers.run(), kubelets.run())]
        try:
            yield engine
        finally:
            engine.is_cut = True
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
            assert not kubelets.failing()

    async def until_running(self, count: int = 1) -> Object:
        """The last of so many pods, once all of them run."""

        def run(pods: list[Object]) -> bool:
            return len(pods) == count and all(
                _statuses(pod) and all(c["ready"] for c in _statuses(pod)) for pod in pods
            )

        return (await eventually(self.client, PODS, run, timeout_seconds=20))[-1]

    async def until_gone(self) -> None:
        await eventually(self.client, PODS, lambda pods: not pods, timeout_seconds=20)

    def assert_started_once(self, pod: Object) -> None:
        applications = {name: count for name, count in self.docker.starts.items() if "_POD_" not in name}
        assert sorted(name.split("_")[3] for name in applications) == ["a", "b"]
        assert set(applications.values()) == {1}
        assert [status["restartCount"] for status in _statuses(pod)] == [0, 0]

    def assert_nothing_left(self) -> None:
        assert self.docker.containers == {}
        assert self.veths == set()
        assert [*(self._state_dir / "addresses").iterdir()] == []


def _statuses(pod: Object) -> list[Object]:
    return (pod.get("status") or {}).get("containerStatuses") or []


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    config = Config(data_dir=tmp_path / "data", listen="127.0.0.1:0", nodes=0, runtime="hollow", ephemeral=True)
    parts = Parts(https=False, controllers=False, scheduler=False, nodes=False, network=False)
    async with Cluster(config, clock=FastClock(), parts=parts) as cluster:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await cluster.client().create(SERVICE_ACCOUNTS, account, "default")
        yield Machine(cluster, tmp_path / "network")


async def create(
    machine: Machine, *, name: str = "web", policy: str = "Always", security: Object | None = None
) -> None:  # fmt: skip
    containers = [
        {"name": name, "image": "app:1", "imagePullPolicy": "IfNotPresent", "securityContext": security}
        for name in "ab"
    ]
    rest = {"restartPolicy": policy, "terminationGracePeriodSeconds": 1}
    await machine.client.create(
        PODS,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": "node-1", "containers": containers, **rest},
        },
    )


async def delete(machine: Machine) -> None:
    await machine.client.delete(PODS, "web", "default")


def quiet(engine: FakeEngine) -> None:
    """Nothing happens."""


class Trouble:
    """Something that happens once, at the n-th call that changes the Engine or asks for its containers."""

    def __init__(self, number: int, when: str, error: Callable[[], BaseException] | None) -> None:
        self.number = number
        self.when = when
        self.error = error
        self.struck = asyncio.Event()
        self.is_armed = False
        self._count = 0

    def prepare(self, engine: FakeEngine) -> None:
        setattr(engine, self.when, lambda method, path: self._strike(engine, path))

    def _strike(self, engine: FakeEngine, path: str) -> None:
        if not self.is_armed or not path.startswith("containers") or self.struck.is_set():
            return
        self._count += 1
        if self._count < self.number:
            return
        self.struck.set()
        if self.error is None:
            engine.is_cut = True  # kill -9: whatever this process still tries does not happen
        else:
            raise self.error()


async def play(machine: Machine, trouble: Trouble, *, in_start: bool, policy: str) -> bool:
    """A pod's life with one trouble in its start or its end; whether the trouble came at all."""

    came = False

    async def step(
        is_armed: bool, act: Callable[[Machine], Awaitable[None]], goal: Callable[[], Awaitable[Any]]
    ) -> Any:
        nonlocal came
        if not is_armed:
            async with machine.process(quiet):
                await act(machine)
                return await goal()
        async with machine.process(trouble.prepare):
            # From here on: what a process does on its own at a start is not what is tested.
            trouble.is_armed = True
            await act(machine)
            reached, struck = asyncio.ensure_future(goal()), asyncio.ensure_future(trouble.struck.wait())
            await asyncio.wait((reached, struck), return_when=asyncio.FIRST_COMPLETED)
            came = trouble.struck.is_set()
            struck.cancel()
            if trouble.error is not None or not came:
                return await reached
            reached.cancel()
            await asyncio.gather(reached, return_exceptions=True)
        async with machine.process(quiet):
            return await goal()

    pod = await step(in_start, partial(create, policy=policy), machine.until_running)
    machine.assert_started_once(pod)
    await step(not in_start, delete, machine.until_gone)
    machine.assert_nothing_left()
    return came


TROUBLES: dict[str, Callable[[], BaseException] | None] = {
    "the process is killed": None,
    "the Engine is gone for a moment": lambda: RuntimeUnavailable("connection refused"),
}


@pytest.mark.parametrize("in_start", [True, False], ids=["start", "end"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", TROUBLES)
async def test_trouble_at_every_call(machine: Machine, what: str, when: str, in_start: bool) -> None:
    """Nothing that was only made counts as having run: not even a pod that is never restarted fails."""
    for number in range(1, CALLS_MAX):
        machine.docker.starts.clear()
        policy = "Never" if in_start else "Always"
        if not await play(machine, Trouble(number, when, TROUBLES[what]), in_start=in_start, policy=policy):
            assert number > 8, "a pod's life takes more calls than this"
            return
    raise AssertionError("the calls do not end")


@pytest.mark.parametrize("in_start", [True, False], ids=["start", "end"])
async def test_an_error_of_the_engine_at_every_call(machine: Machine, in_start: bool) -> None:
    """An answer 500 may cost an attempt, but never leaves anything behind."""
    for number in range(1, CALLS_MAX):
        trouble = Trouble(number, "before", lambda: EngineError(500, "something is wrong"))
        async with machine.process(trouble.prepare):
            trouble.is_armed = in_start
            await create(machine)
            await machine.until_running()
            trouble.is_armed = not in_start
            await delete(machine)
            await machine.until_gone()
            came = trouble.struck.is_set()
        machine.assert_nothing_left()
        if not came:
            return
    raise AssertionError("the calls do not end")


@pytest.mark.parametrize("privileged", [False, True])
async def test_containers_are_made_while_their_sandbox_starts(machine: Machine, privileged: bool) -> None:
    """Unless they need to know what the Engine itself may do, which shows in the first sandbox that runs."""
    done: list[str] = []

    def prepare(engine: FakeEngine) -> None:
        engine.after = lambda method, path: done.append(path) if path.endswith(("/create", "/start")) else None

    async with machine.process(prepare):
        await create(machine, security={"privileged": privileged})
        pod = await machine.until_running()
    machine.assert_started_once(pod)
    sandbox = next(one["Id"] for one in machine.docker.containers.values() if "_POD_" in one["Name"])
    applications = [one["Id"] for one in machine.docker.containers.values() if "_POD_" not in one["Name"]]
    starts = [f"containers/{one}/start" for one in (sandbox, *applications)]
    assert done[0] == "containers/create"
    assert [path for path in done if path.endswith("/start")] == starts
    both_made_first = done.index(starts[1]) == len(done) - 2
    assert both_made_first is not privileged


async def test_what_a_new_pod_costs_the_engine(machine: Machine) -> None:
    """It is not looked for before it is made, nor looked up in a list after: each container is inspected once."""
    calls: list[str] = []

    def prepare(engine: FakeEngine) -> None:
        engine.before = lambda method, path: calls.append(f"{method} {path}")

    async with machine.process(prepare):
        await create(machine)
        await machine.until_running()
        calls.clear()
        await create(machine, name="web-2")
        await machine.until_running(2)
        seen = [call for call in calls if "containers/" in call]
    ids = {one["Id"]: "ID" for one in machine.docker.containers.values()}
    seen = [
        " ".join("/".join(ids.get(part, part) for part in word.split("/")) for word in call.split()) for call in seen
    ]
    assert Counter(seen) == {"POST containers/create": 3, "POST containers/ID/start": 3, "GET containers/ID/json": 3}


async def test_a_container_is_made_again_when_its_sandbox_never_started(machine: Machine) -> None:
    failed: list[str] = []

    def prepare(engine: FakeEngine) -> None:
        def fail_once(method: str, path: str) -> None:
            if path.endswith("/start") and not failed:
                failed.append(path)
                raise EngineError(500, "something is wrong")

        engine.before = fail_once

    async with machine.process(prepare):
        await create(machine, policy="Never")
        pod = await machine.until_running()
    machine.assert_started_once(pod)
    (sandbox,) = (one["Id"] for one in machine.docker.containers.values() if "_POD_" in one["Name"])
    assert sandbox not in failed[0]
    for container in machine.docker.containers.values():
        if container["Id"] != sandbox:
            assert container["HostConfig"]["NetworkMode"] == f"container:{sandbox}"
