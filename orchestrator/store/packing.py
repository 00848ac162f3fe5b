"""Encoded objects that nobody wrote for long, packed: only what tells one from others of its kind takes memory.

A running pod and the Events about it are nine kilobytes of JSON, of which all but a few hundred bytes stand in every
other pod of its template and in their Events. Deflate with one of those as its dictionary finds the rest again in a few
microseconds. See docs/decisions/0016.
"""

from __future__ import annotations

import zlib

from msgspec import Struct

from orchestrator.aiokit.recent import RecentMap

PACKED_BYTES_MIN = 512
PACKED_BYTES_MAX = 64 * 1024
"""Larger objects are rare, have little in common, and would hold up the event loop."""
DICTIONARIES_MAX = 32
"""In each of two generations; each takes some 50 KiB."""
_SIZE_CLASS_BYTES = 512
_LEVEL, _WINDOW_BITS, _MEMORY_LEVEL = 3, -13, 5
"""No header and a window of 8 KiB: to copy a compressor's state costs more than to compress an object of that size."""


class Packed(Struct, gc=False):
    """The bytes of one object, packed."""

    data: bytes
    dictionary: bytes
    """An object that is like this one."""

    def unpack(self) -> bytes:
        """The bytes as they were."""
        return zlib.decompressobj(_WINDOW_BITS, self.dictionary).decompress(self.data)


class _Dictionary:
    """An object of which others may be copies, but for little."""

    __slots__ = ("compressor", "content")

    def __init__(self, raw: bytes) -> None:
        self.content = raw[-(1 << -_WINDOW_BITS) :]
        self.compressor = zlib.compressobj(
            _LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, self.content
        )


class Packer:
    """Packs objects by the ones that it was shown before; of bounded size."""

    def __init__(self) -> None:
        self._dictionaries: RecentMap[tuple[str, int], _Dictionary] = RecentMap(DICTIONARIES_MAX)
        """By resource and size: objects of one template have nearly the same length, those of others mostly not."""

    def __len__(self) -> int:
        return len(self._dictionaries)

    def pack(self, resource: str, raw: bytes) -> Packed | None:
        """The packed bytes of an object; None when that would save less than half: its next like may fare better."""
        if not PACKED_BYTES_MIN <= len(raw) <= PACKED_BYTES_MAX:
            return None
        key = (resource, len(raw) // _SIZE_CLASS_BYTES)
        dictionary = self._dictionaries.get(key)
        if dictionary is not None:
            compressor = dictionary.compressor.copy()
            data = compressor.compress(raw) + compressor.flush()
            if len(data) <= len(raw) // 2:
                return Packed(data, dictionary.content)
        self._dictionaries.put(key, _Dictionary(raw))
        return None
