from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.aiokit.clock import SystemClock
from orchestrator.store import Compacted, Event, EventType, Key, MvccStore, StoreClosed
from tests.unit.store.fakes import POD_FIELDS, pod, pod_key


@pytest.fixture
async def store() -> AsyncIterator[MvccStore]:
    store = MvccStore(clock=SystemClock(), indexed_fields=POD_FIELDS)
    yield store
    await store.close()


def on(node: str) -> dict[str, Any]:
    return pod("p", spec={"nodeName": node})


def told(events: list[Event]) -> list[tuple[str, str]]:
    return [(str(event.type), event.record.key.name) for event in events]


async def test_events_carry_state_and_previous_state(store: MvccStore) -> None:
    watch = store.watch("pods", since=1)
    first = await store.create(pod_key("a"), pod("a"))
    second = await store.update(pod_key("a"), pod("a"), expected_revision=2)
    deleted = await store.delete(pod_key("a"))
    events = await watch.next_batch()
    assert [event.type for event in events] == [EventType.ADDED, EventType.MODIFIED, EventType.DELETED]
    assert [event.record for event in events] == [first, second, deleted]
    assert [event.previous for event in events] == [None, first, second]
    assert [event.revision for event in events] == [2, 3, 4]


async def test_all_watchers_share_the_event_and_its_frames(store: MvccStore) -> None:
    watches = [store.watch("pods", since=1), store.watch("pods", "default", since=1)]
    await store.create(pod_key("a"), pod("a"))
    one, other = [(await watch.next_batch())[0] for watch in watches]
    assert one is other
    one.frames["json"] = b"frame"
    assert other.frames == {"json": b"frame"}


@pytest.mark.parametrize("resumed", [False, True], ids=["live", "from history"])
@pytest.mark.parametrize(
    ("scope", "names"),
    [
        ({}, ["a", "b", "a", "c"]),
        ({"namespace": "x"}, ["a", "b", "c"]),
        ({"namespace": "y"}, ["a"]),
        ({"namespace": ""}, []),
        ({"namespace": "x", "name": "a"}, ["a"]),
        ({"name": "a"}, ["a", "a"]),
        ({"index": ("spec.nodeName", "n1")}, ["a", "a", "c"]),
        ({"index": ("spec.nodeName", "n1"), "namespace": "x"}, ["a", "c"]),
        ({"index": ("spec.nodeName", "n1"), "namespace": "x", "name": "c"}, ["c"]),
        ({"index": ("spec.nodeName", "n2"), "name": "a"}, []),
        ({"index": ("spec.nodeName", "")}, ["b"]),
    ],
)
async def test_scope(store: MvccStore, scope: dict[str, Any], names: list[str], resumed: bool) -> None:
    watch = None if resumed else store.watch("pods", **scope, since=1)
    await store.create(Key("pods", "x", "a"), on("n1"))
    await store.create(Key("pods", "x", "b"), pod("b"))
    await store.create(Key("nodes", "", "a"), pod("a"))
    await store.create(Key("pods", "y", "a"), on("n1"))
    await store.create(Key("pods", "x", "c"), on("n1"))
    if watch is None:
        watch = store.watch("pods", **scope, since=1)
    assert [event.record.key.name for event in await watch.next_batch(timeout=0)] == names
    assert watch.revision == 6


async def test_an_index_watcher_sees_objects_come_and_go(store: MvccStore) -> None:
    """A kubelet must hear when a pod is bound to its node, and also when it leaves."""
    one = store.watch("pods", index=("spec.nodeName", "n1"), since=1)
    two = store.watch("pods", index=("spec.nodeName", "n2"), since=1)
    record = await store.create(pod_key("a"), pod("a"))
    for node in ("n1", "n1", "n2"):
        record = await store.update(pod_key("a"), on(node), expected_revision=record.revision)
    await store.delete(pod_key("a"))
    assert [event.revision for event in await one.next_batch()] == [3, 4, 5]
    assert [event.revision for event in await two.next_batch()] == [5, 6]


async def test_an_event_touches_only_interested_watchers(store: MvccStore) -> None:
    for number in range(1000):
        store.watch("pods", index=("spec.nodeName", f"n{number}"), since=1)
        store.watch("pods", f"namespace-{number}", since=1)
        store.watch("pods", "default", f"name-{number}", since=1)
        store.watch(f"resource-{number}", since=1)
    interested = [store.watch("pods", since=1), store.watch("pods", "default", since=1)]
    await store.create(pod_key("name-7"), on("n3"))
    assert store.stats().deliveries == len(interested) + 2
    assert store.stats().watchers == 4002


async def test_a_field_that_is_not_indexed_is_refused(store: MvccStore) -> None:
    for resource, field in (("pods", "status.phase"), ("nodes", "spec.nodeName")):
        with pytest.raises(ValueError, match=field):
            store.watch(resource, index=(field, "x"), since=1)
    assert store.stats().watchers == 0


async def test_a_field_reader_that_raises_refuses_the_write(store: MvccStore) -> None:
    with pytest.raises(AttributeError):
        await store.create(pod_key("a"), pod("a", spec=[]))
    assert store.revision == 1
    assert await store.get(pod_key("a")) is None


async def test_watch_resumes_after_any_revision(store: MvccStore) -> None:
    for name in "abc":
        await store.create(pod_key(name), pod(name))
    for since, names in ((1, "abc"), (2, "bc"), (3, "c")):
        assert "".join(name for _, name in told(await store.watch("pods", since=since).next_batch())) == names
    watch = store.watch("pods", since=4)
    assert await watch.next_batch(timeout=0) == []
    await store.create(pod_key("d"), pod("d"))
    assert told(await watch.next_batch()) == [("ADDED", "d")]


async def test_history_and_live_events_are_in_order_without_gap(store: MvccStore) -> None:
    await store.create(pod_key("a"), pod("a"))
    watch = store.watch("pods", since=1, capacity=1)
    await store.create(pod_key("b"), pod("b"))
    assert watch.revision == 1
    assert told(await watch.next_batch()) == [("ADDED", "a")]
    assert watch.revision == 2
    assert told(await watch.next_batch()) == [("ADDED", "b")]
    assert watch.revision == 3


async def test_the_revision_of_a_watch_progresses_without_events(store: MvccStore) -> None:
    watch = store.watch("nodes", since=1)
    for name in "abc":
        await store.create(pod_key(name), pod(name))
    assert watch.revision == 4
    await store.create(Key("nodes", "", "n"), pod("n"))
    await store.create(pod_key("d"), pod("d"))
    assert watch.revision == 4  # the event of revision 5 was not handed out yet
    await watch.next_batch()
    assert watch.revision == 6


async def test_a_waiting_reader_is_woken_once_for_a_batch(store: MvccStore) -> None:
    watch = store.watch("pods", since=1)
    reader = asyncio.create_task(watch.next_batch())
    await asyncio.sleep(0)
    for name in "abc":
        await store.create(pod_key(name), pod(name))
    assert told(await reader) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]


async def test_a_cancelled_reader_loses_nothing(store: MvccStore) -> None:
    watch = store.watch("pods", since=1)
    reader = asyncio.create_task(watch.next_batch())
    await asyncio.sleep(0)
    await store.create(pod_key("a"), pod("a"))
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert told(await watch.next_batch()) == [("ADDED", "a")]


async def test_time_out_gives_an_empty_batch(store: MvccStore) -> None:
    watch = store.watch("pods", since=1)
    assert await watch.next_batch(timeout=0.001) == []
    await store.create(pod_key("a"), pod("a"))
    assert told(await watch.next_batch(timeout=60)) == [("ADDED", "a")]


async def test_a_second_reader_is_a_mistake(store: MvccStore) -> None:
    watch = store.watch("pods", since=1)
    reader = asyncio.create_task(watch.next_batch())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await watch.next_batch()
    watch.close()
    with pytest.raises(StoreClosed):
        await reader


async def test_a_slow_watcher_is_closed_and_nobody_else(store: MvccStore) -> None:
    slow = store.watch("pods", since=1, capacity=3)
    quick = store.watch("pods", since=1, capacity=3)
    for number in range(5):
        await store.create(pod_key(f"p{number}"), pod("p"))
        assert len(await quick.next_batch()) == 1
    assert store.stats().watchers == 1
    assert store.stats().slow_watchers == 1
    assert slow.revision == 1
    with pytest.raises(Compacted, match="slow watcher"):
        await slow.next_batch()
    slow.close()
    assert store.stats().watchers == 1


async def test_close_ends_a_watch(store: MvccStore) -> None:
    watch = store.watch("pods", since=1)
    reader = asyncio.create_task(watch.next_batch())
    await asyncio.sleep(0)
    watch.close()
    watch.close()
    with pytest.raises(StoreClosed):
        await reader
    await store.create(pod_key("a"), pod("a"))
    assert (store.stats().watchers, store.stats().deliveries, watch.revision) == (0, 0, 1)


async def test_the_end_of_the_store_ends_its_watches_after_what_is_queued(store: MvccStore) -> None:
    watch, idle = store.watch("pods", since=1), store.watch("nodes", since=1)
    reader = asyncio.create_task(idle.next_batch())
    await store.create(pod_key("a"), pod("a"))
    await store.close()
    with pytest.raises(StoreClosed):
        await reader
    assert told(await watch.next_batch()) == [("ADDED", "a")]
    with pytest.raises(StoreClosed):
        await watch.next_batch()
    with pytest.raises(StoreClosed):
        store.watch("pods", since=1)
