"""Which pod is next: the pods that wait for a node, and what each of them waits for.

Three places, as in kube-scheduler's scheduling queue: *active* (a heap by priority, then age),
*backing off* (a heap by the end of the back-off: 1 s after the first attempt, doubling to 10 s) and
*unschedulable* (until an event may help, or five minutes passed). Pods with scheduling gates wait
aside. One timer serves all. Never decides about nodes; never talks to the API.

While nothing is active, a pod that backs off is tried early (KEP-5142), unless its last attempt met an
error. It gets a few such attempts for each back-off, so that events without end cost little for pods that
never fit; and it never waits longer for them than it had waited without.
"""

from __future__ import annotations

import asyncio
import enum
import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from orchestrator.aiokit.clock import Clock
from orchestrator.aiokit.earliest_timer import EarliestTimer
from orchestrator.api.resource_claims import has_new_claims
from orchestrator.scheduler import metrics
from orchestrator.scheduler.framework import ClusterEvent, Plugin
from orchestrator.scheduler.pod_info import PodInfo

ANY_EVENT: Final = ""
"""Index entry of pods that no plugin refused: everything may help them."""

PluginOf = Callable[[str, str], "Plugin | None"]
"""(scheduler name, plugin name) to the plugin."""


_DEAF: Final = Plugin()
_FAILURE: Final = "ScheduleAttemptFailure"

EARLY_ATTEMPTS_MAX: Final = 3
"""How often a pod is tried early for each back-off."""

STALE_ENTRIES_MAX: Final = 1_024
"""How many entries of pods that left may lie in a heap that nobody takes from."""


class Place(enum.Enum):
    """Where a waiting pod is."""

    ACTIVE = "active"
    BACKOFF = "backoff"
    UNSCHEDULABLE = "unschedulable"
    GATED = "gated"
    IN_FLIGHT = "in-flight"


class QueuedPod:
    """A pod that waits, or is being scheduled."""

    __slots__ = (
        "added", "attempts", "early_count", "early_until", "place", "plugins", "pod", "started", "ticket", "timestamp"
    )  # fmt: skip

    def __init__(self, pod: PodInfo, now: float) -> None:
        self.pod = pod
        self.added = now
        """When it came, or lost its last gate; for the time that it took. Seconds on the monotonic clock."""
        self.timestamp = now
        """When it was put where it is."""
        self.attempts = 0
        self.early_until = 0.0
        """The end of the back-off that it was spared."""
        self.started = 0.0
        """When its last attempt began."""
        self.early_count = 0
        """How often it was tried early in that time."""
        self.plugins: frozenset[str] = frozenset()
        """Those that refused it last."""
        self.place = Place.ACTIVE
        self.ticket = 0
        """Tells its entry in a heap from those that it left behind."""


class SchedulingQueue:
    """The pods of all profiles that wait for a node."""

    def __init__(
        self,
        *,
        clock: Clock,
        plugin_of: PluginOf,
        backoff_initial_seconds: float = 1.0,
        backoff_seconds_max: float = 10.0,
        unschedulable_seconds_max: float = 300.0,
        has_one_profile: bool = False,
    ) -> None:
        self._clock = clock
        self._plugin_of = plugin_of
        self._has_one_profile = has_one_profile
        self._backoff_initial_seconds = backoff_initial_seconds
        self._backoff_seconds_max = backoff_seconds_max
        self._unschedulable_seconds_max = unschedulable_seconds_max
        self._pods: dict[str, QueuedPod] = {}
        self._active: list[tuple[int, float, int, QueuedPod]] = []
        self._backoff: list[tuple[float, int, QueuedPod]] = []
        self._early: list[tuple[int, float, int, QueuedPod]] = []
        """Those that back off and may be tried early, in the order of the active ones."""
        self._unschedulable: OrderedDict[str, QueuedPod] = OrderedDict()
        """By uid, the one that waits longest first."""
        self._by_plugin: dict[str, dict[str, QueuedPod]] = {}
        self._counts = dict.fromkeys(Place, 0)
        self._ticket = 0
        self._wake = asyncio.Event()
        self._timer = EarliestTimer(clock, self._fire)

    def __len__(self) -> int:
        return len(self._pods)

    def count(self, place: Place) -> int:
        """How many pods are in one place."""
        return self._counts[place]

    def find(self, uid: str) -> QueuedPod | None:
        """A waiting pod, or one being scheduled."""
        return self._pods.get(uid)

    # Coming and going.

    def add(self, pod: PodInfo) -> None:
        """A pending pod appeared or changed."""
        queued = self._pods.get(pod.uid)
        if queued is None:
            queued = self._pods[pod.uid] = QueuedPod(pod, self._clock.monotonic())
            self._counts[queued.place] += 1
            self._put(queued, Place.GATED if pod.is_gated else Place.ACTIVE, "PodAdd")
            return
        old, queued.pod = queued.pod, pod
        if queued.place is Place.GATED:
            if not pod.is_gated:
                queued.added = self._clock.monotonic()
                self._put(queued, Place.ACTIVE, "PodUpdate")
        elif queued.place is Place.UNSCHEDULABLE:
            if old.spec != pod.spec or old.labels != pod.labels or has_new_claims(old.obj, pod.obj):
                self._awaken(queued, "PodUpdate")
        elif queued.place is Place.ACTIVE and old.priority != pod.priority:
            self._put(queued, Place.ACTIVE)

    def delete(self, uid: str) -> None:
        """A pod was bound, or is gone."""
        queued = self._pods.pop(uid, None)
        if queued is None:
            return
        self._leave(queued)
        self._counts[queued.place] -= 1
        queued.ticket = -1

    async def pop(self) -> QueuedPod:
        """Wait for the next pod; it stays known as in flight until `delete` or one of the `return_` functions."""
        while True:
            queued = self.try_pop()
            if queued is not None:
                return queued
            self._wake.clear()
            await self._wake.wait()

    def try_pop(self) -> QueuedPod | None:
        """The next pod, if one is active or may be tried early."""
        for heap in (self._active, self._early):
            while heap:
                _, _, ticket, queued = heapq.heappop(heap)
                if ticket != queued.ticket:
                    continue
                if queued.place is Place.BACKOFF:
                    self._count_early(queued)
                queued.attempts += 1
                self._put(queued, Place.IN_FLIGHT)
                return queued
        return None

    def return_unschedulable(self, queued: QueuedPod, plugins: Iterable[str]) -> None:
        """No node takes it: it waits for an event that its refusing plugins care about."""
        if self._pods.get(queued.pod.uid) is not queued:
            return
        queued.plugins = frozenset(plugins)
        queued.timestamp = self._clock.monotonic()
        self._put(queued, Place.GATED if queued.pod.is_gated else Place.UNSCHEDULABLE, _FAILURE)

    def return_failed(self, queued: QueuedPod) -> None:
        """Something went wrong that a later attempt may not meet: it backs off."""
        if self._pods.get(queued.pod.uid) is not queued:
            return
        queued.plugins = frozenset()
        queued.timestamp = self._clock.monotonic()
        queued.early_until = 0.0
        self._put(queued, Place.BACKOFF, _FAILURE)

    # What wakes them.

    def on_event(self, event: ClusterEvent) -> int:
        """Wake the pods that this event may help; returns how many."""
        woken: list[QueuedPod] = []
        for name, waiting in self._by_plugin.items():
            listens: dict[str, Plugin | None] = {}
            for queued in waiting.values():
                profile = queued.pod.scheduler_name
                if profile not in listens:
                    listens[profile] = self._listening(profile, name, event)
                    if listens[profile] is _DEAF and self._has_one_profile:
                        break  # nobody in this part of the index can be helped
                plugin = listens[profile]
                if plugin is not _DEAF and (plugin is None or plugin.may_help(queued.pod, event)):
                    woken.append(queued)
        count = 0
        for queued in woken:
            if queued.place is Place.UNSCHEDULABLE:
                self._awaken(queued, event.label)
                count += 1
        return count

    def _listening(self, profile: str, name: str, event: ClusterEvent) -> Plugin | None:
        """The plugin to ask for a hint; None when no question is needed, `_DEAF` when the event is none of its."""
        plugin = self._plugin_of(profile, name) if name != ANY_EVENT else None
        if plugin is None:
            return None
        actions = plugin.hints.get(event.resource)
        return plugin if actions is not None and actions & event.action else _DEAF

    def activate(self, uid: str) -> None:
        """Try this pod again at once, without back-off."""
        queued = self._pods.get(uid)
        if queued is not None and queued.place in (Place.UNSCHEDULABLE, Place.BACKOFF):
            self._put(queued, Place.ACTIVE, "ForceActivate")

    def close(self) -> None:
        """Cancel the timer; for the end of the component."""
        self._timer.cancel()

    # Inside.

    def backoff_seconds(self, queued: QueuedPod) -> float:
        """How long this pod waits after its last attempt."""
        doublings = min(max(queued.attempts - 1, 0), 30)
        return min(self._backoff_initial_seconds * 2.0**doublings, self._backoff_seconds_max)

    def _awaken(self, queued: QueuedPod, event: str) -> None:
        if queued.pod.is_gated:
            self._put(queued, Place.GATED, event)
            return
        now = self._clock.monotonic()
        if queued.timestamp + self.backoff_seconds(queued) <= now:
            self._put(queued, Place.ACTIVE, event)
            return
        self._put(queued, Place.BACKOFF, event)
        if queued.early_until <= now or queued.early_count < EARLY_ATTEMPTS_MAX:
            if len(self._early) > 2 * self._counts[Place.BACKOFF] + STALE_ENTRIES_MAX:
                # Nobody took from it for long: something was always active.
                self._early = [entry for entry in self._early if entry[2] == entry[3].ticket]
                heapq.heapify(self._early)
            heapq.heappush(self._early, (-queued.pod.priority, queued.timestamp, queued.ticket, queued))
            self._wake.set()

    def _count_early(self, queued: QueuedPod) -> None:
        if queued.early_until <= self._clock.monotonic():
            queued.early_until = queued.timestamp + self.backoff_seconds(queued)
            queued.early_count = 0
        queued.early_count += 1

    def _leave(self, queued: QueuedPod) -> None:
        if queued.place is Place.UNSCHEDULABLE:
            uid = queued.pod.uid
            if self._unschedulable.pop(uid, None) is not None:
                for name in queued.plugins or (ANY_EVENT,):
                    waiting = self._by_plugin[name]
                    del waiting[uid]
                    if not waiting:
                        del self._by_plugin[name]

    def _put(self, queued: QueuedPod, place: Place, event: str = "") -> None:
        """Put a pod somewhere; `event`: what for, where that is counted."""
        if event:
            metrics.came_in(place.value, event)
        # Callers that change `queued.plugins` do so while the pod is in flight, so the index stays true.
        self._leave(queued)
        self._counts[queued.place] -= 1
        self._counts[place] += 1
        queued.place = place
        self._ticket += 1
        queued.ticket = self._ticket
        if place is Place.ACTIVE:
            heapq.heappush(self._active, (-queued.pod.priority, queued.timestamp, queued.ticket, queued))
            self._wake.set()
        elif place is Place.BACKOFF:
            due = queued.timestamp + self.backoff_seconds(queued)
            if queued.early_until > self._clock.monotonic():
                due = min(due, queued.early_until)
            heapq.heappush(self._backoff, (due, queued.ticket, queued))
            self._timer.set(due)
        elif place is Place.UNSCHEDULABLE:
            uid = queued.pod.uid
            self._unschedulable[uid] = queued
            for name in queued.plugins or (ANY_EVENT,):
                self._by_plugin.setdefault(name, {})[uid] = queued
            self._timer.set(queued.timestamp + self._unschedulable_seconds_max)

    def _fire(self) -> None:
        now = self._clock.monotonic()
        backoff = self._backoff
        while backoff and (backoff[0][1] != backoff[0][2].ticket or backoff[0][0] <= now):
            _, ticket, queued = heapq.heappop(backoff)
            if ticket == queued.ticket:
                self._put(queued, Place.ACTIVE, "BackoffComplete")
        while self._unschedulable:
            queued = next(iter(self._unschedulable.values()))
            if queued.timestamp + self._unschedulable_seconds_max > now:
                self._timer.set(queued.timestamp + self._unschedulable_seconds_max)
                break
            self._awaken(queued, "UnschedulableTimeout")
        if backoff:
            self._timer.set(backoff[0][0])
