"""Seats and queues: turns among flows, limits, borrowing, time-outs, nothing lost on cancellation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator.aiokit.clock import SystemClock
from orchestrator.api.kinds.flowcontrol_defaults import default_flow_control
from orchestrator.api.objects import name_of
from orchestrator.api.resources import PRIORITY_LEVEL_CONFIGURATIONS
from orchestrator.apiserver.flowcontrol import levels
from orchestrator.apiserver.flowcontrol.levels import FlowCounts, Level, Limits, Pool, Rejected, deal, plan_limits


def level(*, seats: int = 1, queues: int = 64, hand_size: int = 2, queue_length: int = 2) -> Level:
    pool = Pool(SystemClock())
    pool.configure({"test": Limits(seats, queues=queues, hand_size=hand_size, queue_length=queue_length)})
    return pool.levels["test"]


COUNTS = FlowCounts()


async def queue(waiting: Level, flow: str, order: list[str]) -> asyncio.Task[None]:
    async def wait() -> None:
        await waiting.acquire(flow, COUNTS)
        order.append(flow)

    task = asyncio.create_task(wait(), name=flow)
    await asyncio.sleep(0)
    return task


async def test_flows_take_turns_however_much_one_asks() -> None:
    crowded = level(hand_size=1, queue_length=3)
    await crowded.acquire("flood", COUNTS)
    order: list[str] = []
    tasks = [await queue(crowded, flow, order) for flow in ("flood", "flood", "flood", "calm")]
    for _ in tasks:
        crowded.release(COUNTS)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == ["flood", "calm", "flood", "flood"]
    crowded.release(COUNTS)
    assert (crowded.executing, crowded.waiting) == (0, 0)


async def test_full_queues_refuse_their_flow_and_nobody_else() -> None:
    crowded, counts = level(queue_length=1), FlowCounts()
    await crowded.acquire("flood", counts)
    order: list[str] = []
    tasks = [await queue(crowded, "flood", order) for _ in range(2)]  # one in each queue of its hand
    with pytest.raises(Rejected) as refused:
        crowded.check("flood", counts)
    assert (refused.value.code, refused.value.retry_after_seconds) == (429, 1)
    with pytest.raises(Rejected):
        await crowded.acquire("flood", counts)
    tasks.append(await queue(crowded, "calm", order))
    assert counts.rejected == {"queue-full": 2}
    for _ in tasks:
        crowded.release(counts)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert sorted(order) == ["calm", "flood", "flood"]


async def test_a_level_without_queues_refuses_what_finds_no_seat() -> None:
    rejecting, counts = level(seats=1, queues=0), FlowCounts()
    assert rejecting.try_acquire(counts)
    with pytest.raises(Rejected):
        await rejecting.acquire("any", counts)
    assert counts.rejected == {"concurrency-limit": 1}
    rejecting.release(counts)
    assert rejecting.try_acquire(counts)


async def test_waiting_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "WAIT_SECONDS_MAX", 0.001)
    crowded, counts = level(), FlowCounts()
    await crowded.acquire("a", counts)
    with pytest.raises(Rejected):
        await crowded.acquire("b", counts)
    assert counts.rejected == {"time-out": 1}
    assert (crowded.waiting, counts.waiting) == (0, 0)


@pytest.mark.parametrize("when", ["waiting", "seated"])
async def test_a_cancelled_request_leaves_nothing_behind(when: str) -> None:
    crowded = level()
    await crowded.acquire("a", COUNTS)
    task = await queue(crowded, "b", [])
    if when == "seated":
        crowded.release(COUNTS)  # gives the seat to b, which has not run yet
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if when == "waiting":
        crowded.release(COUNTS)
    assert (crowded.executing, crowded.waiting) == (0, 0)


async def test_idle_seats_are_lent_as_far_as_both_allow() -> None:
    pool, counts = Pool(SystemClock()), FlowCounts()
    pool.configure({"busy": Limits(2, borrowable=3), "idle": Limits(4, lendable=2), "selfish": Limits(8)})
    busy, idle = pool.levels["busy"], pool.levels["idle"]
    assert [busy.try_acquire(counts) for _ in range(6)] == [True] * 4 + [False] * 2, "two of its own, two of idle's"
    assert [idle.try_acquire(counts) for _ in range(5)] == [True] * 4 + [False], "a lender has all of its own"
    for _ in range(4):
        idle.release(counts)
    pool.configure({"busy": Limits(2, borrowable=1), "idle": Limits(4, lendable=2)})
    busy.release(counts)
    assert not busy.try_acquire(counts)


async def test_a_seat_that_becomes_idle_goes_to_who_waits_at_another_level() -> None:
    pool, counts = Pool(SystemClock()), FlowCounts()
    busy_limits = Limits(0, borrowable=1, queues=1, queue_length=1)
    pool.configure({"busy": busy_limits, "idle": Limits(1, lendable=1)})
    busy, idle = pool.levels["busy"], pool.levels["idle"]
    assert idle.try_acquire(counts)
    order: list[str] = []
    task = await queue(busy, "b", order)
    assert order == []
    idle.release(counts)
    await task
    assert (busy.executing, idle.executing) == (1, 0)


async def test_more_seats_let_in_who_waits() -> None:
    pool, counts = Pool(SystemClock()), FlowCounts()
    pool.configure({"level": Limits(1, queues=1, queue_length=1)})
    pool.levels["level"].try_acquire(counts)
    task = await queue(pool.levels["level"], "b", [])
    pool.configure({"level": Limits(2, queues=1, queue_length=1)})
    await task


async def test_an_exempt_level_only_counts() -> None:
    pool, counts = Pool(SystemClock()), FlowCounts()
    pool.configure({"exempt": Limits(0, is_exempt=True)})
    assert all(pool.levels["exempt"].try_acquire(counts) for _ in range(1000))
    assert (counts.executing, counts.dispatched) == (1000, 1000)


def test_default_levels_share_the_seats_as_documented() -> None:
    objects = {name_of(obj): obj for one, obj in default_flow_control() if one is PRIORITY_LEVEL_CONFIGURATIONS}
    limits = plan_limits(objects)
    # ceil(600 seats * shares / 245 shares), and the lendable part of it, rounded.
    assert {name: (one.seats, one.lendable) for name, one in limits.items()} == {
        "exempt": (0, 0), "catch-all": (13, 0), "node-high": (98, 25), "system": (74, 24), "leader-election": (25, 0),
        "workload-high": (98, 49), "workload-low": (245, 221), "global-default": (49, 25),
    }  # fmt: skip
    assert limits["exempt"].is_exempt
    assert limits["catch-all"].queues == 0
    assert (limits["system"].queues, limits["system"].hand_size, limits["system"].queue_length) == (64, 6, 50)


@pytest.mark.parametrize(
    ("limited", "expected"),
    [
        ({"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}, Limits(600, borrowable=600)),
        ({"nominalConcurrencyShares": 0, "limitResponse": {"type": "Reject"}}, Limits(0, borrowable=600)),
        ({"nominalConcurrencyShares": 3, "borrowingLimitPercent": 50}, Limits(600, borrowable=300)),
        ({"nominalConcurrencyShares": 3, "borrowingLimitPercent": 0}, Limits(600)),
    ],
)
def test_limits_of_one_level(limited: dict[str, Any], expected: Limits) -> None:
    assert plan_limits({"one": {"spec": {"type": "Limited", "limited": limited}}}) == {"one": expected}


def test_hands_hold_different_queues_and_are_spread_evenly() -> None:
    hands = [deal(f"flow-{number}", 16, 4) for number in range(500)]
    assert all(len(set(hand)) == 4 and set(hand) <= set(range(16)) for hand in hands)
    assert deal("flow-1", 16, 4) == hands[1]
    dealt = [sum(queue in hand for hand in hands) for queue in range(16)]
    assert min(dealt) > 75, "125 are expected of each queue"
    assert max(dealt) < 180
    assert sorted(deal("any", 3, 3)) == [0, 1, 2]
