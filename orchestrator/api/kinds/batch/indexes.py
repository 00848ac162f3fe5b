"""Indexes of Jobs as text: `1,3-5,7`, in ascending order.

Mirrors validateIndexesFormat of k8s.io/kubernetes/pkg/apis/batch/validation.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.api.fields import quote


class IndexesError(ValueError):
    """The text names no indexes of a Job; the message is the API server's."""


def parse_indexes(text: str, completions: int) -> int:
    """How many indexes the text names, all below `completions`; IndexesError."""
    last: int | None = None
    total = 0
    for part in text.split(",") if text else ():
        first, end = _interval(part, completions)
        if last is not None and last >= first:
            raise IndexesError(f"non-increasing order, previous: {last}, current: {first}")
        total += end - first + 1
        last = end
    return total


def find_overlap(one: str, other: str, completions: int) -> int | None:
    """The first index that both texts name; parts that are no intervals are passed over."""
    for first, end in _intervals(one, completions):
        for other_first, other_end in _intervals(other, completions):
            if first <= other_end and other_first <= end:
                return max(first, other_first)
    return None


def _intervals(text: str, completions: int) -> Iterator[tuple[int, int]]:
    for part in text.split(",") if text else ():
        try:
            yield _interval(part, completions)
        except IndexesError:
            continue


def _interval(part: str, completions: int) -> tuple[int, int]:
    limits = part.split("-")
    if len(limits) > 2:
        raise IndexesError(
            f"the fragment {quote(part)} violates the requirement that an index interval can have at most two parts"
            " separated by '-'"
        )
    numbers = []
    for limit in limits:
        if not (limit.isascii() and limit.isdigit()):
            raise IndexesError(f"cannot convert string to integer for index: {quote(limit)}")
        if int(limit) >= completions:
            raise IndexesError(f"too large index: {quote(limit)}")
        numbers.append(int(limit))
    first, end = numbers[0], numbers[-1]
    if len(numbers) > 1 and first >= end:
        raise IndexesError(f"non-increasing order, previous: {first}, current: {end}")
    return first, end
