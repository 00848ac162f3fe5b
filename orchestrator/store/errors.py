"""What a store can refuse or fail at. Plain exceptions: the API server turns them into a Status.

StoreError
├── KeyExists          create: the key is taken
├── KeyNotFound        update, delete: there is no such object
├── RevisionConflict   update, delete: the object is at another revision than expected
├── ObjectTooLarge     create, update: its encoding is larger than a store takes
├── Compacted          the revision is older than the history (410 Expired)
├── FutureRevision     the revision has not happened yet
├── StoreClosed        the store, or this watch, was closed
└── StoreFailed        the log could not be written or opened; nothing of the write became visible
    ├── StoreLocked    another process has the log open
    └── StoreCorrupt   the file is damaged or not a log of ours
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.store.records import Key, Record


class StoreError(Exception):
    """Base of everything that the store raises on purpose."""


class KeyExists(StoreError):
    """A create met a live object under its key."""

    def __init__(self, key: Key) -> None:
        super().__init__(f"{'/'.join(key)} already exists")
        self.key = key


class KeyNotFound(StoreError):
    """An update or delete met no live object under its key."""

    def __init__(self, key: Key) -> None:
        super().__init__(f"{'/'.join(key)} not found")
        self.key = key


class RevisionConflict(StoreError):
    """A compare-and-swap failed: `current` is the record that is there instead of `expected_revision`."""

    def __init__(self, current: Record, expected_revision: int) -> None:
        super().__init__(f"{'/'.join(current.key)} is at revision {current.revision}, not at {expected_revision}")
        self.current = current
        self.expected_revision = expected_revision


class ObjectTooLarge(StoreError):
    """The encoding of an object has `size` bytes where at most `limit` are taken."""

    def __init__(self, key: Key, size: int, limit: int) -> None:
        super().__init__(f"{'/'.join(key)} has {size} bytes, at most {limit} are allowed")
        self.size = size
        self.limit = limit


class Compacted(StoreError):
    """`revision` is older than the history, which starts after `compacted_revision`; list again."""

    def __init__(self, revision: int, compacted_revision: int, reason: str = "") -> None:
        super().__init__(reason or f"revision {revision} was compacted; the oldest is {compacted_revision}")
        self.revision = revision
        self.compacted_revision = compacted_revision


class FutureRevision(StoreError):
    """`revision` is larger than `current_revision`, the last one that is visible."""

    def __init__(self, revision: int, current_revision: int) -> None:
        super().__init__(f"revision {revision} is in the future; the current one is {current_revision}")
        self.revision = revision
        self.current_revision = current_revision


class StoreClosed(StoreError):
    """The store or the watch was closed."""

    def __init__(self, reason: str = "the store is closed") -> None:
        super().__init__(reason)


class StoreFailed(StoreError):
    """The log could not be written; the write is not visible and may be tried again."""


class StoreLocked(StoreFailed):
    """Another process has this log open."""

    def __init__(self, path: Path, owner: str) -> None:
        super().__init__(f"{path} is in use by {owner}")
        self.path = path


class StoreCorrupt(StoreFailed):
    """The file is damaged, or is not a log of this program, or of a newer version of it."""

    def __init__(self, path: Path | None, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
