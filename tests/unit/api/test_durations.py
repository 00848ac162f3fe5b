"""Durations in two to three digits."""

from __future__ import annotations

import pytest

from orchestrator.api.durations import human_duration

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (190, "3m10s"), (600, "10m"),
        (179 * MINUTE, "179m"), (3 * HOUR, "3h"), (3 * HOUR + 10 * MINUTE, "3h10m"), (8 * HOUR, "8h"),
        (47 * HOUR, "47h"), (2 * DAY, "2d"), (5 * DAY + 3 * HOUR, "5d3h"), (8 * DAY + 3 * HOUR, "8d"),
        (729 * DAY, "729d"), (2 * 365 * DAY, "2y"), (3 * 365 * DAY + 4 * DAY, "3y4d"), (10 * 365 * DAY, "10y"),
    ],
)  # fmt: skip
def test_human_duration(seconds: int, text: str) -> None:
    assert human_duration(seconds) == text
