"""Events stay few."""

from __future__ import annotations

from orchestrator.component.event_correlator import (
    BURST,
    COMBINED,
    REFILL_SECONDS,
    REMEMBERED_MAX,
    SIMILAR_SECONDS,
    EventCorrelator,
)


def test_from_the_tenth_message_on_they_are_combined() -> None:
    correlator = EventCorrelator()
    shown = [correlator.combine("created", f"Created pod: {number}", 0.0) for number in range(12)]
    assert shown[:9] == [f"Created pod: {number}" for number in range(9)]
    assert shown[9:] == [f"{COMBINED}Created pod: {number}" for number in range(9, 12)]
    assert correlator.combine("deleted", "Deleted pod: 1", 0.0) == "Deleted pod: 1"


def test_equal_messages_and_those_of_long_ago_are_not_similar() -> None:
    correlator = EventCorrelator()
    assert {correlator.combine("failed", "no room", float(second)) for second in range(20)} == {"no room"}
    for number in range(12):
        correlator.combine("created", str(number), 0.0)
    assert correlator.combine("created", "later", SIMILAR_SECONDS + 1) == "later"


def test_a_message_that_was_shown_before_is_not_combined() -> None:
    correlator = EventCorrelator()
    for number in range(12):
        correlator.combine("created", str(number), 0.0)
    assert correlator.combine("created", "3", 1.0) == "3"
    assert correlator.combine("created", "11", 1.0) == f"{COMBINED}11"


def test_an_object_gets_a_burst_and_then_one_every_five_minutes() -> None:
    correlator = EventCorrelator()
    assert [correlator.admit("pod", 0.0) for _ in range(BURST + 1)] == [True] * BURST + [False]
    assert correlator.admit("other", 0.0)
    assert not correlator.admit("pod", REFILL_SECONDS / 2)
    assert correlator.admit("pod", REFILL_SECONDS + 1)
    assert not correlator.admit("pod", REFILL_SECONDS + 2)


def test_only_the_last_objects_are_remembered() -> None:
    correlator = EventCorrelator()
    for number in range(2 * REMEMBERED_MAX):
        correlator.admit(number, 0.0)
        correlator.combine(number, "m", 0.0)
    for remembered in (correlator._buckets, correlator._similar):
        assert REMEMBERED_MAX // 2 <= len(remembered) <= REMEMBERED_MAX
