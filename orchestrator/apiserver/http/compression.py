"""gzip for large answers, as kube-apiserver compresses them: from 128 KiB, at the fastest level.

ISA-L does it several times faster than zlib; where its wheels do not exist zlib serves as well.
"""

from __future__ import annotations

from typing import Any

COMPRESS_FROM_BYTES = 128 * 1024
GZIP_WINDOW_BITS = 31
LEVEL = 1

_library: Any = None


def _load() -> Any:
    global _library
    if _library is None:
        try:
            from isal import isal_zlib

            _library = isal_zlib
        except ImportError:
            import zlib

            _library = zlib
    return _library


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the client takes gzip: named in Accept-Encoding, and not with quality zero."""
    for part in accept_encoding.split(","):
        coding, _, parameter = part.partition(";")
        if coding.strip().lower() in ("gzip", "*"):
            return parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def gzip(body: bytes) -> bytes:
    """The body as one gzip member."""
    library = _load()
    compressor = library.compressobj(LEVEL, library.DEFLATED, GZIP_WINDOW_BITS)
    compressed: bytes = compressor.compress(body) + compressor.flush()
    return compressed
