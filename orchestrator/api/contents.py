"""What was worked out about a JSON value, found again by the value's encoding.

Most objects of a cluster come from few templates, so the same specs are checked, owned and held thousands of times.
Encoding one takes a microsecond or two; what is remembered for it takes tens. Only for pure functions of the value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from orchestrator.aiokit.recent import RecentMap

V = TypeVar("V")

CONTENTS_MAX = 512
"""Values in each of two generations, unless the user of a map says otherwise."""
CONTENT_BYTES_MAX = 16 * 1024
"""Larger values are not remembered: they are rare, and the maps are to stay small."""


def content_of(value: Any) -> bytes:
    """The key of a value: its encoding, in which the order of keys counts; empty when it is nested too deep for one."""
    try:
        # A copy of the exact length: the encoder's own buffer is 4 KiB and more, and would stay so.
        return memoryview(orjson.dumps(value)).tobytes()
    except orjson.JSONEncodeError:
        return b""


class ContentMap(RecentMap[bytes, V]):
    """Answers by `content_of` what they are about; bounded in number and in bytes."""

    __slots__ = ()

    def __init__(self, entries_max: int = CONTENTS_MAX) -> None:
        super().__init__(entries_max)

    def of(self, value: Any, work: Callable[[], V]) -> V:
        """What is remembered about a value; worked out when it is new."""
        content = content_of(value)
        known = self.get(content)
        if known is None:
            known = work()
            self.put(content, known)
        return known

    def put(self, key: bytes, value: V) -> None:
        """Remember a value for a key, unless the key is too large, or none."""
        if 0 < len(key) <= CONTENT_BYTES_MAX:
            super().put(key, value)
