"""Keeps events few: similar ones are combined, and no object gets more than a burst of them. Pure.

Mirrors client-go's EventCorrelator with its defaults: from the tenth message of one kind about one object on, within
ten minutes, messages are combined into one; an object gets 25 events at once, then one every five minutes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from msgspec import Struct

SIMILAR_MAX = 10
SIMILAR_SECONDS = 600.0
BURST = 25
REFILL_SECONDS = 300.0
REMEMBERED_MAX = 4_096
COMBINED = "(combined from similar events): "

_Value = TypeVar("_Value")


class _Latest(Generic[_Value]):
    """The entries that were used last."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, _Value] = OrderedDict()

    def get(self, key: Hashable) -> _Value | None:
        return self._entries.get(key)

    def put(self, key: Hashable, value: _Value) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > REMEMBERED_MAX:
            self._entries.popitem(last=False)


class _Similar(Struct):
    messages: set[str]
    at: float


class _Bucket(Struct):
    tokens: float
    at: float


class EventCorrelator:
    """For the events of one source; times are seconds on a monotonic clock."""

    def __init__(self) -> None:
        self._similar: _Latest[_Similar] = _Latest()
        self._buckets: _Latest[_Bucket] = _Latest()

    def combine(self, kind: Hashable, message: str, now: float) -> str:
        """The message to show; `COMBINED` stands before it when there were too many others of its kind.

        `kind`: the object, the type and the reason.
        """
        known = self._similar.get(kind)
        if known is None or now - known.at > SIMILAR_SECONDS:
            known = _Similar(set(), now)
        known.messages.add(message)
        known.at = now
        self._similar.put(kind, known)
        if len(known.messages) < SIMILAR_MAX:
            return message
        known.messages.pop()
        return COMBINED + message

    def admit(self, subject: Hashable, now: float) -> bool:
        """Whether one more event about an object may be written now; takes a token if so."""
        bucket = self._buckets.get(subject) or _Bucket(float(BURST), now)
        bucket.tokens = min(float(BURST), bucket.tokens + (now - bucket.at) / REFILL_SECONDS)
        bucket.at = now
        self._buckets.put(subject, bucket)
        if bucket.tokens < 1.0:
            return False
        bucket.tokens -= 1.0
        return True
