"""What is remembered about a value is found by an equal one, and by no other."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.contents import CONTENT_BYTES_MAX, ContentMap, content_of


@pytest.mark.parametrize(
    "other",
    [{"a": True}, {"a": 1.0}, {"a": "1"}, {"a": 1, "b": None}, {"b": 1}, {"a": [1]}],
)
def test_only_an_equal_value_finds_it(other: Any) -> None:
    known: ContentMap[str] = ContentMap()
    known.put(content_of({"a": 1}), "found")
    assert known.get(content_of({"a": 1})) == "found"
    assert known.get(content_of(other)) is None


def test_large_values_are_not_remembered() -> None:
    known: ContentMap[bool] = ContentMap()
    known.put(content_of("x" * CONTENT_BYTES_MAX), True)
    assert len(known) == 0
