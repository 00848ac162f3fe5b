"""Snapshots of directory volumes: copies below one folder, each with what is known about it.

`<root>/<handle>/data` is what the volume held, `<root>/<handle>/snapshot.json` when it was taken and from how big a
volume. So a handle alone is enough to use a snapshot again, in this cluster or in one with a copy of the folder.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
from msgspec import Struct

from orchestrator.aiokit.clock import Clock
from orchestrator.provisioner.directories import MODE, Directories, copy_directory

_DATA, _FACTS = "data", "snapshot.json"
_NANOSECONDS = 1_000_000_000


class Facts(Struct, frozen=True, rename="camel"):
    """What is known about a snapshot."""

    creation_time: int
    """When its copy began, in nanoseconds since 1970."""
    size_bytes: int
    """The size of its volume, and the least of one that begins with it."""
    volume_mode: str


class DirectorySnapshots:
    """Below `snapshots.root`, of directories in `volumes`."""

    def __init__(self, snapshots: Directories, volumes: Directories, *, clock: Clock) -> None:
        self._snapshots = snapshots
        self._volumes = volumes
        self._clock = clock

    def data(self, handle: str) -> Path:
        """Where the data of a snapshot are; ValueError for what can be none's handle."""
        return self._snapshots.path(handle) / _DATA

    async def take(self, handle: str, volume: str, *, size_bytes: int, volume_mode: str) -> Facts:
        """Copy a volume, once for each handle. OSError, ValueError (an impossible handle or volume)."""
        source = self._volumes.path(volume)

        async def fill(partial: Path) -> None:
            taken = int(self._clock.now().timestamp() * _NANOSECONDS)
            facts = Facts(creation_time=taken, size_bytes=size_bytes, volume_mode=volume_mode)
            await asyncio.to_thread(_prepare, partial, facts)
            await copy_directory(source, partial / _DATA)

        await self._snapshots.make(handle, fill=fill)
        return await self.find(handle)

    async def find(self, handle: str) -> Facts:
        """What is known about a snapshot. OSError (there is none), ValueError (there can be none)."""
        text = await asyncio.to_thread((self._snapshots.path(handle) / _FACTS).read_bytes)
        return msgspec.json.decode(text, type=Facts)

    async def remove(self, handle: str) -> None:
        """Remove a snapshot, a part of one included; succeeds when there is none. OSError, ValueError."""
        await self._snapshots.remove(handle)


def _prepare(partial: Path, facts: Facts) -> None:
    partial.chmod(0o700)
    (partial / _FACTS).write_bytes(msgspec.json.encode(facts))
    data = partial / _DATA
    data.mkdir()
    data.chmod(MODE)
