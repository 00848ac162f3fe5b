"""The scheduler component: informers in, bindings out.

Owns the cache, the queue and the tasks. Every decision is the planner's; this module feeds it, applies
what it says and reports it. The decision loop never waits for the API: an assumed pod counts on its
node at once, bindings and reports are made by a bounded number of workers. Mirrors kube-scheduler.

Starting again needs nothing but the informers: bound pods are placed, the others wait in the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final

from orchestrator.aiokit.clock import Clock, TimerHandle, format_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, labels_of, name_of, uid_of
from orchestrator.api.resources import (
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    DEVICE_CLASSES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    SERVICES,
    STATEFUL_SETS,
    STORAGE_CLASSES,
    Resource,
)
from orchestrator.client.client import Client
from orchestrator.client.informer import Informer, Informers
from orchestrator.component.events import EventRecorder
from orchestrator.logs import get_logger
from orchestrator.scheduler import metrics
from orchestrator.scheduler.algorithm import Nominations
from orchestrator.scheduler.cache import Cache, counts_differently, matters
from orchestrator.scheduler.configuration import SchedulerConfig, default_config
from orchestrator.scheduler.framework import Action, ClusterEvent, Plugin, Reservation, ReservationError
from orchestrator.scheduler.listers import InformerListers
from orchestrator.scheduler.planner import Placed, Planner, Refused
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.pod_writer import PodWriter, plan_refusal
from orchestrator.scheduler.preemption import Candidate
from orchestrator.scheduler.queue import Place, QueuedPod, SchedulingQueue

Job = Callable[[], Coroutine[Any, Any, object]]

LISTED: Final[tuple[Resource, ...]] = (
    SERVICES,
    REPLICA_SETS,
    STATEFUL_SETS,
    REPLICATION_CONTROLLERS,
    POD_DISRUPTION_BUDGETS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
    CSI_NODES,
    CSI_DRIVERS,
    CSI_STORAGE_CAPACITIES,
    DEVICE_CLASSES,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
)
"""What plugins read besides nodes and pods."""

WAKING: Final = frozenset(LISTED[5:])
"""Of these, the ones whose changes can make a refused pod fit."""

ASSUMED_SECONDS_MAX: Final = 30.0
"""How long a bound pod counts on its node without having been seen there: a watch is never so late."""

RESERVING_MAX: Final = 1_024
"""Pods whose volumes are being bound at the same time; more of them wait for a worker."""


class Scheduler:
    """Gives every pending pod of its profiles a node."""

    name = "scheduler"

    def __init__(
        self,
        *,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        clock: Clock,
        config: SchedulerConfig | None = None,
    ) -> None:
        self._informers = informers
        self._client = client
        self._clock = clock
        self._config = config or default_config()
        self._log = get_logger("kube-scheduler")
        self._writer = PodWriter(client, recorder, clock)
        self._pods: Informer = informers.informer(PODS)
        self._nodes: Informer = informers.informer(NODES)
        self._namespaces: Informer = informers.informer(NAMESPACES)
        self._listers = InformerListers()
        self._listers.follow(self._nodes)
        self._plugins: dict[str, dict[str, Plugin]] = {
            profile.scheduler_name: {plugin.name: plugin for plugin in profile.plugins}
            for profile in self._config.profiles
        }
        self._is_following = False
        self._group: asyncio.TaskGroup | None = None
        self._reserving: set[asyncio.Task[object]] = set()
        self._expiry: TimerHandle | None = None
        self._reset()
        self._pods.add_handler(self._on_pod)
        self._nodes.add_handler(self._on_node)
        self._namespaces.add_handler(self._on_namespace)

    def _reset(self) -> None:
        self.cache = Cache()
        self._nominations = Nominations()
        self.queue = SchedulingQueue(
            clock=self._clock,
            plugin_of=lambda profile, plugin: self._plugins.get(profile, {}).get(plugin),
            backoff_initial_seconds=self._config.backoff_initial_seconds,
            backoff_seconds_max=self._config.backoff_seconds_max,
            unschedulable_seconds_max=self._config.unschedulable_seconds_max,
            has_one_profile=len(self._config.profiles) == 1,
        )
        self._planners = {
            profile.scheduler_name: Planner(profile, self.cache, listers=self._listers, nominations=self._nominations)
            for profile in self._config.profiles
        }
        self._unconfirmed: dict[str, float] = {}
        """Until when each bound pod, by uid, may go unseen; in the order of time."""
        self._in_flight = asyncio.Semaphore(self._config.binds_in_flight_max)

    def planner(self, scheduler_name: str) -> Planner | None:
        """The planner of a profile, for explanations; None when the name is not ours."""
        return self._planners.get(scheduler_name)

    async def run(self) -> None:
        """Schedule until cancelled."""
        for resource in LISTED:
            if await self._is_served(resource):
                self._follow(self._informers.informer(resource))
        for informer in (self._pods, self._nodes, self._namespaces, *self._listers.informers):
            await informer.wait_synced()
        self._start_from_informers()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._in_flight = asyncio.Semaphore(self._config.binds_in_flight_max)
                group.create_task(self._schedule(), name="scheduler/cycle")
        finally:
            self._is_following = False
            self._group = None
            self.queue.close()
            if self._expiry is not None:
                self._expiry.cancel()
                self._expiry = None

    def _follow(self, informer: Informer) -> None:
        if informer in self._listers.informers:
            return
        self._listers.follow(informer)
        if informer.resource in WAKING:
            informer.add_handler(partial(self._on_waking, informer.resource))

    async def _is_served(self, resource: Resource) -> bool:
        """Whether the API has this resource for us; an older or smaller one may not."""
        try:
            await self._client.list(resource, limit=1)
        except (errors.NotFound, errors.Forbidden) as error:
            self._log.info("resource.not_followed", resource=resource.group_resource, error=error.message)
            return False
        return True

    def _start_from_informers(self) -> None:
        self.queue.close()
        self._reset()
        for namespace in self._namespaces.list():
            self.cache.set_namespace(name_of(namespace), labels_of(namespace))
        for node in self._nodes.list():
            self.cache.set_node(node)
        for resource in (RESOURCE_CLAIMS, RESOURCE_SLICES):
            for obj in self._listers.list(resource):
                self._note_devices(resource, None, obj)
        self._is_following = True
        for pod in self._pods.list():
            self._on_pod(None, pod)
        for place in map(Place, metrics.WAITING):
            # Read when asked for: pending pods cost nothing per change.
            metrics.PENDING.labels(place.value).set_function(partial(self._count_pending, place))

    def _count_pending(self, place: Place) -> float:
        return self.queue.count(place)

    # What the informers say.

    def _on_namespace(self, old: Object | None, new: Object | None) -> None:
        if not self._is_following:
            return
        name = name_of(new if new is not None else old or {})
        self.cache.set_namespace(name, labels_of(new) if new is not None else None)

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if not self._is_following:
            return
        if new is None:
            assert old is not None
            self.cache.remove_node(name_of(old))
            self.queue.on_event(ClusterEvent(NODES, Action.DELETE, old=old))
            return
        self.cache.set_node(new)
        if old is None:
            self.queue.on_event(ClusterEvent(NODES, Action.ADD, new=new))
        elif matters(old, new):
            self.queue.on_event(ClusterEvent(NODES, Action.UPDATE, old=old, new=new))

    def _on_waking(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        if self._is_following:
            self._note_devices(resource, old, new)
            action = Action.ADD if old is None else Action.DELETE if new is None else Action.UPDATE
            self.queue.on_event(ClusterEvent(resource, action, old=old, new=new))

    def _note_devices(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        if resource is RESOURCE_CLAIMS:
            self.cache.devices.on_claim(old, new)
        elif resource is RESOURCE_SLICES:
            self.cache.devices.on_slice(old, new)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if not self._is_following:
            return
        if new is None:
            assert old is not None
            self._on_pod_gone(uid_of(old))
            return
        if old is not None and uid_of(old) != uid_of(new):
            self._on_pod_gone(uid_of(old))  # deleted and made again while nobody looked
        pod = PodInfo(new)
        if pod.is_finished:
            self._on_pod_gone(pod.uid)
        elif pod.node_name:
            self._on_pod_bound(pod)
        elif pod.is_terminating or pod.scheduler_name not in self._planners:
            self.queue.delete(pod.uid)
            self._nominations.remove(pod.uid)
        elif not self.cache.node_of(pod.uid):
            self.queue.add(pod)
            self._nominations.set(pod, pod.nominated_node_name)
        elif self.queue.find(pod.uid) is not None:
            self.queue.add(pod)  # its binding may still fail, and then this is the pod to try again
        # Else it is bound already, and this change was made before: whoever tried it again would count it twice.

    def _on_pod_gone(self, uid: str) -> None:
        self.queue.delete(uid)
        was_promised = bool(self._nominations.node_of(uid))
        self._nominations.remove(uid)
        node = self.cache.node_of(uid)
        pod = self.cache.remove_pod(uid)
        if pod is not None:
            self.queue.on_event(ClusterEvent(PODS, Action.DELETE, old_pod=_as_on(pod, node)))
        elif was_promised:
            # Room that was kept free is free again.
            self.queue.on_event(ClusterEvent(PODS, Action.DELETE))

    def _on_pod_bound(self, pod: PodInfo) -> None:
        self.queue.delete(pod.uid)
        self._nominations.remove(pod.uid)
        is_new = self.cache.is_assumed(pod.uid) or not self.cache.node_of(pod.uid)
        known = self.cache.pod(pod.uid)
        self.cache.set_pod(pod)
        if is_new:
            self.queue.on_event(ClusterEvent(PODS, Action.ADD, new_pod=pod))
        elif known is not None and counts_differently(known, pod):
            self.queue.on_event(ClusterEvent(PODS, Action.UPDATE, old_pod=known, new_pod=pod))

    # The cycle.

    async def _schedule(self) -> None:
        while True:
            queued = await self.queue.pop()
            job = self.schedule_one(queued)
            if job is not None:
                await self._in_flight.acquire()
                assert self._group is not None
                self._group.create_task(self._carry_out(job), name="scheduler/bind")

    def schedule_one(self, queued: QueuedPod) -> Job | None:
        """Decide for one pod and count it on its node; returns what is left to do with the API."""
        pod = queued.pod
        queued.started = self._clock.monotonic()
        decision = self._planners[pod.scheduler_name].plan(pod)
        metrics.DECISION_SECONDS.observe(self._clock.monotonic() - queued.started)
        if isinstance(decision, Placed):
            node = decision.node.name
            self.cache.assume(pod, decision.node)
            self._nominations.remove(pod.uid)
            reservations = self._planners[pod.scheduler_name].reserve(pod, decision.node)
            if not reservations:
                return lambda: self._bind(queued, pod, node)
            return self._beside(lambda: self._reserve_and_bind(queued, pod, node, reservations))
        self._count_attempt(queued, "unschedulable")
        if self.cache.nodes:
            metrics.PREEMPTION_ATTEMPTS.inc()
        self._log.debug("pod.unschedulable", pod=pod.key, message=decision.message)
        self.queue.return_unschedulable(queued, decision.plugins)
        self._writer.tell(pod, pod, "Warning", "FailedScheduling", decision.message)
        if decision.preemption is not None:
            return self._plan_eviction(pod, decision, decision.preemption)
        self._nominations.remove(pod.uid)
        patch = plan_refusal(pod.obj, decision.message, now=format_time(self._clock.now()))
        return (lambda: self._writer.patch_status(pod, patch)) if patch else None

    def _count_attempt(self, queued: QueuedPod, result: str) -> None:
        metrics.attempted(result, queued.pod.scheduler_name, self._clock.monotonic() - queued.started)

    def _plan_eviction(self, pod: PodInfo, refused: Refused, candidate: Candidate) -> Job:
        node = candidate.node.name
        displaced = self._nominations.below(node, pod.priority)
        for other in displaced:
            self._nominations.remove(other.uid)
        self._nominations.set(pod, node)
        patch = plan_refusal(pod.obj, refused.message, now=format_time(self._clock.now()), nominated_node_name=node)
        return lambda: self._preempt(pod, candidate, displaced, patch)

    # The API's side.

    async def _carry_out(self, job: Job) -> None:
        try:
            await job()
        finally:
            self._in_flight.release()

    def _beside(self, job: Job) -> Job | None:
        """Run a job that may take minutes beside those in flight; as one of them when there are too many."""
        if self._group is None or len(self._reserving) >= RESERVING_MAX:
            return job
        task = self._group.create_task(job(), name="scheduler/reserve")
        self._reserving.add(task)
        task.add_done_callback(self._reserving.discard)
        return None

    async def _reserve_and_bind(
        self, queued: QueuedPod, pod: PodInfo, node: str, reservations: Mapping[str, Reservation]
    ) -> None:
        at_work = ""
        try:
            for plugin, reservation in reservations.items():
                at_work = plugin
                await reservation.carry_out(self._client, self._clock)
        except (ReservationError, errors.ApiError, OSError) as error:
            await self._undo(reservations)
            self._on_bind_failed(queued, pod, node, f'running PreBind plugin "{at_work}": {error}', error)
            return
        finally:
            for reservation in reservations.values():
                reservation.release()
        if self.queue.find(pod.uid) is queued:  # else it was deleted meanwhile
            if not await self._bind(queued, pod, node):
                await self._undo(reservations)
            return
        await self._undo(reservations)
        if self.cache.forget(pod.uid):
            self.queue.on_event(ClusterEvent(PODS, Action.DELETE, old_pod=_as_on(pod, node)))

    async def _undo(self, reservations: Mapping[str, Reservation]) -> None:
        for plugin, reservation in reservations.items():
            try:
                await reservation.undo(self._client)
            except (errors.ApiError, OSError) as error:
                # What stays reserved for the pod serves its next attempt, or is let go when the pod goes.
                self._log.info("reservation.not_undone", plugin=plugin, error=str(error))

    async def _bind(self, queued: QueuedPod, pod: PodInfo, node: str) -> bool:
        """Whether the pod is bound now."""
        try:
            await self._writer.bind(pod, node)
        except (errors.ApiError, OSError) as error:
            message = f'binding rejected: running Bind plugin "DefaultBinder": {error}'
            self._on_bind_failed(queued, pod, node, message, error)
            return False
        self._log.info("pod.scheduled", pod=pod.key, node=node)
        self._count_attempt(queued, "scheduled")
        metrics.placed(queued.attempts, self._clock.monotonic() - queued.added)
        if self.cache.is_assumed(pod.uid):
            self._expect(pod.uid)
        self.queue.delete(pod.uid)
        self._writer.tell(pod, pod, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {node}")
        return True

    def _expect(self, uid: str) -> None:
        """The pod is bound; the informer has to show it in time."""
        self._unconfirmed[uid] = self._clock.monotonic() + ASSUMED_SECONDS_MAX
        if self._expiry is None:
            self._expiry = self._clock.call_later(ASSUMED_SECONDS_MAX, self._expire)

    def _expire(self) -> None:
        """Forget assumptions that nothing has confirmed, so that what they hold is not lost for good."""
        self._expiry = None
        now = self._clock.monotonic()
        while self._unconfirmed:
            uid, due = next(iter(self._unconfirmed.items()))
            is_open = self.cache.is_assumed(uid)
            if is_open and due > now:
                self._expiry = self._clock.call_later(due - now, self._expire)
                return
            del self._unconfirmed[uid]
            node, pod = self.cache.node_of(uid), self.cache.pod(uid)
            if is_open and pod is not None and self.cache.forget(uid):
                self._log.warning("pod.assumption_expired", pod=pod.key, node=node)
                self.queue.on_event(ClusterEvent(PODS, Action.DELETE, old_pod=_as_on(pod, node)))

    def _on_bind_failed(self, queued: QueuedPod, pod: PodInfo, node: str, message: str, error: Exception) -> None:
        self._count_attempt(queued, "error")
        self._log.info("pod.bind_failed", pod=pod.key, node=node, error=str(error))
        if self.cache.forget(pod.uid):
            self.queue.on_event(ClusterEvent(PODS, Action.DELETE, old_pod=_as_on(pod, node)))
        if isinstance(error, errors.NotFound) and self._is_gone(pod):
            self.queue.delete(pod.uid)
            return
        if self.cache.node_of(pod.uid):
            return  # somebody else bound it, and the informer told us already
        self._writer.tell(pod, pod, "Warning", "FailedScheduling", message)
        self.queue.return_failed(queued)

    def _is_gone(self, pod: PodInfo) -> bool:
        known = self._pods.get(pod.key)
        return known is None or uid_of(known) != pod.uid

    async def _preempt(
        self, pod: PodInfo, candidate: Candidate, displaced: Sequence[PodInfo], status: Object | None
    ) -> None:
        if not await self._writer.preempt(pod, candidate, displaced, status):
            self._nominations.remove(pod.uid)
            self.queue.activate(pod.uid)


def _as_on(pod: PodInfo, node: str) -> PodInfo:
    """An assumed pod's object does not name its node; hints want to know that it had one."""
    if pod.node_name != node:
        pod = PodInfo(pod.obj)
        pod.node_name = node
    return pod
