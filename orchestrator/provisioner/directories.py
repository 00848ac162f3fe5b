"""The directories behind volumes and snapshots: made, copied and removed, all below one folder.

A name is one path component, and removing never follows a symbolic link, so nothing outside is ever touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from orchestrator.aiokit import loop_devices
from orchestrator.aiokit.commands import run_command
from orchestrator.aiokit.trees import remove_tree
from orchestrator.provisioner import copying

COPY_SECONDS_MAX = 3600.0
DISK = "disk"
Fill = Callable[[Path], Awaitable[None]]
"""Puts into a new directory what it begins with. OSError."""
MODE = 0o777
"""Pods run under any user; who may reach a volume at all is decided by the folder above, which is root's."""


class Directories:
    """Everything below `root`, which is made 0700 with the first directory."""

    def __init__(self, root: Path, *, remove: Callable[[Path], None] = remove_tree) -> None:
        """`remove` takes a tree away whose files may be anybody's."""
        self.root = root
        self._remove_tree = remove

    def path(self, name: str) -> Path:
        """Where a directory is or would be; ValueError for what is no plain name. Names with a dot are ours."""
        if not name or name.startswith(".") or "/" in name or "\0" in name:
            raise ValueError(f"{name!r} is no name of a directory")
        return self.root / name

    async def make(self, name: str, *, fill: Fill | None = None) -> Path:
        """Make a directory, empty or with what `fill` puts into it; one that is there is left alone. OSError."""
        path = self.path(name)
        if await asyncio.to_thread(path.is_dir):
            return path
        partial = self.root / f".{name}.partial"
        await asyncio.to_thread(self._prepare, partial)
        if fill is not None:
            await fill(partial)
        # In one step, so that a copy that was interrupted is never taken for a whole one.
        await asyncio.to_thread(partial.rename, path)
        return path

    def _prepare(self, partial: Path) -> None:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clear(partial)
        partial.mkdir()
        partial.chmod(MODE)  # whatever the umask

    async def make_disk(self, name: str, size_bytes: int) -> Path:
        """The file in a directory that becomes a block device, of at least this size; sparse. OSError."""
        return await asyncio.to_thread(self._make_disk, self.path(name) / DISK, size_bytes)

    def _make_disk(self, path: Path, size_bytes: int) -> Path:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < size_bytes:
                os.ftruncate(descriptor, size_bytes)
                loop_devices.tell_capacity(path)
        finally:
            os.close(descriptor)
        return path

    async def remove(self, name: str) -> None:
        """Remove a directory with all that is in it; succeeds when there is none. OSError."""
        path = self.path(name)
        partial, gone = self.root / f".{name}.partial", self.root / f".{name}.removed"
        await asyncio.to_thread(self._remove, path, partial, gone)

    def _remove(self, path: Path, partial: Path, gone: Path) -> None:
        self._clear(partial)  # a copy that was interrupted
        self._clear(gone)  # an earlier removal that was interrupted
        with contextlib.suppress(FileNotFoundError):
            path.rename(gone)
        self._clear(gone)

    def _clear(self, path: Path) -> None:
        if os.path.lexists(path):
            self._remove_tree(path)


async def copy_directory(source: Path, target: Path) -> None:
    """Copy one directory into another that is there and empty, devices behind it written out first. OSError."""
    await asyncio.to_thread(loop_devices.flush, source / DISK)
    command = (sys.executable, "-I", "-S", copying.__file__, str(source), str(target))
    try:
        outcome = await run_command(*command, seconds_max=COPY_SECONDS_MAX)
    except TimeoutError:
        raise OSError(f"copying {source.name} took more than {COPY_SECONDS_MAX:.0f} s") from None
    if outcome.code != 0:
        raise OSError(f"copying {source.name}: {outcome.errors.strip()[:500]}")
