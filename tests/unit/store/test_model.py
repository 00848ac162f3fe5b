"""The store against a model that keeps every state it ever had: a stateful property test.

The model is a list of snapshots, one per revision. Whatever sequence of writes, reads, watches, compactions,
restarts and crashes Hypothesis finds, the store must agree with it. A crash is a reopening of a copy of the
files, taken while the store is open.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestrator.aiokit.clock import SystemClock
from orchestrator.store import (
    Compacted,
    Event,
    EventType,
    FutureRevision,
    Key,
    KeyExists,
    KeyNotFound,
    MvccStore,
    Record,
    RevisionConflict,
    Watch,
    open_store,
)
from orchestrator.store.packing import PACKED_BYTES_MIN
from tests.unit.store.fakes import POD_FIELDS, node_name

T = TypeVar("T")
Snapshot = dict[Key, tuple[int, int, int, str]]  # key → revision, create revision, value, node

KEYS = st.builds(Key, st.sampled_from(["pods", "nodes"]), st.sampled_from(["", "a", "b"]), st.sampled_from("xyz"))
NODES = st.sampled_from(["", "n1", "n2"])
VALUES = st.integers(0, 99)
SCOPES = st.fixed_dictionaries(
    {"resource": st.just("pods")},
    optional={
        "namespace": st.sampled_from(["", "a", "b"]),
        "name": st.sampled_from("xyz"),
        "index": st.tuples(st.just("spec.nodeName"), NODES),
    },
)
OPERATIONS = st.tuples(st.sampled_from(["create", "update", "delete"]), KEYS, VALUES, NODES)


def obj(key: Key, value: int, node: str) -> dict[str, Any]:
    # Long enough to be packed when it is old.
    spec = {"nodeName": node, "padding": "x" * PACKED_BYTES_MIN}
    return {"metadata": {"name": key.name, "namespace": key.namespace}, "spec": spec, "value": value}


def seen(record: Record) -> tuple[int, int, int, str]:
    assert record.obj["metadata"]["resourceVersion"] == str(record.revision)
    return record.revision, record.create_revision, record.obj["value"], node_name(record.obj)


class Reader:
    """A watch and what the model says it must still hand out."""

    def __init__(self, watch: Watch, scope: dict[str, Any], since: int) -> None:
        self.watch = watch
        self.scope = scope
        self.since = since


class StoreModel(RuleBasedStateMachine):
    """Rules are verbs of the store; each compares its outcome with the snapshots."""

    has_log = False

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.generation = 0
        self.snapshots: dict[int, Snapshot] = {1: {}}
        self.readers: list[Reader] = []
        self.compacted = 0

    @initialize()
    def open(self) -> None:
        self.store = self.run(self.reopen())

    async def reopen(self) -> MvccStore:
        path = self.path() if self.has_log else None
        return await open_store(path, clock=SystemClock(), indexed_fields=POD_FIELDS, history_limit=10_000)

    def path(self) -> Path:
        return Path(self.directory.name) / str(self.generation) / "store.db"

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        self.run(self.store.close())
        self.runner.close()
        self.directory.cleanup()

    # ---- the model

    @property
    def revision(self) -> int:
        return max(self.snapshots)

    @property
    def now(self) -> Snapshot:
        return self.snapshots[self.revision]

    def learn(self, verb: str, key: Key, record: Record, value: int, node: str) -> None:
        """Take over a write that the store acknowledged, after checking that it was legal."""
        assert record.revision == self.revision + 1
        after = dict(self.now)
        if verb == "create":
            assert key not in after
            assert seen(record) == (record.revision, record.revision, value, node)
            after[key] = seen(record)
        elif verb == "update":
            assert seen(record) == (record.revision, after[key][1], value, node)
            after[key] = seen(record)
        else:
            assert seen(record)[1:] == after.pop(key)[1:]
        self.snapshots[record.revision] = after

    def expected_events(self, scope: dict[str, Any], since: int, up_to: int) -> list[tuple[str, Key, int, int]]:
        events = []
        for revision in range(since + 1, up_to + 1):
            before, after = self.snapshots[revision - 1], self.snapshots[revision]
            (key,) = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
            nodes = {state[key][3] for state in (before, after) if key in state}
            if (
                key.resource == scope["resource"]
                and scope.get("namespace") in (None, key.namespace)
                and scope.get("name") in (None, key.name)
                and ("index" not in scope or scope["index"][1] in nodes)
            ):
                type_ = "ADDED" if key not in before else "MODIFIED" if key in after else "DELETED"
                value = after[key][2] if key in after else before[key][2]
                events.append((type_, key, revision, value))
        return events

    # ---- writes

    async def perform(self, verb: str, key: Key, value: int, node: str, expected: int) -> Record:
        if verb == "create":
            return await self.store.create(key, obj(key, value, node))
        if verb == "update":
            return await self.store.update(key, obj(key, value, node), expected_revision=expected)
        return await self.store.delete(key)

    @rule(operation=OPERATIONS)
    def write(self, operation: tuple[str, Key, int, str]) -> None:
        verb, key, value, node = operation
        exists = key in self.now
        try:
            record = self.run(self.perform(verb, key, value, node, self.now[key][0] if exists else 7))
        except KeyExists:
            assert verb == "create"
            assert exists
        except KeyNotFound:
            assert verb != "create"
            assert not exists
        else:
            self.learn(verb, key, record, value, node)

    @precondition(lambda self: self.now)
    @rule(data=st.data(), verb=st.sampled_from(["update", "delete"]), offset=st.sampled_from([-1, 1]))
    def write_with_a_wrong_revision(self, data: st.DataObject, verb: str, offset: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.now)))
        wrong = self.now[key][0] + offset
        write = (
            self.store.update(key, obj(key, 0, ""), expected_revision=wrong)
            if verb == "update"
            else self.store.delete(key, expected_revision=wrong)
        )
        with pytest.raises(RevisionConflict) as conflict:
            self.run(write)
        assert seen(conflict.value.current) == self.now[key]

    @rule(operations=st.lists(OPERATIONS, min_size=2, max_size=12))
    def write_at_once(self, operations: list[tuple[str, Key, int, str]]) -> None:
        async def all_of_them() -> list[Record | BaseException]:
            start = self.now
            writes = (
                self.perform(verb, key, value, node, start[key][0] if key in start else 7)
                for verb, key, value, node in operations
            )
            return await asyncio.gather(*writes, return_exceptions=True)

        done = []
        for operation, result in zip(operations, self.run(all_of_them()), strict=True):
            if isinstance(result, Record):
                done.append((result.revision, operation, result))
            else:
                assert isinstance(result, KeyExists | KeyNotFound | RevisionConflict)
        for _, (verb, key, value, node), record in sorted(done, key=lambda entry: entry[0]):
            self.learn(verb, key, record, value, node)

    # ---- reads

    @rule(
        data=st.data(),
        namespace=st.sampled_from([None, "", "a", "b"]),
        limit=st.integers(0, 4),
        after=st.none() | st.tuples(st.sampled_from(["", "a", "b"]), st.sampled_from("wxyz")),
    )
    def list_then(self, data: st.DataObject, namespace: str | None, limit: int, after: tuple[str, str] | None) -> None:
        revision = data.draw(st.integers(max(1, self.compacted), self.revision))
        expected = [
            state
            for key, state in sorted(self.snapshots[revision].items())
            if key.resource == "pods"
            and namespace in (None, key.namespace)
            and (after is None or (key.namespace, key.name) > after)
        ]
        is_last = False
        while not is_last:
            page = self.run(self.store.list("pods", namespace, revision=revision, limit=limit, after=after))
            taken, expected = (expected[:limit], expected[limit:]) if limit else (expected, [])
            assert [seen(record) for record in page.records] == taken
            assert (page.revision, page.remaining) == (revision, len(expected))
            is_last = not expected
            after = page.continue_name
            assert after == (None if is_last else page.records[-1].key[1:])

    @rule(data=st.data(), key=KEYS)
    def get_then(self, data: st.DataObject, key: Key) -> None:
        revision = data.draw(st.integers(max(1, self.compacted), self.revision))
        record = self.run(self.store.get(key, revision=revision))
        assert (seen(record) if record else None) == self.snapshots[revision].get(key)

    # ---- watches

    @rule(data=st.data(), scope=SCOPES)
    def watch(self, data: st.DataObject, scope: dict[str, Any]) -> None:
        since = data.draw(st.integers(max(1, self.compacted), self.revision))
        self.readers.append(Reader(self.store.watch(**scope, since=since), scope, since))

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def read_a_watch(self, data: st.DataObject) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        pending = self.expected_events(reader.scope, reader.since, self.revision)
        bookmark = pending[0][2] - 1 if pending else self.revision
        assert reader.watch.revision == max(reader.since, bookmark)
        events: list[Event] = []
        while batch := self.run(reader.watch.next_batch(timeout=0)):
            events += batch
        told = [(str(e.type), e.record.key, e.revision, e.record.obj["value"]) for e in events]
        assert told == pending
        for event in events:
            before = self.snapshots[event.revision - 1].get(event.record.key)
            assert (seen(event.previous) if event.previous else None) == before
            assert (event.type is EventType.ADDED) == (before is None)
        assert reader.watch.revision == self.revision
        reader.since = self.revision

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def close_a_watch(self, data: st.DataObject) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        self.readers.remove(reader)
        reader.watch.close()

    # ---- history and life

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        revision = data.draw(st.integers(1, self.revision))
        self.run(self.store.compact(revision))
        self.compacted = max(self.compacted, revision)

    @rule()
    def read_outside_the_history(self) -> None:
        for revision, error in ((self.compacted - 1, Compacted), (self.revision + 1, FutureRevision)):
            with pytest.raises(error):
                self.store.watch("pods", since=revision)

    @precondition(lambda self: self.has_log)
    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        previous = self.path()
        self.generation += crash
        if crash:
            self.path().parent.mkdir(mode=0o700)
            for suffix in ("", "-wal"):  # not -shm: it lives in memory and is lost with the machine
                shutil.copyfile(f"{previous}{suffix}", f"{self.path()}{suffix}")
        self.run(self.store.close())
        self.store = self.run(self.reopen())
        for reader in self.readers:
            reader.watch.close()
        self.readers = [
            Reader(self.store.watch(**reader.scope, since=reader.since), reader.scope, reader.since)
            for reader in self.readers
            if reader.since >= self.compacted
        ]

    @invariant()
    def the_present_is_right(self) -> None:
        if not hasattr(self, "store"):
            return
        assert self.store.revision == self.revision
        assert self.store.compacted_revision == self.compacted
        expected: dict[str, int] = {}
        for key in self.now:
            expected[key.resource] = expected.get(key.resource, 0) + 1
        assert self.store.stats().objects == expected


class DurableStoreModel(StoreModel):
    has_log = True


LIMITS = settings(deadline=None, suppress_health_check=list(HealthCheck), stateful_step_count=40)


def test_memory_store_agrees_with_the_model() -> None:
    run_state_machine_as_test(StoreModel, settings=settings(LIMITS, max_examples=60))


def test_durable_store_agrees_with_the_model() -> None:
    run_state_machine_as_test(DurableStoreModel, settings=settings(LIMITS, max_examples=25))
