"""The directories behind volumes: made, copied and removed, all below one folder. Blocking, except for copies.

A name is one path component, and removing never follows a symbolic link, so nothing outside is ever touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
from pathlib import Path

from orchestrator.aiokit.commands import run_command

COPY_SECONDS_MAX = 3600.0
DISK = "disk"
LOOP_SET_CAPACITY = 0x4C07
"""linux/loop.h"""
MODE = 0o777
"""Pods run under any user; who may reach a volume at all is decided by the folder above, which is root's."""


class Directories:
    """Everything below `root`, which is made 0700 with the first directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Where a directory is or would be; ValueError for what is no plain name."""
        if not name or name in (".", "..") or "/" in name or "\0" in name:
            raise ValueError(f"{name!r} is no name of a directory")
        return self.root / name

    async def make(self, name: str, *, copy_of: str = "") -> Path:
        """Make a directory, empty or as a copy of another; one that is there is left alone. OSError."""
        path = self.path(name)
        if await asyncio.to_thread(path.is_dir):
            return path
        partial = self.root / f".{name}.partial"
        await asyncio.to_thread(self._prepare, partial)
        if copy_of:
            await self._copy(self.path(copy_of), partial)
        # In one step, so that a copy that was interrupted is never taken for a whole one.
        await asyncio.to_thread(partial.rename, path)
        return path

    def _prepare(self, partial: Path) -> None:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_tree(partial)
        partial.mkdir()
        partial.chmod(MODE)  # whatever the umask

    async def _copy(self, source: Path, target: Path) -> None:
        # cp shares blocks where the file system can, and keeps owners, modes, links and extended attributes.
        command = ("cp", "-a", "--reflink=auto", f"{source}/.", str(target))
        try:
            outcome = await run_command(*command, seconds_max=COPY_SECONDS_MAX)
        except TimeoutError:
            raise OSError(f"copying {source} took more than {COPY_SECONDS_MAX:.0f} s") from None
        if outcome.code != 0:
            raise OSError(f"copying {source}: {outcome.errors.strip()[:500]}")

    async def make_disk(self, name: str, size_bytes: int) -> Path:
        """The file in a directory that becomes a block device, of at least this size; sparse. OSError."""
        return await asyncio.to_thread(self._make_disk, self.path(name) / DISK, size_bytes)

    def _make_disk(self, path: Path, size_bytes: int) -> Path:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < size_bytes:
                os.ftruncate(descriptor, size_bytes)
                _tell_capacity(path)
        finally:
            os.close(descriptor)
        return path

    async def remove(self, name: str) -> None:
        """Remove a directory with all that is in it; succeeds when there is none. OSError."""
        path = self.path(name)
        gone = self.root / f".{name}.removed"
        await asyncio.to_thread(self._remove, path, gone)

    def _remove(self, path: Path, gone: Path) -> None:
        _remove_tree(gone)  # an earlier removal that was interrupted
        with contextlib.suppress(FileNotFoundError):
            path.rename(gone)
        _remove_tree(gone)


def _tell_capacity(path: Path) -> None:
    """Make the loop devices of a file look at its size again."""
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(FileNotFoundError, OSError):
            if entry.read_text().rstrip("\n") == os.path.realpath(path):
                with open(f"/dev/{entry.parts[-3]}", "rb") as device:
                    fcntl.ioctl(device, LOOP_SET_CAPACITY)


def _remove_tree(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
        return
    if not shutil.rmtree.avoids_symlink_attacks:  # pragma: no cover - every Linux has openat
        raise OSError(f"{os.name} cannot remove {path} without following links")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)
