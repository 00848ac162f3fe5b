"""The values that the store hands out: keys, records, events, pages.

Owns their shape and the laziness of decoding; never decides anything. A record mirrors etcd's KeyValue
(`revision` is its mod revision), an event mirrors etcd's watch event with the previous value.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from enum import StrEnum
from typing import NamedTuple

import orjson
from msgspec import Struct

from orchestrator.api.objects import Object
from orchestrator.store.packing import Packed, Packer
from orchestrator.store.sharing import PartPool


class Key(NamedTuple):
    """Where an object lives: resource is `pods` or `deployments.apps`, namespace is empty if cluster-scoped."""

    resource: str
    namespace: str
    name: str


_REFERENCES_OF_OUR_OWN = 3
"""What `sys.getrefcount` counts for a dict that only its record holds: the slot, the local name, the argument."""


class Record:
    """One object at one revision; immutable.

    `raw` is its JSON with `metadata.resourceVersion` in it, encoded once. `obj` is the same as a dict: do not
    modify it. It is only a cache of `raw`, decoded at first use and dropped again when the record is old, so
    two reads may give two equal dicts. The bytes themselves are held packed when the record is older still, and two
    reads may give two equal texts.
    """

    __slots__ = ("_obj", "_raw", "create_revision", "key", "revision")

    def __init__(self, key: Key, raw: bytes, revision: int, create_revision: int, obj: Object | None = None) -> None:
        self.key = key
        self._raw: bytes | Packed = raw
        self.revision = revision
        self.create_revision = create_revision
        self._obj = obj

    @property
    def raw(self) -> bytes:
        """The object as JSON."""
        raw = self._raw
        return raw if type(raw) is bytes else raw.unpack()  # type: ignore[union-attr]

    @property
    def obj(self) -> Object:
        """The object as a dict; shared, so copy it before changing anything."""
        obj = self._obj
        if obj is None:
            obj = self._obj = orjson.loads(self.raw)
        return obj

    def release_decoded(self) -> None:
        """Drop the decoded dict to save memory; `obj` decodes again when asked."""
        self._obj = None

    def release_unshared(self) -> None:
        """Drop the decoded dict when nobody else holds it: a cache that shares it costs nothing more."""
        obj = self._obj
        if obj is not None and sys.getrefcount(obj) <= _REFERENCES_OF_OUR_OWN:
            self._obj = None

    def share_parts(self, parts: PartPool) -> None:
        """Let the decoded dict, if there is one, have its parts in common with those of other records."""
        if self._obj is not None:
            parts.share(self._obj)

    @property
    def is_packed(self) -> bool:
        """Whether reading the bytes takes unpacking them."""
        return type(self._raw) is not bytes

    def pack(self, packer: Packer) -> None:
        """Hold the bytes packed, if that saves enough."""
        raw = self._raw
        if type(raw) is bytes:
            self._raw = packer.pack(self.key.resource, raw) or raw

    def __repr__(self) -> str:
        return f"Record({'/'.join(self.key)} @ {self.revision})"


class EventType(StrEnum):
    """The three types of a watch event that a store knows; bookmarks and errors belong to the API."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Event:
    """What one revision changed.

    `record` is the new state; of a DELETED event it is the last state, stamped with the revision of the
    deletion. `previous` is the state before, None for ADDED.
    """

    __slots__ = ("_frames", "index_values", "previous", "record", "revision", "type")

    def __init__(self, type: EventType, record: Record, previous: Record | None) -> None:
        self.type = type
        self.record = record
        self.previous = previous
        self.revision = record.revision
        self.index_values: tuple[tuple[str, str], ...] = ()
        """The (field, value) pairs under which the hub dispatches a live event; set by the hub."""
        self._frames: dict[Hashable, bytes] | None = None

    @property
    def frames(self) -> dict[Hashable, bytes]:
        """A cache for HTTP watchers: a frame is encoded once per format, for all of them."""
        frames = self._frames
        if frames is None:
            frames = self._frames = {}
        return frames

    def release_caches(self) -> None:
        """Drop what can be computed again: frames, and decoded dicts that are old or that nobody shares."""
        self._frames = None
        if self.previous is not None:
            self.previous.release_decoded()
        if self.type is EventType.DELETED:
            self.record.release_decoded()
        else:
            self.record.release_unshared()

    def __repr__(self) -> str:
        return f"Event({self.type} {'/'.join(self.record.key)} @ {self.revision})"


class Page(NamedTuple):
    """A part of a list, sorted by (namespace, name), as it was at `revision`.

    `continue_name` is the (namespace, name) to pass as `after` for the next page, None when this is the last;
    `remaining` is how many records follow this page.
    """

    records: list[Record]
    revision: int
    continue_name: tuple[str, str] | None
    remaining: int


class Stats(Struct, frozen=True):
    """Figures of a store for metrics and tests; counters count since it was opened."""

    revision: int
    compacted_revision: int
    objects: dict[str, int]
    """Live objects per resource."""
    history_events: int
    history_bytes: int
    watchers: int
    waiting_writes: int
    writes: int
    """Committed writes."""
    groups: int
    """Committed transactions of the log; 0 without a log."""
    failed_writes: int
    deliveries: int
    """How many times an event was put before a watcher."""
    slow_watchers: int
    """Watchers that were closed because they did not keep up."""
