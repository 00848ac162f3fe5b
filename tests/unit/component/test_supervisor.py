"""A component that falls over is restarted alone, later each time, and everybody can see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchestrator.component import metrics
from orchestrator.component.supervisor import STABLE_SECONDS, Supervisor
from orchestrator.testing.manual_clock import ManualClock, settle


class Fragile:
    """A component that fails when told to."""

    def __init__(self) -> None:
        self.starts = 0
        self.ended = 0
        self._failure: asyncio.Future[None] | None = None

    async def run(self) -> None:
        self.starts += 1
        self._failure = asyncio.get_running_loop().create_future()
        try:
            await self._failure
        finally:
            self.ended += 1

    def fail(self, message: str = "boom") -> None:
        assert self._failure is not None
        self._failure.set_exception(ValueError(message))

    def return_early(self) -> None:
        assert self._failure is not None
        self._failure.set_result(None)


@asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[None]:
    task = asyncio.create_task(supervisor.run())
    await settle()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def up(name: str) -> float | None:
    return metrics.REGISTRY.get_sample_value("orchestrator_component_up", {"component": name})


async def test_a_failed_component_is_told_and_restarted_and_others_are_left_alone() -> None:
    clock = ManualClock()
    supervisor, fragile, other = Supervisor(clock=clock), Fragile(), Fragile()
    supervisor.add("fragile", fragile.run)
    supervisor.add("other", other.run)
    async with running(supervisor):
        fragile.fail()
        await settle()
        assert supervisor.failing() == {"fragile": "ValueError: boom"}
        await clock.run(0.1)
        await supervisor.wait_healthy()
        assert (fragile.starts, other.starts) == (2, 1)
        assert supervisor.failing() == {}


async def test_a_component_that_returns_has_failed() -> None:
    supervisor, fragile = Supervisor(clock=ManualClock()), Fragile()
    supervisor.add("fragile", fragile.run)
    async with running(supervisor):
        fragile.return_early()
        await settle()
        assert "returned" in supervisor.failing()["fragile"]


async def test_restarts_back_off_until_a_component_was_stable() -> None:
    clock = ManualClock()
    supervisor, fragile = Supervisor(clock=clock), Fragile()
    supervisor.add("fragile", fragile.run)

    async def restarts_after(seconds: float) -> bool:
        starts = fragile.starts
        fragile.fail()
        await clock.run(seconds * 0.9)
        assert fragile.starts == starts, "too early"
        await clock.run(seconds * 0.2)
        return fragile.starts == starts + 1

    async with running(supervisor):
        for seconds in (0.1, 0.2, 0.4, 0.8):
            assert await restarts_after(seconds)
        await clock.run(STABLE_SECONDS + 1)
        assert await restarts_after(0.1)


async def test_a_removed_component_is_stopped_and_no_longer_counts_as_failing() -> None:
    supervisor, fragile, broken = Supervisor(clock=ManualClock()), Fragile(), Fragile()
    supervisor.add("fragile", fragile.run)
    supervisor.add("broken", broken.run)
    async with running(supervisor):
        broken.fail()
        await settle()
        await supervisor.remove("broken")
        await supervisor.remove("fragile")
        await asyncio.wait_for(supervisor.wait_healthy(), 1)
        assert (fragile.starts, fragile.ended) == (1, 1)
        await supervisor.remove("never added")
        supervisor.add("fragile", fragile.run)
        await settle()
        assert fragile.starts == 2


async def test_a_component_added_while_running_starts_at_once() -> None:
    supervisor, fragile = Supervisor(clock=ManualClock()), Fragile()
    async with running(supervisor):
        supervisor.add("fragile", fragile.run)
        await settle()
        assert fragile.starts == 1


def test_a_name_is_supervised_once() -> None:
    supervisor = Supervisor(clock=ManualClock())
    supervisor.add("fragile", Fragile().run)
    with pytest.raises(ValueError, match="supervised already"):
        supervisor.add("fragile", Fragile().run)


async def test_many_of_a_kind_are_counted_together() -> None:
    supervisor, parts = Supervisor(clock=ManualClock(), counted_as="part"), [Fragile() for _ in range(3)]
    for number, part in enumerate(parts):
        supervisor.add(f"part/{number}", part.run)
    async with running(supervisor):
        assert up("part") == 3
        parts[0].fail()
        await settle()
        assert up("part") == 2
        assert [*supervisor.failing()] == ["part/0"]
    assert up("part") == 0


async def test_a_component_that_fails_while_it_ends_is_told_and_not_started_again() -> None:
    starts = 0

    async def run() -> None:
        nonlocal starts
        starts += 1
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise ValueError("its socket is closed already")

    supervisor = Supervisor(clock=ManualClock())
    supervisor.add("clumsy", run)
    task = asyncio.create_task(supervisor.run())
    await settle()
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=5)
    assert done, "the process would never stop"
    assert starts == 1
    assert supervisor.failing() == {"clumsy": "ValueError: its socket is closed already"}
