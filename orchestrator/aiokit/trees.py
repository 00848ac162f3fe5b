"""Removing a directory tree that was somebody else's to fill. Blocking.

`shutil.rmtree` calls itself for each level, and containers may make more levels than Python's stack has room for.
"""

from __future__ import annotations

import os
import uuid
from itertools import count
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> None:
    """Remove a directory with all that is in it, or a symbolic link itself; succeeds when there is none. OSError.

    No step goes through a symbolic link. Each directory below is first moved up to the top, so that two of them are
    open at most, however deep they were.
    """
    if path.is_symlink():
        path.unlink()
        return
    try:
        top = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        prefix, numbers, waiting = f".removed-{uuid.uuid4().hex}-", count(), list[str]()

        def empty(folder: int) -> None:
            for name in os.listdir(folder):
                try:
                    os.unlink(name, dir_fd=folder)
                except IsADirectoryError:
                    moved = f"{prefix}{next(numbers)}"
                    os.rename(name, moved, src_dir_fd=folder, dst_dir_fd=top)
                    waiting.append(moved)

        empty(top)
        while waiting:
            name = waiting.pop()
            below = os.open(name, _DIRECTORY, dir_fd=top)
            try:
                empty(below)
            finally:
                os.close(below)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    path.rmdir()
