"""Ages and labels as kubectl prints them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.api.kinds.columns import (
    format_label_selector,
    format_labels,
    human_duration,
    translate_timestamp_since,
)

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


def test_a_missing_timestamp_is_unknown() -> None:
    now = datetime(2024, 1, 1, tzinfo=UTC)
    assert translate_timestamp_since(None, now) == "<unknown>"
    assert translate_timestamp_since("2023-12-31T23:59:30Z", now) == "30s"
    assert translate_timestamp_since("2023-12-31T23:59:30.123456Z", now) == "29s"


def test_labels_and_selectors() -> None:
    assert format_labels({"b": "2", "a": "1"}) == "a=1,b=2"
    assert format_labels(None) == "<none>"
    assert format_label_selector({"matchLabels": {"a": "b"}}) == "a=b"
    expression = {"key": "x", "operator": "In", "values": ["q", "p"]}
    assert format_label_selector({"matchLabels": {"a": "b"}, "matchExpressions": [expression]}) == "a=b,x in (p,q)"
