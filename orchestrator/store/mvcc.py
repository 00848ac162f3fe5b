"""The store: multi-version state in memory, durable when it was given a log.

Owns the revision, the visible records and the history. Never knows how a write becomes durable (`group_commit`) and
never waits for a watcher (`hub`). Mirrors etcd's MVCC and its compare-and-swap transactions.

Every change of state is a plain `def`: `_plan_*` decides a write against what is visible and raises without
having changed anything; `_apply` makes a committed event visible. Between the two lies only the commit.
"""

from __future__ import annotations

import gc
import sys
from bisect import bisect_left, bisect_right, insort
from builtins import list as List
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from heapq import merge
from itertools import islice
from pathlib import Path

import orjson

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object
from orchestrator.store.errors import (
    Compacted,
    FutureRevision,
    KeyExists,
    KeyNotFound,
    ObjectTooLarge,
    RevisionConflict,
    StoreClosed,
    StoreCorrupt,
)
from orchestrator.store.group_commit import GROUP_WRITES_MAX, WAITING_WRITES_MAX, GroupCommit
from orchestrator.store.hub import IndexedFields, WatchHub, WatchQueue
from orchestrator.store.log import Log, Row
from orchestrator.store.packing import Packer
from orchestrator.store.protocol import WATCH_CAPACITY
from orchestrator.store.records import Event, EventType, Key, Page, Record, Stats
from orchestrator.store.sharing import PartPool

HISTORY_LIMIT = 10_000
"""Events that can be read back; the oldest are compacted when there are a quarter more."""
HISTORY_BYTES_MAX = 64 * 1024 * 1024
"""The same limit in encoded bytes, for clusters of large objects."""
DECODED_EVENTS_MAX = 1024
"""The newest events keep their decoded states and frames; of older ones only the bytes stay.

More than any cache is behind in a burst: one that is too late decodes for itself what nobody shares then.
"""
SHARED_BYTES_MIN = 1024
"""Smaller objects have little in common: looking for it in a thousand Leases, renewed all the time, costs more."""
PACKED_AT_ONCE_MAX = 2
"""Records that each write packs, of those that are old enough: together they take less than the write."""
OBJECT_BYTES_MAX = 1_572_864
"""1.5 MiB: what etcd takes in one request, and so the largest object of a Kubernetes cluster."""


class _Table:
    """One resource: its keys in order, and what happened to it."""

    __slots__ = ("history", "keys")

    def __init__(self) -> None:
        self.keys: list[Key] = []
        """Sorted by (namespace, name): a namespace is a slice, a page a shorter one."""
        self.history: list[Event] = []

    def since(self, revision: int) -> list[Event]:
        """The events after a revision."""
        return self.history[bisect_right(self.history, revision, key=_revision_of) :]


def _revision_of(event: Event) -> int:
    return event.revision


class MvccStore:
    """State in memory; durable when it was given a log (then `start()` must come first, see `open_store`)."""

    def __init__(
        self,
        *,
        clock: Clock,
        indexed_fields: IndexedFields | None = None,
        history_limit: int = HISTORY_LIMIT,
        history_bytes_max: int = HISTORY_BYTES_MAX,
        waiting_writes_max: int = WAITING_WRITES_MAX,
        group_writes_max: int = GROUP_WRITES_MAX,
        log: Log | None = None,
    ) -> None:
        self._history_limit = history_limit
        self._history_bytes_max = history_bytes_max
        self._revision = 1
        self._submitted = 1
        """The last revision that was given to a write; those of failed writes are never used again."""
        self._compacted_revision = 0
        self._records: dict[Key, Record] = {}
        self._tables: dict[str, _Table] = {}
        self._history: deque[Event] = deque()
        self._history_bytes = 0
        self._parts = PartPool()
        self._packer = Packer()
        self._to_pack: deque[Record] = deque()
        """States that outlived their event in the history."""
        self._hub = WatchHub(clock=clock, indexed_fields=indexed_fields or {}, revision=1)
        self._closed = False
        self._writes = 0
        self._commits: GroupCommit | None = None
        """None in a store without a log, where a write is applied at once."""
        if log is not None:
            self._commits = GroupCommit(
                log, apply=self._apply, waiting_writes_max=waiting_writes_max, group_writes_max=group_writes_max
            )

    # ---- reading

    @property
    def revision(self) -> int:
        """The last visible revision; 1 in an empty store."""
        return self._revision

    @property
    def compacted_revision(self) -> int:
        """The oldest revision that can still be read and watched from."""
        return self._compacted_revision

    async def get(self, key: Key, *, revision: int | None = None) -> Record | None:
        """The object as it is, or was at `revision`; raises Compacted or FutureRevision."""
        self._check_open()
        if revision is None or revision == self._revision:
            return self._records.get(key)
        self._check_revision(revision)
        if (table := self._tables.get(key.resource)) is not None:
            for event in table.since(revision):
                if event.record.key == key:
                    return event.previous
        return self._records.get(key)

    async def list(
        self,
        resource: str,
        namespace: str | None = None,
        *,
        revision: int | None = None,
        limit: int = 0,
        after: tuple[str, str] | None = None,
    ) -> Page:
        """Objects sorted by (namespace, name), as they are or were at `revision`; raises Compacted, FutureRevision.

        O(log objects + page) at the current revision; at an older one the events since are undone.
        """
        self._check_open()
        if revision is None:
            revision = self._revision
        self._check_revision(revision)
        table = self._tables.get(resource)
        if table is None:
            return Page([], revision, None, 0)
        low, high = _slice(table.keys, resource, namespace, after)
        if revision == self._revision or not (events := table.since(revision)):
            end = min(high, low + limit) if limit > 0 else high
            records = self._records
            page = [records[key] for key in table.keys[low:end]]
            return _page(page, revision, high - end)
        return self._list_undone(table.keys[low:high], events, revision, namespace, limit, after)

    def _list_undone(
        self,
        keys: List[Key],
        events: List[Event],
        revision: int,
        namespace: str | None,
        limit: int,
        after: tuple[str, str] | None,
    ) -> Page:
        """A list at an older revision: the first later event of a key says what was there before."""
        before: dict[Key, Record | None] = {}
        for event in events:
            key = event.record.key
            if (namespace is None or key.namespace == namespace) and (after is None or key[1:] > after):
                before.setdefault(key, event.previous)
        records = self._records
        gone = sorted(key for key, record in before.items() if record is not None and key not in records)
        added = sum(1 for key, record in before.items() if record is None and key in records)
        total = len(keys) - added + len(gone)
        if limit <= 0:
            limit = total
        # Of the present keys at most `added` drop out, so these are enough for a page.
        candidates = merge(keys[: limit + added], gone)
        then = (before[key] if key in before else records[key] for key in candidates)
        page = list(islice((record for record in then if record is not None), limit))
        return _page(page, revision, total - len(page))

    def watch(
        self,
        resource: str,
        namespace: str | None = None,
        name: str | None = None,
        *,
        index: tuple[str, str] | None = None,
        since: int,
        capacity: int = WATCH_CAPACITY,
    ) -> WatchQueue:
        """The events after revision `since`; raises Compacted, FutureRevision, ValueError for an unknown index."""
        self._check_open()
        self._check_revision(since)
        if index is not None:
            self._hub.check_index(resource, index[0])
        watch = WatchQueue(
            self._hub, resource=resource, namespace=namespace, name=name, index=index, capacity=max(1, capacity)
        )
        if since < self._revision and (table := self._tables.get(resource)) is not None:
            watch.backlog = [event for event in table.since(since) if watch.wants(event)]
        self._hub.register(watch)
        return watch

    def observe(self, resource: str, observer: Callable[[Event], None]) -> None:
        """Call `observer` at once with every object there is, as ADDED, and from then on with every event."""
        self._check_open()
        if (table := self._tables.get(resource)) is not None:
            for key in table.keys:
                observer(Event(EventType.ADDED, self._records[key], None))
        self._hub.observe(resource, observer)

    def stats(self) -> Stats:
        """Figures for metrics and tests."""
        commits = self._commits
        return Stats(
            revision=self._revision,
            compacted_revision=self._compacted_revision,
            objects={resource: len(table.keys) for resource, table in self._tables.items() if table.keys},
            history_events=len(self._history),
            history_bytes=self._history_bytes,
            watchers=self._hub.watchers,
            waiting_writes=commits.waiting_writes if commits is not None else 0,
            writes=self._writes,
            groups=commits.groups if commits is not None else 0,
            failed_writes=commits.failed_writes if commits is not None else 0,
            deliveries=self._hub.deliveries,
            slow_watchers=self._hub.slow_watchers,
        )

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed

    def _check_revision(self, revision: int) -> None:
        if revision > self._revision:
            raise FutureRevision(revision, self._revision)
        if revision < self._compacted_revision:
            raise Compacted(revision, self._compacted_revision)

    # ---- writing

    async def create(self, key: Key, obj: Object) -> Record:
        """Store a new object, which the caller gives away; raises KeyExists, ObjectTooLarge, StoreFailed."""
        return await self._write(key, lambda revision: self._plan_create(key, obj, revision))

    async def update(self, key: Key, obj: Object, *, expected_revision: int) -> Record:
        """Replace an object that is at `expected_revision`.

        Raises RevisionConflict, KeyNotFound, ObjectTooLarge, StoreFailed.
        """
        return await self._write(key, lambda revision: self._plan_update(key, obj, revision, expected_revision))

    async def delete(self, key: Key, *, expected_revision: int | None = None) -> Record:
        """Remove an object; returns its last state, stamped with the revision of the deletion.

        Raises RevisionConflict, KeyNotFound, StoreFailed.
        """
        return await self._write(key, lambda revision: self._plan_delete(key, revision, expected_revision))

    def _plan_create(self, key: Key, obj: Object, revision: int) -> Event:
        if key in self._records:
            raise KeyExists(key)
        # The few distinct resources and namespaces are kept once, not once per object.
        kept = Key(sys.intern(key.resource), sys.intern(key.namespace), key.name)
        return self._event(EventType.ADDED, _checked(_stamp(kept, self._shared(obj), revision, revision)), None)

    def _plan_update(self, key: Key, obj: Object, revision: int, expected_revision: int) -> Event:
        current = self._current(key, expected_revision)
        if len(current.raw) >= SHARED_BYTES_MIN:
            obj = self._shared(obj)
        record = _checked(_stamp(current.key, obj, revision, current.create_revision))
        return self._event(EventType.MODIFIED, record, current)

    def _plan_delete(self, key: Key, revision: int, expected_revision: int | None) -> Event:
        current = self._current(key, expected_revision)
        record = _stamp(current.key, current.obj, revision, current.create_revision)
        return self._event(EventType.DELETED, record, current)

    def _shared(self, obj: Object) -> Object:
        """The object with a spec that others have, too, from its first moment: nobody ever holds another one."""
        spec = obj.get("spec")
        return {**obj, "spec": self._parts.alike(spec)} if type(spec) is dict else obj

    def _current(self, key: Key, expected_revision: int | None) -> Record:
        current = self._records.get(key)
        if current is None:
            raise KeyNotFound(key)
        if expected_revision is not None and current.revision != expected_revision:
            raise RevisionConflict(current, expected_revision)
        return current

    def _event(self, type: EventType, record: Record, previous: Record | None) -> Event:
        event = Event(type, record, previous)
        # Read now, in the writer's own context: a field reader that raises must not hit a committed event.
        event.index_values = self._hub.index_values(event)
        return event

    async def _write(self, key: Key, plan: Callable[[int], Event]) -> Record:
        self._check_open()
        if self._commits is not None:
            return await self._commits.write(key, lambda: self._planned(plan))
        event = self._planned(plan)
        self._apply(event)
        return event.record

    def _planned(self, plan: Callable[[int], Event]) -> Event:
        """A write under the next revision; none is taken where the plan raises."""
        event = plan(self._submitted + 1)
        self._submitted = event.revision
        return event

    def _apply(self, event: Event) -> None:
        """Make a committed event visible: to readers first, then to watchers."""
        record = event.record
        key = record.key
        table = self._tables.get(key.resource)
        if table is None:
            table = self._tables[key.resource] = _Table()
        if event.type is EventType.MODIFIED:
            self._records[key] = record
        elif event.type is EventType.ADDED:
            self._records[key] = record
            insort(table.keys, key)
        else:
            del self._records[key]
            del table.keys[bisect_left(table.keys, key)]
        self._revision = event.revision
        self._writes += 1
        self._remember(table, event)
        if len(self._history) > DECODED_EVENTS_MAX:
            old = self._history[-DECODED_EVENTS_MAX - 1]
            old.release_caches()
            if len(old.record.raw) >= SHARED_BYTES_MIN:
                old.record.share_parts(self._parts)
        if self._to_pack:
            self._pack_some()
        self._hub.dispatch(event)

    def _pack_some(self) -> None:
        """Pack a few old states, if they are still the current ones of their objects."""
        for _ in range(min(PACKED_AT_ONCE_MAX, len(self._to_pack))):
            record = self._to_pack.popleft()
            if self._records.get(record.key) is record:
                record.pack(self._packer)

    # ---- history

    def _remember(self, table: _Table, event: Event) -> None:
        table.history.append(event)
        self._history.append(event)
        self._history_bytes += len(event.record.raw)
        # A quarter of slack, so that the lists are cut in large pieces.
        if (
            len(self._history) > self._history_limit + self._history_limit // 4
            or self._history_bytes > self._history_bytes_max + self._history_bytes_max // 4
        ):
            self._forget(self._oldest_to_keep())
            if self._commits is not None:
                self._commits.compact_soon(self._compacted_revision)

    def _oldest_to_keep(self) -> int:
        """The revision to compact at so that both limits of the history hold again."""
        surplus = len(self._history) - self._history_limit
        surplus_bytes = self._history_bytes - self._history_bytes_max
        revision = self._compacted_revision
        for event in self._history:
            if surplus <= 0 and surplus_bytes <= 0:
                break
            surplus -= 1
            surplus_bytes -= len(event.record.raw)
            revision = event.revision
        return revision

    def _forget(self, revision: int) -> None:
        """Drop the events up to `revision`, which becomes the oldest that can be read."""
        resources: set[str] = set()
        while self._history and self._history[0].revision <= revision:
            event = self._history.popleft()
            event.release_caches()
            record = event.record
            self._history_bytes -= len(record.raw)
            if self._records.get(record.key) is record:
                self._to_pack.append(record)
            resources.add(record.key.resource)
        for resource in resources:
            history = self._tables[resource].history
            del history[: bisect_right(history, revision, key=_revision_of)]
            if not history and not self._tables[resource].keys:
                del self._tables[resource]
        self._compacted_revision = self._hub.compacted_revision = revision

    async def compact(self, revision: int) -> None:
        """Forget the history up to `revision`, also in the log; raises FutureRevision, StoreFailed."""
        self._check_open()
        if revision > self._revision:
            raise FutureRevision(revision, self._revision)
        if revision > self._compacted_revision:
            self._forget(revision)
        if self._commits is not None:
            await self._commits.compact(revision)

    # ---- life

    async def start(self) -> None:
        """Read the log, if there is one, and start the writer task; raises StoreCorrupt."""
        commits = self._commits
        if commits is None:
            return
        log = commits.log
        self._compacted_revision = log.compacted_revision
        self._revision = max(1, log.compacted_revision)
        with _garbage_collector_paused():
            async with aclosing(log.replay()) as chunks:
                async for rows in chunks:
                    self._load(rows, commits.tombstones)
        for key in self._records:
            self._tables.setdefault(key.resource, _Table()).keys.append(key)
        for table in self._tables.values():
            table.keys.sort()
        self._submitted = self._hub.revision = self._revision
        self._hub.compacted_revision = self._compacted_revision
        commits.start()
        commits.compact_soon(self._compacted_revision)

    def _load(self, rows: Sequence[Row], tombstones: dict[Key, int]) -> None:
        """Take over rows of the log without decoding a value."""
        intern = sys.intern
        records, tables = self._records, self._tables
        for revision, resource, namespace, name, previous_revision, create_revision, deleted, value in rows:
            key = Key(intern(resource), intern(namespace), name)
            previous = records.get(key)
            if previous is not None:
                key = previous.key
                expected = previous.revision
            else:
                expected = tombstones.get(key, 0)
            # What the first row after a compaction follows may be gone.
            if previous_revision != expected and (expected or previous_revision > self._compacted_revision):
                reason = f"revision {revision} of {'/'.join(key)} follows {previous_revision} instead of {expected}"
                raise StoreCorrupt(None, f"the log is damaged: {reason}")
            record = Record(key, value, revision, create_revision)
            if not deleted:
                type_ = EventType.MODIFIED if previous is not None else EventType.ADDED
                records[key] = record
                if previous is None:
                    tombstones.pop(key, None)
            elif previous is not None:
                type_ = EventType.DELETED
                del records[key]
                tombstones[key] = revision
            else:
                raise StoreCorrupt(None, f"the log is damaged: revision {revision} deletes what is not there")
            self._revision = max(self._revision, revision)
            if revision > self._compacted_revision:
                if (table := tables.get(key.resource)) is None:
                    table = tables[key.resource] = _Table()
                self._remember(table, Event(type_, record, previous))

    async def close(self) -> None:
        """Commit what was submitted, end every watch, release the log; may be called more than once."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._commits is not None:
                await self._commits.finish()
        finally:
            self._hub.close()
            if self._commits is not None:
                await self._commits.log.close()


def _stamp(key: Key, obj: Object, revision: int, create_revision: int) -> Record:
    """A record of a copy of `obj` that carries the revision; copied no deeper than that needs."""
    stamped = dict(obj)
    stamped["metadata"] = {**(obj.get("metadata") or {}), "resourceVersion": str(revision)}
    # A copy of the exact length: the encoder's own buffer is up to twice as large, and would stay so.
    raw = memoryview(orjson.dumps(stamped)).tobytes()
    return Record(key, raw, revision, create_revision, stamped)


def _checked(record: Record) -> Record:
    """The record itself; ObjectTooLarge."""
    if len(record.raw) > OBJECT_BYTES_MAX:
        raise ObjectTooLarge(record.key, len(record.raw), OBJECT_BYTES_MAX)
    return record


@contextmanager
def _garbage_collector_paused() -> Iterator[None]:
    """No cyclic collection while a log is read: nothing of it is garbage, and searching a growing heap for some takes
    longer than all the rest."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _slice(keys: list[Key], resource: str, namespace: str | None, after: tuple[str, str] | None) -> tuple[int, int]:
    """Where the keys of a namespace (None: of all) lie, behind the key `after`."""
    low, high = 0, len(keys)
    if namespace is not None:
        low = bisect_left(keys, (resource, namespace))
        high = bisect_left(keys, (resource, namespace + "\0"), low)
    if after is not None:
        low = max(low, bisect_right(keys, (resource, *after)))
    return low, max(low, high)


def _page(records: list[Record], revision: int, remaining: int) -> Page:
    if not remaining or not records:
        return Page(records, revision, None, 0)
    last = records[-1].key
    return Page(records, revision, (last.namespace, last.name), remaining)


async def open_store(
    path: Path | None,
    *,
    clock: Clock,
    indexed_fields: IndexedFields | None = None,
    history_limit: int = HISTORY_LIMIT,
    history_bytes_max: int = HISTORY_BYTES_MAX,
    waiting_writes_max: int = WAITING_WRITES_MAX,
    group_writes_max: int = GROUP_WRITES_MAX,
) -> MvccStore:
    """A running store; durable in the SQLite file `path`, or in memory only when it is None.

    Raises StoreLocked, StoreCorrupt, StoreFailed. Close it: with a log it owns a task and a thread.
    """
    log: Log | None = None
    if path is not None:
        from orchestrator.store.log import SqliteLog

        log = await SqliteLog.open(path)
    store = MvccStore(
        clock=clock,
        indexed_fields=indexed_fields,
        history_limit=history_limit,
        history_bytes_max=history_bytes_max,
        waiting_writes_max=waiting_writes_max,
        group_writes_max=group_writes_max,
        log=log,
    )
    try:
        await store.start()
    except BaseException as error:
        if log is not None:
            await log.close()
        if isinstance(error, StoreCorrupt) and error.path is None:
            raise StoreCorrupt(path, str(error)) from error
        raise
    return store
