"""Keeps events few: similar ones are combined, and no object gets more than a burst of them. Pure.

Mirrors client-go's EventCorrelator with its defaults: from the tenth message of one kind about one object on, within
ten minutes, messages are combined into one; an object gets 25 events at once, then one every five minutes.
"""

from __future__ import annotations

from collections.abc import Hashable

from msgspec import Struct

from orchestrator.aiokit.recent import RecentMap

SIMILAR_MAX = 10
SIMILAR_SECONDS = 600.0
BURST = 25
REFILL_SECONDS = 300.0
REMEMBERED_MAX = 4_096
"""Of each kind of memory, as client-go."""
COMBINED = "(combined from similar events): "


class _Similar(Struct):
    messages: tuple[str, ...]
    at: float


class _Bucket(Struct):
    tokens: float
    at: float


class EventCorrelator:
    """For the events of one source; times are seconds on a monotonic clock."""

    def __init__(self) -> None:
        self._similar: RecentMap[Hashable, _Similar] = RecentMap(REMEMBERED_MAX // 2)
        self._buckets: RecentMap[Hashable, _Bucket] = RecentMap(REMEMBERED_MAX // 2)

    def combine(self, kind: Hashable, message: str, now: float) -> str:
        """The message to show; `COMBINED` stands before it when there were too many others of its kind.

        `kind`: the object, the type and the reason.
        """
        known = self._similar.get(kind)
        if known is None or now - known.at > SIMILAR_SECONDS:
            self._similar.put(kind, _Similar((message,), now))
            return message
        known.at = now
        if message not in known.messages:
            if len(known.messages) == SIMILAR_MAX - 1:
                return COMBINED + message
            known.messages += (message,)
        return message

    def admit(self, subject: Hashable, now: float) -> bool:
        """Whether one more event about an object may be written now; takes a token if so."""
        bucket = self._buckets.get(subject)
        if bucket is None:
            bucket = _Bucket(float(BURST), now)
            self._buckets.put(subject, bucket)
        bucket.tokens = min(float(BURST), bucket.tokens + (now - bucket.at) / REFILL_SECONDS)
        bucket.at = now
        if bucket.tokens < 1.0:
            return False
        bucket.tokens -= 1.0
        return True
