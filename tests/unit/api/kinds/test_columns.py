"""Ages and labels as kubectl prints them."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.api.kinds.columns import (
    format_label_selector,
    format_labels,
    translate_timestamp_since,
)


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
