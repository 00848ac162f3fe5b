"""A component of several parts lives and falls like a program."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orchestrator.component.built_in import ComponentState, Failure, plan_state
from orchestrator.component.supervisor import Supervised

START = datetime(2026, 1, 1, tzinfo=UTC)
FINE = Supervised(START + timedelta(seconds=1))


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_without_failures_it_runs_since_the_process_began() -> None:
    assert plan_state([], START) == ComponentState(START)
    assert plan_state([FINE, FINE], START) == ComponentState(START)


def test_while_a_part_is_down_all_of_it_is() -> None:
    down = Supervised(at(1), is_failing=True, failure="ValueError: x", failed_at=at(9), failed_run_started_at=at(1))
    state = plan_state([FINE, down], START)
    assert not state.is_running
    assert state.restarts == 0
    assert state.last_failure == Failure(at(1), at(9), "ValueError: x")


def test_a_start_of_a_part_is_a_start_of_all() -> None:
    first = Supervised(at(20), restarts=2, failure="first", failed_at=at(19), failed_run_started_at=at(5))
    second = Supervised(at(30), restarts=1, failure="second", failed_at=at(29), failed_run_started_at=at(1))
    state = plan_state([first, FINE, second], START)
    assert state == ComponentState(
        at(30), restarts=3, last_failure=Failure(at(1), at(29), "second"), is_running=True
    )  # fmt: skip
