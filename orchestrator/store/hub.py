"""Watch dispatch: who gets to see an event, at a cost that follows the number of interested watchers.

Owns the watchers and their bounded queues. Never waits for a reader: one that does not keep up is closed and
has to list again. Mirrors the watcher index and the forced closing of slow watchers in kube-apiserver's
watch cache.

A watcher stands under exactly one topic, the most selective that it has; an event looks up the few topics
that it can belong to. Everything here is plain `def` except the reader's own waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object
from orchestrator.store.errors import Compacted, StoreClosed, StoreError
from orchestrator.store.records import Event

IndexedFields: TypeAlias = Mapping[str, Mapping[str, Callable[[Object], str]]]
"""resource → field path → how to read the field from an object of that resource."""

_Topic: TypeAlias = tuple[str, str | None, str | None, tuple[str, str] | None]
"""(resource, namespace, name, index): None where it does not matter."""


class WatchQueue:
    """One reader's stream: the history that it resumes from, then a bounded queue of live events."""

    def __init__(
        self,
        hub: WatchHub,
        *,
        resource: str,
        namespace: str | None,
        name: str | None,
        index: tuple[str, str] | None,
        capacity: int,
    ) -> None:
        self._hub = hub
        self.resource = resource
        self.namespace = namespace
        self.name = name
        self.index = index
        self.capacity = capacity
        self.queue: deque[Event] = deque()
        # Apart from the queue and outside its capacity: it is bounded by the history, and a watcher that resumes
        # far behind must be able to catch up rather than be closed at the first live event.
        self.backlog: list[Event] = []
        self.waiter: asyncio.Future[None] | None = None
        self._error: StoreError | None = None
        self._closed_revision = 0
        if name is not None:
            self.topic: _Topic = (resource, namespace, name, None)
            self.filters = index is not None
        elif index is not None:
            self.topic = (resource, None, None, index)
            self.filters = namespace is not None
        else:
            self.topic = (resource, namespace, None, None)
            self.filters = False

    def wants(self, event: Event) -> bool:
        """Whether an event is of interest, everything considered."""
        key = event.record.key
        if key.resource != self.resource:
            return False
        if self.namespace is not None and key.namespace != self.namespace:
            return False
        if self.name is not None and key.name != self.name:
            return False
        return self.index is None or self.index in self._hub.index_values(event)

    @property
    def revision(self) -> int:
        """Every event up to this revision was handed out or was of no interest."""
        if self._error is not None and not self.backlog and not self.queue:
            return self._closed_revision
        return self._delivered_revision()

    def _delivered_revision(self) -> int:
        if self.backlog:
            return self.backlog[0].revision - 1
        if self.queue:
            return self.queue[0].revision - 1
        return self._hub.revision

    async def next_batch(self, timeout: float | None = None) -> list[Event]:
        """At least one event; an empty list after `timeout` seconds. Raises Compacted, StoreClosed."""
        batch = self._take()
        if batch or (timeout is not None and timeout <= 0):
            return batch
        if self.waiter is not None:
            raise RuntimeError("a watch has one reader")
        waiter = self.waiter = asyncio.get_running_loop().create_future()
        timer = None if timeout is None else self._hub.clock.call_later(timeout, self.wake)
        try:
            await waiter
        finally:
            self.waiter = None
            if timer is not None:
                timer.cancel()
        return self._take()

    def wake(self) -> None:
        """Let the reader look again, if it waits."""
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _take(self) -> list[Event]:
        if self.backlog:
            batch, self.backlog = self.backlog, []
            return batch
        if self.queue:
            batch = list(self.queue)
            self.queue.clear()
            return batch
        if self._error is not None:
            # It may be raised more than once: without the traceback of the time before.
            raise self._error.with_traceback(None)
        return []

    def close(self) -> None:
        """Stop the stream and forget what was not read."""
        self.end(StoreClosed("the watch is closed"), drop=True)

    def end(self, error: StoreError, *, drop: bool) -> None:
        """Leave the hub; the reader gets `error` after what is still queued, or at once with `drop`."""
        if self._error is None:
            self._closed_revision = self._delivered_revision() if drop else self._hub.revision
            self._error = error
            self._hub.unregister(self)
        if drop:
            self.backlog = []
            self.queue.clear()
        self.wake()


class WatchHub:
    """All watchers of a store, found by topic."""

    def __init__(self, *, clock: Clock, indexed_fields: IndexedFields, revision: int) -> None:
        self.clock = clock
        self.revision = revision
        """The last revision that was dispatched."""
        self.compacted_revision = 0
        self.watchers = 0
        self.deliveries = 0
        self.slow_watchers = 0
        self._indexed_fields = indexed_fields
        self._topics: dict[_Topic, dict[WatchQueue, None]] = {}  # dicts, not sets: their order is deterministic
        self._observers: dict[str, list[Callable[[Event], None]]] = {}

    def check_index(self, resource: str, field: str) -> None:
        """Raise ValueError unless this field was registered for the resource."""
        if field not in self._indexed_fields.get(resource, ()):
            raise ValueError(f"{resource} has no indexed field {field!r}")

    def index_values(self, event: Event) -> tuple[tuple[str, str], ...]:
        """The distinct (field, value) pairs of an event, of the state after and before it."""
        if event.index_values:
            return event.index_values
        fields = self._indexed_fields.get(event.record.key.resource)
        if not fields:
            return ()
        values: dict[tuple[str, str], None] = {}
        for field, read in fields.items():
            values[field, read(event.record.obj)] = None
            if event.previous is not None:
                values[field, read(event.previous.obj)] = None
        return tuple(values)

    def observe(self, resource: str, observer: Callable[[Event], None]) -> None:
        """Call `observer` with every event of a resource from now on, before any watcher sees it."""
        self._observers.setdefault(resource, []).append(observer)

    def register(self, watch: WatchQueue) -> None:
        """Let a watcher see every event from now on."""
        self._topics.setdefault(watch.topic, {})[watch] = None
        self.watchers += 1

    def unregister(self, watch: WatchQueue) -> None:
        """Forget a watcher."""
        watchers = self._topics.get(watch.topic)
        if watchers is None or watch not in watchers:
            return
        del watchers[watch]
        self.watchers -= 1
        if not watchers:
            del self._topics[watch.topic]

    def dispatch(self, event: Event) -> None:
        """Put an event before the watchers that are interested in it."""
        self.revision = event.revision
        resource, namespace, name = event.record.key
        if observers := self._observers.get(resource):
            for observer in observers:
                observer(event)
        if not self._topics:
            return
        slow: list[WatchQueue] = []
        topics = self._topics
        if watchers := topics.get((resource, None, None, None)):
            self._offer(event, watchers, slow)
        if watchers := topics.get((resource, namespace, None, None)):
            self._offer(event, watchers, slow)
        if watchers := topics.get((resource, namespace, name, None)):
            self._offer(event, watchers, slow)
        if watchers := topics.get((resource, None, name, None)):
            self._offer(event, watchers, slow)
        for index in event.index_values:
            if watchers := topics.get((resource, None, None, index)):
                self._offer(event, watchers, slow)
        for watch in slow:
            self.slow_watchers += 1
            reason = f"slow watcher: more than {watch.capacity} events waited for it"
            watch.end(Compacted(watch.revision, self.compacted_revision, reason), drop=True)

    def _offer(self, event: Event, watchers: Iterable[WatchQueue], slow: list[WatchQueue]) -> None:
        count = 0
        for watch in watchers:
            count += 1
            if watch.filters and not watch.wants(event):
                continue
            queue = watch.queue
            if len(queue) >= watch.capacity:
                slow.append(watch)
                continue
            queue.append(event)
            waiter = watch.waiter
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        self.deliveries += count

    def close(self) -> None:
        """End every watch; what is queued can still be read."""
        for watchers in list(self._topics.values()):
            for watch in list(watchers):
                watch.end(StoreClosed(), drop=False)
