"""The queue: order, back-off, hints, gates, left-overs; on a clock that the test moves."""

from __future__ import annotations

import asyncio
from typing import Any

from orchestrator.api.resources import NODES
from orchestrator.scheduler.framework import Action, ClusterEvent
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.profile import default_profile
from orchestrator.scheduler.queue import EARLY_ATTEMPTS_MAX, STALE_ENTRIES_MAX, Place, QueuedPod, SchedulingQueue
from tests.unit.scheduler.builders import FakeClock, make_node, make_pod

PLUGINS = {plugin.name: plugin for plugin in default_profile().plugins}
BIG_NODE = ClusterEvent(NODES, Action.ADD, new=make_node("big", cpu="64"))
SMALL_NODE = ClusterEvent(NODES, Action.ADD, new=make_node("small", cpu="1m"))


def make_queue(clock: FakeClock | None = None) -> SchedulingQueue:
    return SchedulingQueue(clock=clock or FakeClock(), plugin_of=lambda profile, name: PLUGINS.get(name))


def pod(name: str = "p", priority: int = 0, **spec: Any) -> PodInfo:
    return PodInfo(make_pod(name, cpu="1", priority=priority, **spec))


def pop(queue: SchedulingQueue) -> QueuedPod:
    queued = queue.try_pop()
    assert queued is not None
    return queued


def test_the_most_important_comes_first_then_the_oldest() -> None:
    clock = FakeClock()
    queue = make_queue(clock)
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        queue.add(pod(name, priority))
        clock.advance(0.001)
    assert [pop(queue).pod.name for _ in range(4)] == ["b", "d", "a", "c"]
    assert queue.try_pop() is None


def test_backoff_doubles_to_ten_seconds() -> None:
    clock = FakeClock()
    queue = make_queue(clock)
    queue.add(pod())
    for seconds in (1, 2, 4, 8, 10, 10):
        queue.return_failed(pop(queue))
        clock.advance(seconds - 0.01)
        assert queue.try_pop() is None
        clock.advance(0.01)


def test_an_event_wakes_only_whom_it_may_help() -> None:
    clock = FakeClock()
    queue = make_queue(clock)
    for name in ("fit", "taint", "any"):
        queue.add(pod(name))
    for plugins in (["NodeResourcesFit"], ["TaintToleration"], []):
        queue.return_unschedulable(pop(queue), plugins)
    clock.advance(20)
    assert queue.on_event(SMALL_NODE) == 2
    assert {pop(queue).pod.name, pop(queue).pod.name} == {"taint", "any"}
    assert queue.on_event(BIG_NODE) == 1
    assert pop(queue).pod.name == "fit"


def refuse(queue: SchedulingQueue, queued: QueuedPod) -> None:
    queue.return_unschedulable(queued, ["NodeResourcesFit"])


def test_an_event_within_the_backoff_waits_for_its_end_behind_active_pods() -> None:
    clock = FakeClock()
    queue = make_queue(clock)
    queue.add(pod("refused", priority=5))
    refuse(queue, pop(queue))
    clock.advance(0.4)
    queue.add(pod("active"))
    assert queue.on_event(BIG_NODE) == 1
    assert queue.count(Place.BACKOFF) == 1
    assert pop(queue).pod.name == "active"
    clock.advance(0.6)
    queue.add(pod("other"))
    assert [pop(queue).pod.name for _ in range(2)] == ["refused", "other"]


def test_a_pod_that_backs_off_is_tried_early_when_nothing_is_active() -> None:
    clock = FakeClock()
    queue = make_queue(clock)
    for name, priority in (("low", 0), ("high", 5)):
        queue.add(pod(name, priority))
    for queued in (pop(queue), pop(queue)):
        refuse(queue, queued)
    assert queue.try_pop() is None
    assert queue.on_event(BIG_NODE) == 2
    assert [pop(queue).pod.name for _ in range(2)] == ["high", "low"]


def test_a_few_early_attempts_for_each_backoff() -> None:
    """With an event in every tenth of a second; back-offs of 1, 2, 4, 8 and then 10 seconds."""
    clock = FakeClock()
    queue = make_queue(clock)
    queue.add(pod())
    times = []
    for tenth in range(1000):
        queue.on_event(BIG_NODE)
        while (queued := queue.try_pop()) is not None:
            times.append(tenth / 10)
            refuse(queue, queued)
        clock.advance(0.1)
    early = EARLY_ATTEMPTS_MAX
    assert times[: early + 1] == [0.0, 0.1, 0.2, 0.3]
    late = [second for second in times if second >= 50]
    assert len(late) <= (1 + early) * (50 / 10 + 1)


def test_early_attempts_never_make_a_pod_wait_longer() -> None:
    clock = FakeClock()
    queue = make_queue(clock)
    queue.add(pod())
    for _ in range(1 + EARLY_ATTEMPTS_MAX):
        refuse(queue, pop(queue))
        clock.advance(0.1)
        queue.on_event(BIG_NODE)
    assert queue.try_pop() is None
    # The first back-off would have ended after a second.
    clock.advance(1 - 0.1 * (1 + EARLY_ATTEMPTS_MAX))
    assert pop(queue).attempts == 2 + EARLY_ATTEMPTS_MAX


def test_an_error_is_never_tried_again_early() -> None:
    clock = FakeClock()
    queue = make_queue(clock)
    queue.add(pod())
    queue.return_failed(pop(queue))
    queue.on_event(BIG_NODE)
    assert queue.try_pop() is None
    clock.advance(1)
    assert pop(queue).attempts == 2


def test_early_entries_of_pods_that_left_are_thrown_away() -> None:
    clock = FakeClock()
    queue = make_queue(clock)
    for number in range(2 * STALE_ENTRIES_MAX):
        queue.add(pod(f"p{number}"))
        refuse(queue, pop(queue))
        queue.add(pod("active"))
        queue.on_event(BIG_NODE)
        queue.delete(f"uid-default-p{number}")
        queue.delete("uid-default-active")
    assert len(queue._early) <= STALE_ENTRIES_MAX + 3


def test_left_overs_are_tried_again_after_five_minutes() -> None:
    clock = FakeClock()
    queue = make_queue(clock)
    for name in ("a", "b"):
        queue.add(pod(name))
        queue.return_unschedulable(pop(queue), ["NodeAffinity"])
        clock.advance(10)
    clock.advance(279)
    assert queue.try_pop() is None
    clock.advance(1)
    assert pop(queue).pod.name == "a"
    assert queue.try_pop() is None
    clock.advance(10)
    assert pop(queue).pod.name == "b"


def test_one_timer_serves_all() -> None:
    clock = FakeClock()
    queue = make_queue(clock)
    for number in range(50):
        queue.add(pod(f"p{number}"))
        queue.return_failed(pop(queue))
    assert clock.armed == 1
    queue.close()
    assert clock.armed == 0


def test_gated_pods_wait_aside() -> None:
    queue = make_queue()
    queue.add(pod(schedulingGates=[{"name": "example.com/foo"}]))
    assert queue.try_pop() is None
    assert queue.count(Place.GATED) == 1
    queue.add(pod())
    assert pop(queue).attempts == 1


def test_a_changed_spec_wakes_and_a_changed_status_does_not() -> None:
    clock = FakeClock()
    queue = make_queue(clock)
    queue.add(pod())
    queue.return_unschedulable(pop(queue), ["NodeAffinity"])
    clock.advance(5)
    queue.add(PodInfo(make_pod(cpu="1", status={"conditions": [{"type": "PodScheduled"}]})))
    assert queue.try_pop() is None
    queue.add(pod(nodeSelector={"a": "b"}))
    assert pop(queue).pod.spec["nodeSelector"] == {"a": "b"}


def test_a_deleted_pod_never_comes_back() -> None:
    clock = FakeClock()
    queue = make_queue(clock)
    queue.add(pod("waiting"))
    queue.delete("uid-default-waiting")
    assert queue.try_pop() is None
    queue.add(pod("flying"))
    flying = pop(queue)
    queue.delete("uid-default-flying")
    queue.return_failed(flying)
    queue.return_unschedulable(flying, [])
    clock.advance(1000)
    assert queue.try_pop() is None
    assert len(queue) == 0
    assert all(queue.count(place) == 0 for place in Place)


async def test_pop_waits_for_a_pod() -> None:
    queue = make_queue()
    waiting = asyncio.create_task(queue.pop())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.add(pod())
    first = await waiting
    assert first.pod.name == "p"
    # Also for one that may be tried early.
    refuse(queue, first)
    waiting = asyncio.create_task(queue.pop())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.on_event(BIG_NODE)
    assert (await waiting).attempts == 2
