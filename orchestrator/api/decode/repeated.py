"""Fields that a JSON text names more than once, which a decoded body no longer shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from orchestrator.api.decode.walk import STRICT_ERRORS_MAX
from orchestrator.api.fields import quote


class Repeated(NamedTuple):
    """Which fields a JSON body names more than once, by path; and where, counted in fields from its beginning."""

    again: dict[str, int]
    """Where the field stands for the second time, in document order."""
    first: dict[str, int]
    """Where each field of the body stands for the first time; empty when none is repeated."""


NOTHING_REPEATED = Repeated({}, {})


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with its keys as they were written."""


def find_duplicate_fields(body: bytes, obj: Any = None) -> Repeated:
    """The fields that a JSON body names twice.

    `obj`, the decoded body if there is one already, makes the usual answer (none) cheap: a key that was
    named twice is missing in it, and with it two quotation marks.
    """
    if b"\\u" not in body:
        if obj is None:
            obj = orjson.loads(body)
        if orjson.dumps(obj).count(b'"') == body.count(b'"'):
            return NOTHING_REPEATED
    found = Repeated({}, {})
    _count_fields(json.loads(body, object_pairs_hook=_Pairs), "", found, 0)
    return found if found.again else NOTHING_REPEATED


def _count_fields(value: Any, path: str, found: Repeated, position: int) -> int:
    """The position after all fields of the value."""
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for name, child in value:
            child_path = f"{path}.{name}" if path else name
            position += 1
            found.first.setdefault(child_path, position)
            if name in seen and len(found.again) < STRICT_ERRORS_MAX:
                found.again.setdefault(child_path, position)
            seen.add(name)
            position = _count_fields(child, child_path, found, position)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            position = _count_fields(child, f"{path}[{index}]", found, position)
    return position


def in_document_order(unknown: Sequence[str], repeated: Repeated) -> list[str]:
    """What is wrong with the fields of a typed object; of what is unknown nobody looks whether it is repeated."""
    found = [(repeated.first.get(path, 0), f"unknown field {quote(path)}") for path in unknown]
    if repeated.again:
        parents = tuple(unknown)
        nested = tuple(f"{path}{sign}" for path in unknown for sign in ".[")
        found += [
            (position, f"duplicate field {quote(path)}")
            for path, position in repeated.again.items()
            if path not in parents and not path.startswith(nested)
        ]
        found.sort(key=lambda one: one[0])
    return [text for _, text in found]
