"""Names that follow from content: template hashes as they stand in the names of ReplicaSets and revisions.

The hash is FNV-1a over the canonical JSON of the content. Kubernetes hashes a Go dump of its own
structs, so values differ from cluster to cluster version; only stability and the alphabet matter.
"""

from __future__ import annotations

from typing import Any

import orjson

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and no look-alikes, as in Kubernetes' safe encoding: no words appear by accident."""


def fnv32a(data: bytes) -> int:
    """The 32-bit FNV-1a hash."""
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def safe_encode(text: str) -> str:
    """Each character mapped into the safe alphabet."""
    return "".join(_ALPHABET[ord(char) % len(_ALPHABET)] for char in text)


def content_hash(content: Any, collision_count: int | None = None) -> str:
    """The name suffix for a content; another one for each collision count."""
    data = orjson.dumps(without_empty(content), option=orjson.OPT_SORT_KEYS)
    if collision_count is not None:
        data += collision_count.to_bytes(8, "little")
    return safe_encode(str(fnv32a(data)))


def without_empty(value: Any) -> Any:
    """The value without nulls and empty lists, which mean the same as absence; for comparing specs."""
    if isinstance(value, dict):
        cleaned = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in cleaned.items() if item is not None and item != []}
    if isinstance(value, list):
        return [without_empty(item) for item in value]
    return value
