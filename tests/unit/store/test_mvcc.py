from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from orchestrator.aiokit.clock import SystemClock
from orchestrator.store import (
    Compacted,
    EventType,
    FutureRevision,
    Key,
    KeyExists,
    KeyNotFound,
    MvccStore,
    ObjectTooLarge,
    RevisionConflict,
    StoreClosed,
    StoreCorrupt,
    StoreFailed,
    open_store,
)
from orchestrator.store.log import Row
from orchestrator.store.mvcc import DECODED_EVENTS_MAX, OBJECT_BYTES_MAX, SHARED_BYTES_MIN
from tests.unit.store.fakes import FakeLog, pod, pod_key


@pytest.fixture
async def store() -> AsyncIterator[MvccStore]:
    store = await open_store(None, clock=SystemClock())
    yield store
    await store.close()


@pytest.fixture
async def log() -> FakeLog:
    return FakeLog()


@pytest.fixture
async def logged(log: FakeLog) -> AsyncIterator[MvccStore]:
    store = MvccStore(clock=SystemClock(), log=log)
    await store.start()
    yield store
    log.gate.set()
    await store.close()


async def settle(*tasks: asyncio.Task[object]) -> None:
    """Let tasks run up to where they wait for the log."""
    for _ in range(10):
        await asyncio.sleep(0)


# ---- records and compare-and-swap


async def test_an_empty_store_is_at_revision_1_and_the_first_write_gets_2(store: MvccStore) -> None:
    assert store.revision == 1
    record = await store.create(pod_key("a"), pod("a"))
    assert (record.revision, record.create_revision, store.revision) == (2, 2, 2)


async def test_equal_specs_are_held_once_from_the_first_moment(store: MvccStore) -> None:
    one = await store.create(pod_key("a"), pod("a", spec={"containers": [{"name": "app"}]}))
    other = await store.create(pod_key("b"), pod("b", spec={"containers": [{"name": "app"}]}))
    assert other.obj["spec"] is one.obj["spec"]
    changed = {**other.obj, "spec": {**other.obj["spec"], "nodeName": "n"}}
    bound = await store.update(pod_key("b"), changed, expected_revision=other.revision)
    assert bound.obj["spec"]["containers"] is one.obj["spec"]["containers"]
    assert "nodeName" not in one.obj["spec"]


async def test_the_revision_is_stamped_into_a_copy(store: MvccStore) -> None:
    given = pod("a", spec={"nodeName": "n"})
    record = await store.create(pod_key("a"), given)
    assert record.obj == {"kind": "Pod", "metadata": {"name": "a", "resourceVersion": "2"}, "spec": {"nodeName": "n"}}
    assert orjson.loads(record.raw) == record.obj
    assert given == pod("a", spec={"nodeName": "n"})
    assert record.obj["spec"] is given["spec"]  # copied no deeper than needed


async def test_an_update_keeps_the_create_revision(store: MvccStore) -> None:
    created = await store.create(pod_key("a"), pod("a"))
    updated = await store.update(pod_key("a"), pod("a", x=1), expected_revision=created.revision)
    assert (updated.revision, updated.create_revision) == (3, 2)
    assert await store.get(pod_key("a")) is updated


async def test_a_delete_returns_the_last_state_with_the_revision_of_the_deletion(store: MvccStore) -> None:
    await store.create(pod_key("a"), pod("a", x=1))
    deleted = await store.delete(pod_key("a"))
    assert (deleted.revision, deleted.create_revision) == (3, 2)
    assert deleted.obj == {"kind": "Pod", "metadata": {"name": "a", "resourceVersion": "3"}, "x": 1}
    assert await store.get(pod_key("a")) is None


async def test_refused_writes_change_nothing(store: MvccStore) -> None:
    first = await store.create(pod_key("a"), pod("a"))
    current = await store.update(pod_key("a"), pod("a"), expected_revision=first.revision)
    with pytest.raises(KeyExists):
        await store.create(pod_key("a"), pod("a"))
    with pytest.raises(KeyNotFound):
        await store.update(pod_key("b"), pod("b"), expected_revision=1)
    with pytest.raises(KeyNotFound):
        await store.delete(pod_key("b"))
    for write in (
        store.update(pod_key("a"), pod("a"), expected_revision=first.revision),
        store.delete(pod_key("a"), expected_revision=first.revision),
    ):
        with pytest.raises(RevisionConflict) as conflict:
            await write
        assert conflict.value.current is current
    with pytest.raises(TypeError):
        await store.create(pod_key("c"), pod("c", x={1, 2}))
    assert store.revision == 3
    assert store.stats().objects == {"pods": 1}


async def test_a_key_can_be_created_again(store: MvccStore) -> None:
    await store.create(pod_key("a"), pod("a"))
    await store.delete(pod_key("a"))
    again = await store.create(pod_key("a"), pod("a"))
    assert (again.revision, again.create_revision) == (4, 4)


# ---- lists


async def fill(store: MvccStore) -> None:
    for namespace, name in (("b", "1"), ("a", "2"), ("a", "1"), ("a0", "1"), ("c", "1"), ("a", "3")):
        await store.create(Key("pods", namespace, name), pod(name))
    await store.create(Key("nodes", "", "n1"), pod("n1"))


ALL_PODS = ["a/1", "a/2", "a/3", "a0/1", "b/1", "c/1"]


@pytest.mark.parametrize(
    ("namespace", "limit", "after", "names", "continue_name", "remaining"),
    [
        (None, 0, None, ALL_PODS, None, 0),
        ("a", 0, None, ["a/1", "a/2", "a/3"], None, 0),
        ("a0", 0, None, ["a0/1"], None, 0),
        ("nowhere", 0, None, [], None, 0),
        ("", 0, None, [], None, 0),
        (None, 2, None, ["a/1", "a/2"], ("a", "2"), 4),
        (None, 2, ("a", "2"), ["a/3", "a0/1"], ("a0", "1"), 2),
        (None, 2, ("a0", "1"), ["b/1", "c/1"], None, 0),
        (None, 6, None, ALL_PODS, None, 0),
        (None, 2, ("a", "2x"), ["a/3", "a0/1"], ("a0", "1"), 2),
        ("a", 1, ("a", "1"), ["a/2"], ("a", "2"), 1),
        ("a", 5, ("a", "3"), [], None, 0),
        ("a", 5, ("b", "1"), [], None, 0),
        ("b", 5, ("a", "1"), ["b/1"], None, 0),
    ],
)
@pytest.mark.parametrize("then", [False, True], ids=["now", "at an older revision"])
async def test_list(
    store: MvccStore,
    namespace: str | None,
    limit: int,
    after: tuple[str, str] | None,
    names: list[str],
    continue_name: tuple[str, str] | None,
    remaining: int,
    then: bool,
) -> None:
    await fill(store)
    revision = store.revision
    if then:  # changes of every kind that the list must undo
        for name in ("0", "00", "11", "12", "21"):  # more than a page of what was not there yet
            await store.create(Key("pods", "a", name), pod(name))
        await store.delete(Key("pods", "a", "2"))
        await store.create(Key("pods", "b", "0"), pod("0"))
        await store.delete(Key("pods", "b", "0"))
        await store.delete(Key("pods", "c", "1"))
        await store.create(Key("pods", "c", "1"), pod("1", again=True))
    page = await store.list("pods", namespace, revision=revision if then else None, limit=limit, after=after)
    assert [f"{record.key.namespace}/{record.key.name}" for record in page.records] == names
    assert (page.revision, page.continue_name, page.remaining) == (revision, continue_name, remaining)
    assert all(record.revision <= revision for record in page.records)


async def test_cluster_scoped_objects_have_an_empty_namespace(store: MvccStore) -> None:
    await fill(store)
    for namespace in (None, ""):
        page = await store.list("nodes", namespace)
        assert [record.key for record in page.records] == [Key("nodes", "", "n1")]


async def test_get_at_an_older_revision(store: MvccStore) -> None:
    first = await store.create(pod_key("a"), pod("a"))
    second = await store.update(pod_key("a"), pod("a"), expected_revision=2)
    await store.delete(pod_key("a"))
    states = [await store.get(pod_key("a"), revision=revision) for revision in (1, 2, 3, 4)]
    assert states == [None, first, second, None]


async def test_revisions_outside_the_history_are_refused(store: MvccStore) -> None:
    for name in "abcd":
        await store.create(pod_key(name), pod(name))
    await store.compact(3)
    assert store.compacted_revision == 3
    assert len((await store.list("pods", revision=3)).records) == 2
    for revision, error in ((2, Compacted), (6, FutureRevision)):
        with pytest.raises(error):
            await store.get(pod_key("a"), revision=revision)
        with pytest.raises(error):
            await store.list("pods", revision=revision)
        with pytest.raises(error):
            store.watch("pods", since=revision)
    with pytest.raises(FutureRevision):
        await store.compact(6)
    await store.compact(2)
    assert store.compacted_revision == 3


@pytest.mark.parametrize(("events", "size"), [(8, 10**6), (10**6, 8 * 61)], ids=["events", "bytes"])
async def test_the_history_is_bounded(events: int, size: int) -> None:
    store = MvccStore(clock=SystemClock(), history_limit=events, history_bytes_max=size)
    for number in range(100):
        await store.create(pod_key(f"{number:03}"), pod(f"{number:03}"))
        assert store.stats().history_events <= 10
    assert store.stats().history_events >= 5
    assert store.compacted_revision == store.revision - store.stats().history_events
    assert store.stats().history_bytes == sum(
        len(event.record.raw) for event in await store.watch("pods", since=store.compacted_revision).next_batch()
    )


async def test_small_objects_are_not_searched_for_what_they_have_in_common() -> None:
    store = MvccStore(clock=SystemClock())

    async def settled(name: str, text: str) -> object:
        record = await store.create(pod_key(name), pod(name, spec={"text": text}))
        record = await store.update(pod_key(name), pod(name, spec={"text": text}), expected_revision=record.revision)
        return record.obj["spec"]

    large, small = "x" * SHARED_BYTES_MIN, "x"
    assert await settled("a", large) is await settled("b", large)
    assert await settled("c", small) is not await settled("d", small)


def long_pod(number: int) -> dict[str, object]:
    """Long enough to be packed, and not quite like the others."""
    containers = [{"name": f"c{one}", "image": "registry.example/app:1"} for one in range(50)]
    return {**pod(f"p{number:03}"), "spec": {"containers": containers, "node": f"n{number}"}}


async def test_states_that_outlive_the_history_are_packed_and_read_the_same() -> None:
    store = MvccStore(clock=SystemClock(), history_limit=8)
    written = [(await store.create(pod_key(f"p{number:03}"), long_pod(number))) for number in range(40)]
    bytes_of = {record.key: orjson.dumps(record.obj) for record in written}
    for number in range(60):
        await store.create(pod_key(f"later-{number}"), pod("later"))

    packed = [record for record in written if record.is_packed]
    assert len(packed) > 30
    assert {record.key: record.raw for record in written} == bytes_of
    page = await store.list("pods", limit=200)
    assert {record.key: record.raw for record in page.records if record.key in bytes_of} == bytes_of

    key = packed[0].key
    updated = await store.update(key, long_pod(0), expected_revision=packed[0].revision)
    deleted = await store.delete(packed[1].key)
    assert not updated.is_packed
    assert orjson.loads(deleted.raw)["spec"] == long_pod(packed[1].revision - 2)["spec"]
    assert await store.get(key, revision=updated.revision - 1) is packed[0]


async def test_states_that_were_replaced_are_never_packed() -> None:
    store = MvccStore(clock=SystemClock(), history_limit=8)
    record = await store.create(pod_key("p000"), long_pod(0))
    states = [record]
    for _ in range(100):
        record = await store.update(record.key, long_pod(0), expected_revision=record.revision)
        states.append(record)

    assert not any(state.is_packed for state in states)


async def test_old_states_keep_only_their_bytes() -> None:
    store = MvccStore(clock=SystemClock())
    record = first = await store.create(pod_key("a"), pod("a", x=1))
    decoded = first.obj
    for _ in range(DECODED_EVENTS_MAX + 1):
        record = await store.update(pod_key("a"), pod("a"), expected_revision=record.revision)
    assert first.obj == decoded
    assert first.obj is not decoded
    assert record.obj is record.obj


# ---- the log: groups, failures, cancellation


async def test_what_waits_becomes_one_group(logged: MvccStore, log: FakeLog) -> None:
    await asyncio.gather(*(logged.create(pod_key(f"p{number}"), pod(f"p{number}")) for number in range(200)))
    assert sum(map(len, log.groups)) == 200
    assert len(log.groups) <= 2
    assert [row.revision for group in log.groups for row in group] == list(range(2, 202))
    assert logged.stats().groups == len(log.groups)


async def test_groups_are_bounded(log: FakeLog) -> None:
    store = MvccStore(clock=SystemClock(), log=log, group_writes_max=16)
    await store.start()
    await asyncio.gather(*(store.create(pod_key(f"p{number}"), pod(f"p{number}")) for number in range(100)))
    assert max(map(len, log.groups)) == 16
    await store.close()


async def test_nothing_is_visible_before_its_commit(logged: MvccStore, log: FakeLog) -> None:
    watch = logged.watch("pods", since=1)
    log.gate.clear()
    write = asyncio.create_task(logged.create(pod_key("a"), pod("a")))
    await log.started.wait()
    assert await logged.get(pod_key("a")) is None
    assert (logged.revision, watch.revision) == (1, 1)
    assert await watch.next_batch(timeout=0) == []
    assert not write.done()
    log.gate.set()
    record = await write
    assert logged.revision == record.revision == 2
    assert [event.record for event in await watch.next_batch()] == [record]


async def test_writers_of_one_key_follow_each_other(logged: MvccStore, log: FakeLog) -> None:
    await logged.create(pod_key("a"), pod("a"))
    results = await asyncio.gather(
        *(logged.update(pod_key("a"), pod("a", by=number), expected_revision=2) for number in range(20)),
        return_exceptions=True,
    )
    assert [type(result) for result in results[1:]] == [RevisionConflict] * 19
    record = await logged.get(pod_key("a"))
    assert record is results[0]
    assert record is not None
    assert record.obj["by"] == 0
    assert logged.revision == 3


async def test_a_failed_group_fails_its_writers_only_and_the_store_recovers(logged: MvccStore, log: FakeLog) -> None:
    watch = logged.watch("pods", since=1)
    before = await logged.create(pod_key("before"), pod("before"))
    log.failure = OSError("database or disk is full")
    log.gate.clear()
    failing = [
        asyncio.create_task(logged.create(pod_key("a"), pod("a"))),
        asyncio.create_task(logged.delete(pod_key("before"))),
    ]
    await settle()
    later = asyncio.create_task(logged.update(pod_key("before"), pod("before"), expected_revision=before.revision))
    await settle()
    log.gate.set()
    for write in failing:
        with pytest.raises(StoreFailed, match="disk is full"):
            await write
    log.failure = None
    updated = await later  # it waited for the failed delete, which never happened
    assert await logged.get(pod_key("a")) is None
    created = await logged.create(pod_key("a"), pod("a"))
    assert updated.revision < created.revision == logged.revision
    assert [event.record.key.name for event in await watch.next_batch()] == ["before", "before", "a"]
    assert logged.stats().failed_writes == 2
    assert logged.stats().waiting_writes == 0


async def test_a_cancelled_writer_does_not_stop_its_commit(logged: MvccStore, log: FakeLog) -> None:
    log.gate.clear()
    write = asyncio.create_task(logged.create(pod_key("a"), pod("a")))
    await log.started.wait()
    second = asyncio.create_task(logged.create(pod_key("a"), pod("a")))
    third = asyncio.create_task(logged.delete(pod_key("a")))
    await settle()
    write.cancel()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    log.gate.set()
    assert (await third).revision == 3
    assert [row.revision for group in log.groups for row in group] == [2, 3]
    assert logged.stats().waiting_writes == 0


async def test_more_writers_than_slots_wait_in_order(log: FakeLog) -> None:
    store = MvccStore(clock=SystemClock(), log=log, waiting_writes_max=4)
    await store.start()
    log.gate.clear()
    writes = [asyncio.create_task(store.create(pod_key(f"p{number:02}"), pod("p"))) for number in range(20)]
    await settle()
    assert store.stats().waiting_writes == 4
    writes[10].cancel()
    log.gate.set()
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert isinstance(results[10], asyncio.CancelledError)
    names = [row.name for group in log.groups for row in group]
    assert names == [f"p{number:02}" for number in range(20) if number != 10]
    await store.close()


async def test_close_commits_what_was_submitted_and_refuses_the_rest(log: FakeLog) -> None:
    store = MvccStore(clock=SystemClock(), log=log)
    await store.start()
    log.gate.clear()
    submitted = asyncio.create_task(store.create(pod_key("a"), pod("a")))
    waiting = asyncio.create_task(store.delete(pod_key("a")))
    await log.started.wait()
    closing = asyncio.create_task(store.close())
    await settle()
    log.gate.set()
    assert (await submitted).revision == 2
    await closing
    assert log.closed
    for attempt in (waiting, store.create(pod_key("b"), pod("b")), store.get(pod_key("a")), store.list("pods")):
        with pytest.raises(StoreClosed):
            await attempt
    await store.close()


async def test_a_writer_that_breaks_leaves_nobody_waiting(logged: MvccStore, log: FakeLog) -> None:
    log.gate.clear()
    write = asyncio.create_task(logged.create(pod_key("a"), pod("a")))
    await log.started.wait()
    commits = logged._commits
    assert commits is not None
    assert commits._writer is not None
    commits._writer.cancel()
    with pytest.raises(StoreClosed):
        await write
    with pytest.raises(StoreFailed, match="has ended"):
        await logged.create(pod_key("b"), pod("b"))
    commits._writer = None  # its cancellation is not an error of this test's clean-up


async def test_automatic_compaction_reaches_the_log_in_steps(log: FakeLog) -> None:
    store = MvccStore(clock=SystemClock(), log=log, history_limit=1000)
    await store.start()
    for round_ in range(13):
        await asyncio.gather(*(store.create(pod_key(f"{round_}-{n}"), pod("p")) for n in range(100)))
    assert store.compacted_revision == store.revision - store.stats().history_events > 1
    await store.compact(store.compacted_revision + 700)
    steps = [later - earlier for earlier, later in zip([0, *log.compactions], log.compactions, strict=False)]
    assert max(steps) <= 512
    assert log.compactions[-1] == store.compacted_revision
    await store.close()


async def test_a_failed_compaction_is_reported_and_can_be_repeated(logged: MvccStore, log: FakeLog) -> None:
    await logged.create(pod_key("a"), pod("a"))
    log.failure = OSError("disk is full")
    with pytest.raises(StoreFailed, match="disk is full"):
        await logged.compact(2)
    log.failure = None
    await logged.compact(2)
    assert log.compactions == [2]


async def test_a_key_created_again_follows_its_tombstone_until_that_is_compacted(
    logged: MvccStore, log: FakeLog
) -> None:
    await logged.create(pod_key("a"), pod("a"))
    await logged.delete(pod_key("a"))
    await logged.create(pod_key("a"), pod("a"))
    await logged.delete(pod_key("a"))
    await logged.compact(5)
    await logged.create(pod_key("a"), pod("a"))
    rows = [row for group in log.groups for row in group]
    assert [(row.revision, row.previous_revision) for row in rows] == [(2, 0), (3, 2), (4, 3), (5, 4), (6, 0)]


@pytest.mark.parametrize(
    "rows",
    [
        [Row(2, "pods", "d", "a", 0, 2, 0, b"{}"), Row(3, "pods", "d", "a", 0, 2, 0, b"{}")],
        [Row(3, "pods", "d", "a", 2, 2, 0, b"{}")],
        [Row(2, "pods", "d", "a", 0, 2, 1, b"{}")],
    ],
    ids=["two successors", "a row is missing", "deletes nothing"],
)
async def test_a_log_with_holes_is_refused(log: FakeLog, rows: list[Row]) -> None:
    log.groups = [rows]
    with pytest.raises(StoreCorrupt, match="damaged"):
        await MvccStore(clock=SystemClock(), log=log).start()


async def test_replay_decodes_nothing_and_keeps_history(log: FakeLog) -> None:
    log.groups = [
        [Row(2, "pods", "d", "a", 0, 2, 0, b"not JSON"), Row(3, "pods", "d", "a", 2, 2, 0, b"not JSON either")],
        [Row(4, "pods", "d", "b", 0, 4, 0, b"{}"), Row(5, "pods", "d", "b", 4, 4, 1, b"{}")],
    ]
    store = MvccStore(clock=SystemClock(), log=log)
    await store.start()
    assert store.revision == 5
    assert [record.raw for record in (await store.list("pods")).records] == [b"not JSON either"]
    events = await store.watch("pods", since=2).next_batch()
    assert [event.type for event in events] == [EventType.MODIFIED, EventType.ADDED, EventType.DELETED]
    assert events[0].previous is not None
    assert events[0].previous.raw == b"not JSON"
    await store.close()


async def test_an_object_that_is_too_large_changes_nothing() -> None:
    store = MvccStore(clock=SystemClock())
    key = Key("configmaps", "default", "large")
    with pytest.raises(ObjectTooLarge) as refused:
        await store.create(key, {"metadata": {"name": "large"}, "data": {"pad": "x" * OBJECT_BYTES_MAX}})
    assert refused.value.size > refused.value.limit == OBJECT_BYTES_MAX
    assert await store.get(key) is None
    small = await store.create(key, {"metadata": {"name": "large"}})
    with pytest.raises(ObjectTooLarge):
        await store.update(
            key, {"metadata": {}, "data": {"pad": "x" * OBJECT_BYTES_MAX}}, expected_revision=small.revision
        )
    assert await store.get(key) is small
