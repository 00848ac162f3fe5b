"""Controllers whose calls fail, whose caches are late, and that die and start anew at random points.

Owns the faults and the record of everything that happened. The cluster itself and the stand-in for nodes
stay sound, and time is moved by the test, so that a seed decides all there is to decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from orchestrator.api import errors
from orchestrator.api.objects import Object, key_of, resource_version_of
from orchestrator.api.resources import EVENTS, Resource
from orchestrator.client.client import Client
from orchestrator.client.informer import Informers
from orchestrator.client.transport import Request, Transport, WatchEvent, WatchStream
from orchestrator.cluster.users import CONTROLLER_MANAGER, controller_groups, controller_user
from orchestrator.component.events import EventRecorder
from orchestrator.controllers.registry import build_controllers, event_component
from orchestrator.testing import ManualClock

from .conftest import Stage, stage_with

CALM_SECONDS = 3000.0
"""Longer than any back-off, so that after the faults everything comes to its end."""


@dataclass(frozen=True)
class Faults:
    """How likely each misfortune is."""

    crash: float = 0.03
    """For each write: the process dies before or after it."""
    refusal: float = 0.05
    conflict: float = 0.05
    delay: float = 0.3
    """For each batch of watch events: it arrives up to `delay_seconds_max` later."""
    delay_seconds_max: float = 4.0
    expiry: float = 0.02
    """For each batch: the watch is closed as expired, and the cache lists anew."""


class Life:
    """One process with all the controllers, from its start to its death."""

    def __init__(self, lives: Lives) -> None:
        self.lives = lives
        self.tasks: list[asyncio.Task[None]] = []
        self.is_dead = False

    async def end(self) -> None:
        """What a dead process still wanted to do, it never does."""
        self.is_dead = True
        self.lives.death.set()
        await asyncio.get_running_loop().create_future()


class Unreliable:
    """A transport of a process that may die at any call. Implements `client.transport.Transport`."""

    def __init__(self, inner: Transport, life: Life) -> None:
        self._inner, self._life = inner, life

    async def send(self, request: Request) -> Object:
        life = self._life
        if life.is_dead:
            await life.end()
        fate = life.lives.fate_of(request)
        if fate == "refused":
            raise errors.ServiceUnavailable("the test says no")
        if fate == "conflict":
            raise errors.Conflict("the test says that somebody was faster")
        if fate == "dies before":
            await life.end()
        answer = await self._inner.send(request)
        if fate == "dies after" or life.is_dead:
            await life.end()
        return answer

    async def open_watch(self, request: Request) -> WatchStream:
        return Late(await self._inner.open_watch(request), self._life)

    async def close(self) -> None:
        return


class Late:
    """A watch whose events come late, or which expires. Implements `client.transport.WatchStream`."""

    def __init__(self, inner: WatchStream, life: Life) -> None:
        self._inner, self._life = inner, life

    async def next_batch(self) -> Sequence[WatchEvent]:
        batch = await self._inner.next_batch()
        lives = self._life.lives
        if not lives.is_calm:
            if lives.random.random() < lives.faults.delay:
                await lives.stage.clock.sleep(lives.random.random() * lives.faults.delay_seconds_max)
            if lives.random.random() < lives.faults.expiry:
                raise errors.Expired("the test says that this is too old")
        return batch

    def close(self) -> None:
        self._inner.close()


class Record(NamedTuple):
    """One event of the whole history."""

    revision: int
    type: str
    obj: Object


@dataclass
class Lives:
    """The controllers of a cluster, life after life."""

    stage: Stage
    names: Sequence[str]
    random: Random
    faults: Faults
    is_calm: bool = False
    deaths: int = 0
    death: asyncio.Event = field(default_factory=asyncio.Event)
    history: list[Record] = field(default_factory=list)
    _life: Life | None = None

    def fate_of(self, request: Request) -> str:
        """What becomes of a call."""
        if self.is_calm or request.resource == EVENTS:
            return ""
        chance = self.random.random()
        if request.verb in ("get", "list", "watch"):
            return "refused" if chance < self.faults.refusal else ""
        for likely, fate in (
            (self.faults.crash / 2, "dies before"),
            (self.faults.crash / 2, "dies after"),
            (self.faults.refusal, "refused"),
            (self.faults.conflict if request.verb in ("update", "patch") else 0, "conflict"),
        ):
            if chance < likely:
                return fate
            chance -= likely
        return ""

    def start(self) -> None:
        """Begin a life with empty caches."""
        life = self._life = Life(self)
        cluster, clock = self.stage.cluster, self.stage.clock

        def client(user: str, groups: Sequence[str] = ()) -> Client:
            return Client(Unreliable(cluster.client(user, groups).transport, life))

        informers = Informers(client(CONTROLLER_MANAGER), clock=clock, detect_mutations=True)
        recorders: list[EventRecorder] = []

        def recorder(name: str) -> EventRecorder:
            one = EventRecorder(
                client(controller_user(name), controller_groups()), component=event_component(name), clock=clock
            )
            recorders.append(one)
            return one

        controllers = build_controllers(
            self.names,
            client_for=lambda name: client(controller_user(name), controller_groups()),
            informers=informers,
            recorder_for=recorder,
            clock=clock,
            resources=cluster.resources,
        )
        runs = [informers.run(), *(one.run() for one in recorders), *(one.run() for one in controllers)]
        life.tasks = [asyncio.create_task(run) for run in runs]

    async def stop(self) -> None:
        """End the present life."""
        life = self._life
        assert life is not None
        life.is_dead = True
        for task in life.tasks:
            task.cancel()
        for result in await asyncio.gather(*life.tasks, return_exceptions=True):
            assert isinstance(result, asyncio.CancelledError), result

    async def keep(self) -> None:
        """Start the next life after each death, some time later."""
        while True:
            await self.death.wait()
            self.death.clear()
            self.deaths += 1
            await self.stop()
            await self.stage.clock.sleep(self.random.random() * 3)
            self.start()

    async def record(self, resource: Resource) -> None:
        """Write down everything that ever happens to the objects of a resource."""
        version = resource_version_of(await self.stage.client.list(resource))
        while True:
            stream = await self.stage.client.watch(resource, resource_version=version)
            try:
                while batch := await stream.next_batch():  # empty: the server ends watches from time to time
                    version = resource_version_of(batch[-1].object)
                    events = [event for event in batch if event.type != "BOOKMARK"]
                    self.history += [Record(int(resource_version_of(obj)), kind, obj) for kind, obj in events]
            finally:
                stream.close()

    async def pass_time(self, seconds: float) -> None:
        """Let this time pass."""
        clock = self.stage.clock
        assert isinstance(clock, ManualClock)
        await clock.run(seconds)

    async def calm_down(self) -> None:
        """No more faults, and time for everything to come to its end."""
        self.is_calm = True
        await self.pass_time(CALM_SECONDS)
        self.history.sort(key=lambda record: record.revision)

    def moments(self) -> Iterator[tuple[Record, dict[str, dict[str, Object]]]]:
        """Each event, with all objects as they were after it: by kind, then by key."""
        world: dict[str, dict[str, Object]] = {}
        for record in self.history:
            objects = world.setdefault(record.obj["kind"], {})
            if record.type == "DELETED":
                objects.pop(key_of(record.obj), None)
            else:
                objects[key_of(record.obj)] = record.obj
            yield record, world


@asynccontextmanager
async def crashing(
    *names: str, seed: int, recorded: Sequence[Resource], faults: Faults | None = None
) -> AsyncIterator[Lives]:
    """A cluster whose controllers of these names live as `Lives` describes."""
    async with stage_with("serviceaccount", clock=ManualClock()) as stage:
        lives = Lives(stage, names, Random(seed), faults or Faults())
        tasks = [asyncio.create_task(lives.record(resource)) for resource in recorded]
        await lives.pass_time(0)
        lives.start()
        tasks.append(asyncio.create_task(lives.keep()))
        try:
            yield lives
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await lives.stop()
