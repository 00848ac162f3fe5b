"""Seats and queues: turns among users, limits, time-outs, nothing lost on cancellation."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.aiokit.clock import SystemClock
from orchestrator.apiserver import fairness
from orchestrator.apiserver.fairness import Level, LevelLimits, Rejected, level_of
from orchestrator.apiserver.user import ANONYMOUS, User


def level(*, seats: int = 1, queue_per_user: int = 2, queued: int = 10) -> Level:
    return Level(LevelLimits("test", seats, queue_per_user, queued), SystemClock())


async def queue(waiting: Level, user: str, order: list[str]) -> asyncio.Task[None]:
    async def wait() -> None:
        await waiting.acquire(user)
        order.append(user)

    task = asyncio.create_task(wait(), name=user)
    await asyncio.sleep(0)
    return task


async def test_users_take_turns_however_much_one_asks() -> None:
    crowded = level(queue_per_user=3)
    await crowded.acquire("flood")
    order: list[str] = []
    tasks = [await queue(crowded, user, order) for user in ("flood", "flood", "flood", "calm")]
    for _ in tasks:
        crowded.release()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == ["flood", "calm", "flood", "flood"]
    crowded.release()
    assert (crowded.executing, crowded.waiting) == (0, 0)


async def test_a_full_queue_refuses_its_user_and_nobody_else() -> None:
    crowded = level(queue_per_user=1)
    await crowded.acquire("flood")
    order: list[str] = []
    tasks = [await queue(crowded, "flood", order)]
    assert crowded.is_full_for("flood")
    with pytest.raises(Rejected) as refused:
        await crowded.acquire("flood")
    assert (refused.value.code, refused.value.retry_after_seconds) == (429, 1)
    assert not crowded.is_full_for("calm")
    tasks.append(await queue(crowded, "calm", order))
    assert crowded.rejected == {"queue-full": 1}
    for task in tasks:
        crowded.release()
        await task
    assert order == ["flood", "calm"]


async def test_waiting_ends_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "WAIT_SECONDS_MAX", 0.001)
    crowded = level()
    await crowded.acquire("a")
    with pytest.raises(Rejected):
        await crowded.acquire("b")
    assert crowded.rejected == {"time-out": 1}
    assert crowded.waiting == 0


@pytest.mark.parametrize("when", ["waiting", "seated"])
async def test_a_cancelled_request_leaves_nothing_behind(when: str) -> None:
    crowded = level()
    await crowded.acquire("a")
    task = await queue(crowded, "b", [])
    if when == "seated":
        crowded.release()  # gives the seat to b, which has not run yet
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if when == "waiting":
        crowded.release()
    assert (crowded.executing, crowded.waiting) == (0, 0)


@pytest.mark.parametrize(
    ("user", "name"),
    [
        (User("kubernetes-admin", groups=("system:masters",)), "exempt"),
        (User("system:node:n", groups=("system:nodes", "system:authenticated")), "system"),
        (User("x", groups=("system:serviceaccounts", "system:serviceaccounts:kube-system")), "workload-high"),
        (User("x", groups=("system:serviceaccounts", "system:serviceaccounts:web")), "workload-low"),
        (User("bob", groups=("system:authenticated",)), "global-default"),
        (ANONYMOUS, "catch-all"),
    ],
)
def test_levels_of_users(user: User, name: str) -> None:
    assert level_of(user).name == name
