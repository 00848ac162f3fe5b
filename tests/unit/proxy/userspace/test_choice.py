"""Which endpoint a client gets."""

from __future__ import annotations

import pytest

from orchestrator.proxy.userspace import choice
from orchestrator.proxy.userspace.choice import Chooser
from orchestrator.proxy.userspace.plan import Route
from orchestrator.testing import ManualClock

ONE, TWO, THREE = ("10.0.0.1", 80), ("10.0.0.2", 80), ("10.0.0.3", 80)
STICKY = Route((ONE, TWO, THREE), affinity="web", affinity_seconds=60)


def chooser(clock: ManualClock) -> Chooser:
    return Chooser(clock, shuffle=lambda targets: targets.sort())


def test_without_affinity_nobody_is_remembered() -> None:
    some, route = chooser(ManualClock()), Route((ONE, TWO))
    some.remember(route, "client", TWO)
    assert some.candidates(route, "client") == [ONE, TWO]


async def test_a_client_comes_back_to_its_endpoint_until_the_time_is_over() -> None:
    clock = ManualClock()
    some = chooser(clock)
    some.remember(STICKY, "client", TWO)
    assert some.candidates(STICKY, "client") == [TWO, ONE, THREE]
    assert some.candidates(STICKY, "another") == [ONE, TWO, THREE]
    await clock.run(59)
    some.remember(STICKY, "client", TWO)  # each connection counts anew
    await clock.run(59)
    assert some.candidates(STICKY, "client")[0] == TWO
    await clock.run(1)
    assert some.candidates(STICKY, "client")[0] == ONE


def test_an_endpoint_that_is_gone_is_not_remembered() -> None:
    some = chooser(ManualClock())
    some.remember(STICKY, "client", TWO)
    assert some.candidates(Route((ONE, THREE), affinity="web", affinity_seconds=60), "client") == [ONE, THREE]


def test_the_client_that_was_away_longest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "CLIENTS_MAX", 2)
    some = chooser(ManualClock())
    for client in ("a", "b", "a", "c"):
        some.remember(STICKY, client, THREE)
    assert [some.candidates(STICKY, client)[0] for client in "abc"] == [THREE, ONE, THREE]
