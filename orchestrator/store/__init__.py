"""The watchable, revisioned store behind the API server.

Owns every object of the cluster, the one global revision, its history and the durable log. Knows nothing
of kinds, HTTP or validation: an object is a JSON dict whose `metadata.resourceVersion` the store stamps.
Mirrors etcd as kube-apiserver uses it, together with kube-apiserver's watch cache.

    create/update/delete
          │  wait for the key's pending commit, compare-and-swap against the visible state, next revision
          ▼
       queue ──▶ one writer task ──▶ group ──▶ Log.append: one SQLite transaction (WAL, synchronous=FULL)
                                       │ committed
                                       ▼
                             apply (plain def): records · history · revision
                                       │ one Event per revision
                                       ▼
                  WatchHub: dispatch by resource / namespace / name / field value
                                       │
                                       ▼
                  a bounded queue per Watch ──▶ next_batch()      acknowledge the writers

Without a log a write is applied at once, without a task switch.
A write that is visible or acknowledged is committed; one that failed was never visible.

Vocabulary: a *Record* is one object at one revision; an *Event* is what one revision changed; *history* is
the events since the *compacted revision*, from which older revisions are read and watches resume.

Modules: `records` and `errors` (values), `protocol` (what may be assumed of a store), `mvcc` (the store),
`group_commit` (writes on their way to the log), `log` (the durable log), `hub` (watch dispatch), `sharing` and
`packing` (what many objects take in memory).
"""

from orchestrator.store.errors import (
    Compacted,
    FutureRevision,
    KeyExists,
    KeyNotFound,
    ObjectTooLarge,
    RevisionConflict,
    StoreClosed,
    StoreCorrupt,
    StoreError,
    StoreFailed,
    StoreLocked,
)
from orchestrator.store.mvcc import MvccStore, open_store
from orchestrator.store.protocol import Store, Watch
from orchestrator.store.records import Event, EventType, Key, Page, Record, Stats

__all__ = [
    "Compacted",
    "Event",
    "EventType",
    "FutureRevision",
    "Key",
    "KeyExists",
    "KeyNotFound",
    "MvccStore",
    "ObjectTooLarge",
    "Page",
    "Record",
    "RevisionConflict",
    "Stats",
    "Store",
    "StoreClosed",
    "StoreCorrupt",
    "StoreError",
    "StoreFailed",
    "StoreLocked",
    "Watch",
    "open_store",
]
