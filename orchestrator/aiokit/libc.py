"""Calls of the C library that Python has no function for; their errors as OSError."""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache


@lru_cache(maxsize=1)
def libc() -> ctypes.CDLL:
    """The library of this process; a function that it lacks is an AttributeError."""
    return ctypes.CDLL(None, use_errno=True)


def last_error(what: str, path: str | None = None) -> OSError:
    """Why the last call of this thread failed."""
    code = ctypes.get_errno()
    text = f"{what}: {os.strerror(code)}"
    return OSError(code, text) if path is None else OSError(code, text, path)
