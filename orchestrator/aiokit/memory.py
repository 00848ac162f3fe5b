"""glibc's allocator: one arena, and memory given back to the system. No effect with another C library."""

from __future__ import annotations

from orchestrator.aiokit.libc import libc

_M_ARENA_MAX = -8


def use_one_arena() -> None:
    """Have all threads allocate from one heap; before any thread starts.

    One interpreter lock lets one thread allocate at a time anyway, and each heap keeps what it once needed.
    """
    mallopt = getattr(libc(), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return what is free to the system. Takes some milliseconds for each 100 MiB of heap."""
    trim = getattr(libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)
