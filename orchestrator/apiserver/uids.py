"""UIDs of objects: random UUIDs (version 4), from the kernel's randomness in large pieces."""

from __future__ import annotations

import os

_PIECE = 4096


class UidSource:
    """Hands out UUIDs; one system call serves 256 of them."""

    def __init__(self) -> None:
        self._bytes = b""
        self._position = 0

    def next(self) -> str:
        """A fresh random UUID as text (RFC 9562, version 4)."""
        if self._position >= len(self._bytes):
            self._bytes = os.urandom(_PIECE)
            self._position = 0
        start = self._position
        self._position += 16
        number = int.from_bytes(self._bytes[start : start + 16], "big")
        number = number & ~(0xF000 << 64) & ~(0xC000 << 48) | 0x4000 << 64 | 0x8000 << 48
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
