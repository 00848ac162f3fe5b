"""Changes in folders, as the kernel tells them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.aiokit.inotify import CREATE, DELETE, DELETE_SELF, GONE, MOVED_FROM, MOVED_TO, Change, Inotify


async def changes(inotify: Inotify) -> list[Change]:
    return await asyncio.wait_for(inotify.changes(), 10)


async def test_what_happens_in_a_folder(tmp_path: Path) -> None:
    with Inotify() as inotify:
        inotify.watch(tmp_path, CREATE | DELETE | MOVED_FROM | MOVED_TO)
        waiting = asyncio.create_task(changes(inotify))
        await asyncio.sleep(0)
        (tmp_path / "grün").touch()
        assert await waiting == [Change(tmp_path, CREATE, "grün")]
        (tmp_path / "grün").rename(tmp_path / "b")
        (tmp_path / "b").unlink()
        assert await changes(inotify) == [
            Change(tmp_path, MOVED_FROM, "grün"),
            Change(tmp_path, MOVED_TO, "b"),
            Change(tmp_path, DELETE, "b"),
        ]


async def test_several_folders_one_of_which_goes(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    b.mkdir()
    with Inotify() as inotify:
        for folder in (a, b, a):
            inotify.watch(folder, CREATE | DELETE_SELF)
        b.rmdir()
        found = await changes(inotify)
        assert {change.folder for change in found} == {b}
        assert all(change.mask & GONE for change in found)
        (a / "x").touch()
        assert await changes(inotify) == [Change(a, CREATE, "x")]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with Inotify() as inotify, pytest.raises(FileNotFoundError, match="missing"):
        inotify.watch(tmp_path / "missing", CREATE)
