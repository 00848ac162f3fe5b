"""Changes in folders, told by the kernel: inotify(7) for asyncio.

Three system calls and a file descriptor. A library for it would be loaded at every start, which costs more memory than
a node's whole side for plugins, and a process that looks for the C library.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

from msgspec import Struct

from orchestrator.aiokit.libc import libc
from orchestrator.aiokit.readable import until_readable

CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF, IGNORED = 0x400, 0x800, 0x8000
MOVE = MOVED_FROM | MOVED_TO
GONE = DELETE_SELF | MOVE_SELF | IGNORED
"""The folder that was watched is another one, or none."""
_ONLY_DIRECTORIES = 0x01000000
_HEAD = struct.Struct("iIII")
_BYTES_MAX = 1 << 16


class Change(Struct, frozen=True):
    """Something happened to a folder or in it; if changes were lost, neither the folder nor a name is known."""

    folder: Path | None
    mask: int
    name: str = ""


class Inotify:
    """Watches folders until it is closed; a context manager."""

    def __init__(self) -> None:
        """OSError where the kernel has no inotify, or gives the user no more of it."""
        self._descriptor = _call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        self._folders: dict[int, Path] = {}

    def __enter__(self) -> Inotify:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Watch nothing any more; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def watch(self, folder: Path, mask: int) -> None:
        """Tell about such changes of a folder; one that is watched already stays so. OSError."""
        path = os.fsencode(folder)
        self._folders[_call("inotify_add_watch", self._descriptor, path, mask | _ONLY_DIRECTORIES)] = folder

    async def changes(self) -> list[Change]:
        """Wait until something changed, and return all that did since the last time."""
        while True:
            try:
                return self._parse(os.read(self._descriptor, _BYTES_MAX))
            except BlockingIOError:
                await until_readable(self._descriptor)

    def _parse(self, data: bytes) -> list[Change]:
        changes = []
        position = 0
        while position < len(data):
            watch, mask, _, length = _HEAD.unpack_from(data, position)
            position += _HEAD.size + length
            name = data[position - length : position].rstrip(b"\0")
            changes.append(Change(self._folders.get(watch), mask, os.fsdecode(name)))
            if mask & IGNORED:
                self._folders.pop(watch, None)
        return changes


def _call(name: str, *arguments: int | bytes) -> int:
    function = getattr(libc(), name, None)
    if function is None:
        raise OSError(errno.ENOSYS, "this system has no inotify")
    result: int = function(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), *(os.fsdecode(one) for one in arguments if isinstance(one, bytes)))
    return result
