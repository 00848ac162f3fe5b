"""What everything above may assume of a store: the seam that the memory store fills today.

Never says how it is stored. Every operation is one that etcd has too, so that a store on etcd can take its
place; nothing above this line may assume SQLite or a single process.
"""

from __future__ import annotations

from builtins import list as List
from collections.abc import Callable
from typing import Protocol

from orchestrator.api.objects import Object
from orchestrator.store.records import Event, Key, Page, Record, Stats

WATCH_CAPACITY = 4096
"""Events that may wait for a watcher before it counts as slow."""


class Watch(Protocol):
    """A stream of events for one reader."""

    @property
    def revision(self) -> int:
        """Every event up to this revision was handed out or was of no interest: what a bookmark may say."""
        ...

    async def next_batch(self, timeout: float | None = None) -> List[Event]:
        """At least one event, in order of revision; an empty list after `timeout` seconds without any.

        Raises Compacted when the reader was too slow and the watch was closed for it, StoreClosed when the
        store or the watch was closed. A cancelled call loses nothing.
        """
        ...

    def close(self) -> None:
        """Stop the stream; may be called more than once."""
        ...


class Store(Protocol):
    """Objects under keys, with one global revision for all of them."""

    @property
    def revision(self) -> int:
        """The last visible revision; 1 in an empty store."""
        ...

    @property
    def compacted_revision(self) -> int:
        """The oldest revision that can still be read and watched from."""
        ...

    async def get(self, key: Key, *, revision: int | None = None) -> Record | None:
        """The object as it is, or was at `revision`; raises Compacted or FutureRevision."""
        ...

    async def list(
        self,
        resource: str,
        namespace: str | None = None,
        *,
        revision: int | None = None,
        limit: int = 0,
        after: tuple[str, str] | None = None,
    ) -> Page:
        """Objects of a resource, in one namespace or in all, sorted by (namespace, name).

        `limit` 0 means all; `after` is the (namespace, name) behind which the page starts. Raises Compacted or
        FutureRevision.
        """
        ...

    async def create(self, key: Key, obj: Object) -> Record:
        """Store a new object; raises KeyExists, ObjectTooLarge, StoreFailed. The caller gives `obj` away."""
        ...

    async def update(self, key: Key, obj: Object, *, expected_revision: int) -> Record:
        """Replace an object that is at `expected_revision`.

        Raises RevisionConflict, KeyNotFound, ObjectTooLarge, StoreFailed.
        """
        ...

    async def delete(self, key: Key, *, expected_revision: int | None = None) -> Record:
        """Remove an object and return its last state, stamped with the revision of the deletion.

        Raises RevisionConflict, KeyNotFound, StoreFailed.
        """
        ...

    def watch(
        self,
        resource: str,
        namespace: str | None = None,
        name: str | None = None,
        *,
        index: tuple[str, str] | None = None,
        since: int,
        capacity: int = WATCH_CAPACITY,
    ) -> Watch:
        """The events after revision `since`; raises Compacted or FutureRevision.

        `index` is (field, value) of a field that was registered for the resource; an event is of interest when
        the field has this value now or had it before.
        """
        ...

    def observe(self, resource: str, observer: Callable[[Event], None]) -> None:
        """Call `observer` at once with every object there is, as ADDED, and from then on with every event.

        For what must never lag behind the store: an event is observed before its revision is acknowledged or
        watched. Observers do not block, do not raise and cannot be taken back; they are few, and belong to the
        API server itself.
        """
        ...

    async def compact(self, revision: int) -> None:
        """Forget the history up to `revision`, which stays readable itself; does nothing if already done."""
        ...

    def stats(self) -> Stats:
        """Figures for metrics."""
        ...

    async def close(self) -> None:
        """Commit what was submitted, end every watch, release the log."""
        ...
