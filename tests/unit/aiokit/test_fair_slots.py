"""Slots that keys take in turns."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aiokit.fair_slots import FairSlots


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Crowd:
    """Who waits for slots, and who got one."""

    def __init__(self, slots: FairSlots) -> None:
        self.slots = slots
        self.inside: list[str] = []
        self.order: list[str] = []
        self.doors: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def come(self, name: str) -> None:
        """The first letter of a name is its key."""
        self.doors[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._be(name))

    async def _be(self, name: str) -> None:
        async with self.slots.take(name[0]):
            self.inside.append(name)
            self.order.append(name)
            try:
                await self.doors[name].wait()
            finally:
                self.inside.remove(name)

    async def go(self, name: str) -> None:
        self.doors[name].set()
        await settle()


async def test_a_crowd_of_one_key_does_not_delay_another() -> None:
    crowd = Crowd(FairSlots(2))
    for name in ("a1", "a2", "a3", "a4", "a5", "b1", "b2", "c1"):
        crowd.come(name)
    await settle()
    assert crowd.inside == ["a1", "a2"]
    while crowd.inside:
        await crowd.go(crowd.inside[0])
    assert crowd.order == ["a1", "a2", "a3", "b1", "c1", "a4", "b2", "a5"]


async def test_who_gave_up_takes_no_slot() -> None:
    crowd = Crowd(FairSlots(1))
    for name in ("a1", "a2", "b1", "b2"):
        crowd.come(name)
    await settle()
    crowd.tasks["a2"].cancel()
    crowd.tasks["b1"].cancel()
    await settle()
    await crowd.go("a1")
    assert crowd.inside == ["b2"]
    await crowd.go("b2")
    assert crowd.inside == []


async def test_a_slot_that_is_given_to_one_who_gives_up_in_the_same_moment_goes_on() -> None:
    crowd = Crowd(FairSlots(1))
    for name in ("a1", "b1", "c1"):
        crowd.come(name)
    await settle()
    crowd.doors["a1"].set()
    for _ in range(5):
        await asyncio.sleep(0)
        if not crowd.inside:
            break
    crowd.tasks["b1"].cancel()
    await settle()
    assert crowd.order[-1] == "c1"


@given(st.integers(1, 3), st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["come", "go", "cancel"]))))
def test_never_more_inside_than_slots_and_nobody_is_forgotten(count: int, steps: list[tuple[str, str]]) -> None:
    async def run() -> None:
        crowd = Crowd(FairSlots(count))
        for number, (key, step) in enumerate(steps):
            if step == "come":
                crowd.come(f"{key}{number}")
            elif step == "go" and crowd.inside:
                crowd.doors[crowd.inside[0]].set()
            elif step == "cancel" and (mine := [name for name in crowd.tasks if name[0] == key]):
                crowd.tasks[mine[-1]].cancel()
            if number % 3:
                await settle()
            assert len(crowd.inside) <= count
        for door in crowd.doors.values():
            door.set()
        await asyncio.gather(*crowd.tasks.values(), return_exceptions=True)
        assert not crowd.inside
        async with asyncio.timeout(1):
            for _ in range(count):
                crowd.come(f"z{_}")
            await settle()
            assert len(crowd.inside) == count
        for task in crowd.tasks.values():
            task.cancel()
        await asyncio.gather(*crowd.tasks.values(), return_exceptions=True)

    asyncio.run(run())


def test_at_least_one_slot() -> None:
    with pytest.raises(ValueError, match="0 slots"):
        FairSlots(0)
