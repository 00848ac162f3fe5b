"""Directories of volumes: made once, copied whole, removed without a look outside."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from orchestrator.provisioner.directories import Directories, copy_directory


@pytest.fixture
def directories(tmp_path: Path) -> Directories:
    return Directories(tmp_path / "volumes")


async def test_a_directory_is_open_to_every_user_below_a_closed_folder(directories: Directories) -> None:
    path = await directories.make("pvc-1")
    assert path.stat().st_mode & 0o777 == 0o777
    assert directories.root.stat().st_mode & 0o777 == 0o700


async def test_making_it_again_keeps_what_is_in_it(directories: Directories) -> None:
    (await directories.make("pvc-1") / "file").write_text("data")
    assert ((await directories.make("pvc-1")) / "file").read_text() == "data"


async def copied(directories: Directories, name: str, source: str) -> Path:
    return await directories.make(name, fill=partial(copy_directory, directories.path(source)))


async def test_a_copy_has_everything_and_is_independent(directories: Directories) -> None:
    source = await directories.make("pvc-1")
    (source / "sub").mkdir(mode=0o750)
    (source / "sub" / ".hidden").write_text("data")
    (source / "link").symlink_to("/etc/hostname")
    copy = await copied(directories, "pvc-2", "pvc-1")
    (source / "sub" / ".hidden").write_text("changed")
    assert (copy / "sub" / ".hidden").read_text() == "data"
    assert (copy / "sub").stat().st_mode & 0o777 == 0o750
    assert (copy / "link").is_symlink()


async def test_a_copy_that_failed_leaves_no_directory(directories: Directories) -> None:
    with pytest.raises(OSError, match="copying"):
        await copied(directories, "pvc-2", "pvc-none")
    assert not directories.path("pvc-2").exists()
    await directories.remove("pvc-2")
    assert list(directories.root.iterdir()) == []


async def test_removing_never_follows_a_link(directories: Directories, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("keep")
    path = await directories.make("pvc-1")
    (path / "escape").symlink_to(outside)
    await directories.remove("pvc-1")
    (directories.root / "pvc-2").symlink_to(outside)
    await directories.remove("pvc-2")
    assert (outside / "file").read_text() == "keep"
    assert list(directories.root.iterdir()) == []
    await directories.remove("pvc-1")


@pytest.mark.parametrize("name", ["", ".", "..", ".pvc-1.partial", "a/b", "../outside"])
async def test_a_name_is_one_path_component(directories: Directories, name: str) -> None:
    with pytest.raises(ValueError, match="no name of a directory"):
        await directories.make(name)


async def test_a_disk_is_a_sparse_file_that_only_grows(directories: Directories) -> None:
    await directories.make("pvc-1")
    disk = await directories.make_disk("pvc-1", 1 << 20)
    disk.write_bytes(b"data")
    assert (await directories.make_disk("pvc-1", 4 << 20)).stat().st_size == 4 << 20
    assert (await directories.make_disk("pvc-1", 1 << 20)).stat().st_size == 4 << 20
    assert disk.read_bytes()[:4] == b"data"
    assert disk.stat().st_blocks * 512 < 1 << 20
    copy = await copied(directories, "pvc-2", "pvc-1")
    assert (copy / "disk").read_bytes()[:4] == b"data"
