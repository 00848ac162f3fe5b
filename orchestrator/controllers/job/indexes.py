"""Completion indexes: `0-2,5` as `status.completedIndexes` writes them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.api.objects import Object, annotations_of

INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"


def index_of(pod: Object) -> int | None:
    """The completion index of a pod; None when it has none."""
    text = annotations_of(pod).get(INDEX_ANNOTATION, "")
    return int(text) if text.isdecimal() else None


def parse_indexes(text: str, completions: int) -> set[int]:
    """The indexes below `completions` that a text names; what cannot be read is left out."""
    indexes: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        try:
            low, high = int(first), int(last or first)
        except ValueError:
            continue
        indexes.update(range(low, min(high, completions - 1) + 1))
    return indexes


def format_indexes(indexes: Iterable[int]) -> str:
    """Indexes as ranges: two neighbours are listed, three or more become a range."""
    ordered = sorted(indexes)
    parts: list[str] = []
    position = 0
    while position < len(ordered):
        end = position
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        low, high = ordered[position], ordered[end]
        if high == low:
            parts.append(str(low))
        else:
            parts.append(f"{low},{high}" if high == low + 1 else f"{low}-{high}")
        position = end + 1
    return ",".join(parts)
