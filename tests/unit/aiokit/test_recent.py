"""A bounded map keeps what is asked for and forgets the rest."""

from __future__ import annotations

from orchestrator.aiokit.recent import RecentMap


def test_what_is_asked_for_stays_while_others_come_and_go() -> None:
    recent: RecentMap[str, int] = RecentMap(4)
    recent.put("kept", -1)
    for number in range(100):
        recent.put(str(number), number)
        assert recent.get("kept") == -1
        assert len(recent) <= 8
    assert recent.get("0") is None
    assert recent.get("99") == 99


def test_the_first_value_of_a_key_is_everybodys() -> None:
    recent: RecentMap[str, list[int]] = RecentMap(4)
    first = recent.first("key", [])
    assert recent.first("key", []) is first
    for number in range(6):  # into the old generation
        recent.put(str(number), [])
    assert recent.first("key", []) is first
