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


def test_what_is_worked_out_about_a_value_is_worked_out_once() -> None:
    known: ContentMap[int] = ContentMap()
    answers = iter((1, 2))
    assert [known.of({"a": text}, lambda: next(answers)) for text in ("x", "x", "y", "x")] == [1, 1, 2, 1]


def test_large_values_are_not_remembered() -> None:
    known: ContentMap[bool] = ContentMap()
    known.put(content_of("x" * CONTENT_BYTES_MAX), True)
    assert len(known) == 0


def test_values_that_cannot_be_encoded_are_not_remembered() -> None:
    deep: Any = {}
    for _ in range(1000):
        deep = {"a": deep}
    known: ContentMap[bool] = ContentMap()
    known.put(content_of(deep), True)
    assert known.get(content_of(deep)) is None
