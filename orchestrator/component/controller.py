"""The one base class of controllers: a work queue of keys, workers, retries, metrics.

A controller says which informers lead to which keys (`setup`) and what to do for a key
(`reconcile`). Everything else is here: waiting for caches, the worker loop, back-off, and the only
broad `except`. Mirrors the controller of client-go's sample-controller and controller-runtime.
"""

from __future__ import annotations

import abc
import asyncio
from typing import ClassVar, TypedDict

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.clock import Clock
from orchestrator.aiokit.workqueue import WorkQueue
from orchestrator.api import errors
from orchestrator.api.objects import Object, key_of
from orchestrator.api.resources import Resource
from orchestrator.client.client import Client
from orchestrator.client.informer import Informer, Informers
from orchestrator.component import metrics
from orchestrator.component.events import EventRecorder
from orchestrator.logs import get_logger


class Dependencies(TypedDict):
    """What every controller is built with: one that needs more takes these as `**dependencies` and hands them on."""

    client: Client
    informers: Informers
    recorder: EventRecorder
    clock: Clock


class Controller(abc.ABC):
    """Level-triggered: `reconcile(key)` compares what is with what should be, however it came about."""

    name: ClassVar[str]
    """As in kube-controller-manager's `--controllers`, e.g. `replicaset`; also its field manager."""
    workers: ClassVar[int] = 5
    backoff_max_seconds: ClassVar[float] = 1000.0

    def __init__(self, *, client: Client, informers: Informers, recorder: EventRecorder, clock: Clock) -> None:
        self.client = client
        self.recorder = recorder
        self.clock = clock
        self.queue: WorkQueue[str] = WorkQueue(clock=clock, backoff=ItemBackoff(max_seconds=self.backoff_max_seconds))
        metrics.WORK_QUEUES.show(self.name, self.queue)
        self.log = get_logger(f"controller/{self.name}")
        self._informers = informers
        self._watched: list[Informer] = []
        self.setup()

    @abc.abstractmethod
    def setup(self) -> None:
        """Name the informers and how their objects become keys; called once by the constructor."""

    @abc.abstractmethod
    async def reconcile(self, key: str) -> float | None:
        """Bring one object closer to what it should be; may return seconds after which to look again.

        A `Conflict` or `NotFound` (somebody was faster), or any other exception, puts the key back with back-off.
        """

    def informer(self, resource: Resource) -> Informer:
        """The shared informer of a resource; `run` waits for it before the first reconcile."""
        informer = self._informers.informer(resource)
        if informer not in self._watched:
            self._watched.append(informer)
        return informer

    def enqueue_object(self, old: Object | None, new: Object | None) -> None:
        """An informer handler: the object's own key."""
        obj = new if new is not None else old
        assert obj is not None
        self.queue.add(key_of(obj))

    async def run(self) -> None:
        """Work until cancelled."""
        for informer in self._watched:
            await informer.wait_synced()
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self.workers):
                    group.create_task(self._work(), name=f"controller/{self.name}/{number}")
        finally:
            self.queue.close()

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self._reconcile_once(key)
            finally:
                self.queue.done(key)

    async def _reconcile_once(self, key: str) -> None:
        started, waited_seconds = self.clock.monotonic(), self.queue.waited_seconds(key)
        result = "success"
        try:
            again_seconds = await self.reconcile(key)
        except (errors.Conflict, errors.NotFound) as stale:
            # The cache was behind; the watch event that is on its way, or the back-off, brings us back.
            result = "conflict"
            self.log.debug("reconcile.conflict", key=key, error=stale.message)
            self.queue.add_rate_limited(key)
        except errors.ApiError as error:
            result = "error"
            self.log.info("reconcile.refused", key=key, error=error.message, code=error.code)
            self.queue.add_rate_limited(key)
        except Exception:
            result = "error"
            self.log.exception("reconcile.failed", key=key)
            self.queue.add_rate_limited(key)
        else:
            self.queue.forget(key)
            if again_seconds is not None:
                self.queue.add_after(key, again_seconds)
        seconds = self.clock.monotonic() - started
        metrics.reconciled(self.name, result, waited_seconds=waited_seconds, seconds=seconds)
