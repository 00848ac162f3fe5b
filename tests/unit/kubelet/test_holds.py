"""How long containers wait after failures."""

from __future__ import annotations

import pytest

from orchestrator.kubelet.holds import backoff_until, format_seconds, next_backoff
from tests.unit.kubelet.pods import NOW, seconds


def test_back_off_doubles_to_its_maximum_and_is_forgotten() -> None:
    entry, now, delays = None, NOW, []
    for _ in range(7):
        entry = next_backoff(entry, now, now)
        delays.append(entry.delay_seconds)
        now += seconds(entry.delay_seconds)
    assert delays == [10, 20, 40, 80, 160, 300, 300]
    assert entry is not None
    assert backoff_until(entry, entry.updated_at + seconds(599), max_seconds=300) is not None
    assert backoff_until(entry, entry.updated_at + seconds(601), max_seconds=300) is None
    assert next_backoff(entry, entry.updated_at + seconds(601), NOW).delay_seconds == 10


@pytest.mark.parametrize(("count", "text"), [(10, "10s"), (80, "1m20s"), (300, "5m0s"), (3725, "1h2m5s")])
def test_durations_as_go_prints_them(count: float, text: str) -> None:
    assert format_seconds(count) == text
