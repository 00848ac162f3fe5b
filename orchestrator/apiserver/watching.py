"""Watches: from the store's events to what one client asked to see.

A client that selects by labels or fields sees an object *appear* when it begins to match and
*vanish* when it no longer does, whatever the store's own event was (API conventions, "Efficient
detection of changes"). Translation yields records, so that an encoder can share frames between
watchers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import orjson

from orchestrator.aiokit.clock import Clock
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object
from orchestrator.apiserver import conversion
from orchestrator.apiserver.listing import Selection
from orchestrator.apiserver.store_errors import translated
from orchestrator.store import Event, EventType, Record, Watch

BOOKMARK_SECONDS = 60.0
"""How often an idle watch tells its client how far it has come, as kube-apiserver does about once a minute; once more
when its time is over."""

INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class Change(NamedTuple):
    """One event as a particular watcher sees it."""

    type: str
    """ADDED, MODIFIED, DELETED or BOOKMARK"""
    record: Record | None
    """None for bookmarks."""
    event: Event | None
    """The store's event when the record is passed on unchanged: its frame cache may be used."""
    revision: int
    is_initial_end: bool = False
    """A bookmark that ends the initial events (KEP-3157)."""


class ObjectWatch:
    """A watch as a client sees it: initial state if asked for, changes, bookmarks.

    `next_changes` returns an empty list when the time that the client asked for is over.
    """

    def __init__(
        self,
        *,
        kind: Kind,
        selection: Selection,
        source: Watch,
        clock: Clock,
        initial: list[Record],
        initial_revision: int,
        send_initial_end: bool,
        bookmarks: bool,
        timeout_seconds: float,
        bookmark_seconds: float = BOOKMARK_SECONDS,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.kind = kind
        self._selection = selection
        self._source = source
        self._clock = clock
        self._initial = initial
        self._initial_revision = initial_revision
        self._send_initial_end = send_initial_end
        self._bookmarks = bookmarks
        self._bookmark_seconds = bookmark_seconds if bookmarks else math.inf
        self._deadline = clock.monotonic() + timeout_seconds
        self._on_close = on_close
        self._last_revision = initial_revision
        self._closed = False

    def convert(self, obj: Object) -> Object:
        """The object in the version that the client asked for."""
        convert = conversion.at_encoding(self.kind)
        return convert(obj) if convert is not None else obj

    async def _fetched(self, changes: list[Change]) -> list[Change]:
        """The changes with what a webhook has to convert converted."""
        fetch = self.kind.conversion.fetch_from_stored if self.kind.conversion else None
        if fetch is None or self._selection.is_of_served:
            return changes
        records = [change.record for change in changes if change.record is not None]
        served = iter(await conversion.served_records(self.kind, records))
        return [change._replace(record=next(served), event=None) if change.record else change for change in changes]

    async def next_changes(self) -> list[Change]:
        """Wait for at least one change; raises ApiError (`Expired` for a watcher that was too slow)."""
        if self._initial or self._send_initial_end:
            return await self._fetched(self._initial_changes())
        now = self._clock.monotonic()
        bookmark_at = now + self._bookmark_seconds  # events that this client does not see put it off no further
        while now < self._deadline:
            if now >= bookmark_at:
                if bookmark := self._bookmark():
                    return bookmark
                bookmark_at = now + self._bookmark_seconds
            with translated(self.kind, ""):
                wake_at = min(self._deadline, bookmark_at)
                events = await self._source.next_batch(timeout=wake_at - now if wake_at < math.inf else None)
            if self._selection.is_of_served:
                events = await conversion.served_events(self.kind, events)
            changes = [change for event in events if (change := self._translate(event)) is not None]
            if changes:
                self._last_revision = changes[-1].revision
                return await self._fetched(changes)
            now = self._clock.monotonic()
        return self._bookmark()  # the client goes on from here

    def _bookmark(self) -> list[Change]:
        """How far the watch has come, unless the client knows already or does not want to."""
        revision = self._source.revision
        if not self._bookmarks or revision <= self._last_revision:
            return []
        self._last_revision = revision
        return [Change("BOOKMARK", None, None, revision)]

    def close(self) -> None:
        """Stop watching; safe to call twice."""
        if not self._closed:
            self._closed = True
            self._source.close()
            if self._on_close is not None:
                self._on_close()

    def _initial_changes(self) -> list[Change]:
        changes = [Change("ADDED", record, None, record.revision) for record in self._initial]
        self._initial = []
        if self._send_initial_end:
            self._send_initial_end = False
            changes.append(Change("BOOKMARK", None, None, self._initial_revision, is_initial_end=True))
        return changes

    def _translate(self, event: Event) -> Change | None:
        selection = self._selection
        if selection.is_everything:
            return Change(event.type.value, event.record, event, event.revision)
        previous = event.previous
        matched = previous is not None and selection.matches(previous.obj)
        if event.type is EventType.DELETED:
            return Change("DELETED", event.record, event, event.revision) if matched else None
        matches = selection.matches(event.record.obj)
        if matches and matched:
            return Change("MODIFIED", event.record, event, event.revision)
        if matches:
            return Change("ADDED", event.record, event if event.type is EventType.ADDED else None, event.revision)
        if matched:
            assert previous is not None
            return Change("DELETED", at_revision(previous, event.revision), None, event.revision)
        return None


def at_revision(record: Record, revision: int) -> Record:
    """The same state, said to be of a later revision: how a watcher sees an object leave its selection."""
    obj = {**record.obj, "metadata": {**record.obj["metadata"], "resourceVersion": str(revision)}}
    return Record(record.key, orjson.dumps(obj), revision, record.create_revision, obj)


def bookmark_object(kind: Kind, change: Change) -> Object:
    """The object of a BOOKMARK event: only kind, version and how far the watch has come."""
    metadata: Object = {"resourceVersion": str(change.revision)}
    if change.is_initial_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    return {"kind": kind.resource.kind, "apiVersion": kind.resource.api_version, "metadata": metadata}
