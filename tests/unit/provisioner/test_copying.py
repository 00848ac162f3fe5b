"""The copy of a tree: whole, sparse, and never outside of it, whatever its owner does meanwhile."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.aiokit.trees import remove_tree
from orchestrator.provisioner import copying
from orchestrator.provisioner.copying import copy_tree
from tests.unit.aiokit.test_trees import make_deep


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    made.mkdir()
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    made = tmp_path / "target"
    made.mkdir()
    return made


def test_attributes_are_kept(source: Path, target: Path) -> None:
    (source / "file").write_text("data")
    (source / "file").chmod(0o640)
    os.utime(source / "file", ns=(1_000_000_000, 2_000_000_000))
    os.setxattr(source / "file", "user.tag", b"x")
    if os.geteuid() == 0:
        os.chown(source / "file", 1000, 1001)
    source.chmod(0o2770)
    copy_tree(str(source), str(target))
    before, after = (source / "file").stat(), (target / "file").stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert (after.st_mtime_ns, os.getxattr(target / "file", "user.tag")) == (2_000_000_000, b"x")
    assert stat.S_IMODE(target.stat().st_mode) == 0o2770


def test_links_and_pipes_stay_what_they_are(source: Path, target: Path) -> None:
    (source / "sub").mkdir()
    (source / "sub" / "first").write_text("data")
    os.link(source / "sub" / "first", source / "second")
    (source / "link").symlink_to("sub/first")
    (source / "out").symlink_to("/etc")
    os.mkfifo(source / "pipe", 0o600)
    copy_tree(str(source), str(target))
    assert (target / "sub" / "first").stat().st_ino == (target / "second").stat().st_ino
    assert os.readlink(target / "link") == "sub/first"
    assert os.readlink(target / "out") == "/etc"
    assert stat.S_ISFIFO((target / "pipe").stat().st_mode)


def test_holes_stay_holes(source: Path, target: Path) -> None:
    with (source / "disk").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"data")
    copy_tree(str(source), str(target))
    copy = target / "disk"
    assert copy.stat().st_size == 64 << 20
    assert copy.stat().st_blocks * 512 < 1 << 20
    with copy.open("rb") as file:
        file.seek(32 << 20)
        assert file.read(5) == b"data\0"


def test_a_tree_may_be_deeper_than_the_stack(source: Path, target: Path) -> None:
    make_deep(source, 1100)
    program = [sys.executable, "-I", "-S", copying.__file__, str(source), str(target)]
    assert subprocess.run(program, check=False).returncode == 0
    here, levels = os.open(target, os.O_DIRECTORY), 0
    while os.listdir(here):
        below = os.open("d", os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here, levels = below, levels + 1
    os.close(here)
    assert levels == 1100
    remove_tree(source)
    remove_tree(target)


def test_blocks_are_shared_where_the_file_system_can(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "file").write_text("data")
    asked: list[int] = []

    def clone(descriptor: int, request: int, other: int) -> int:
        asked.append(request)
        return os.write(descriptor, os.pread(other, 100, 0))

    monkeypatch.setattr(fcntl, "ioctl", clone)
    copy_tree(str(source), str(target))
    assert (target / "file").read_text() == "data"
    assert asked == [0x40049409]


@pytest.mark.parametrize("becomes", ["link", "nothing", "file"])
def test_what_changes_under_the_copy_leads_nowhere(
    becomes: str, source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at an entry and its opening it is exchanged for a link to something outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (source / "sub").mkdir()
    (source / "stays").write_text("data")
    real = os.open

    def exchanged(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "sub" and not (source / "sub").is_symlink() and (source / "sub").is_dir():
            (source / "sub").rmdir()
            if becomes == "link":
                (source / "sub").symlink_to(outside)
            elif becomes == "file":
                (source / "sub").write_text("a file now")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", exchanged)
    copy_tree(str(source), str(target))
    assert (target / "stays").read_text() == "data"
    assert (target / "sub").is_symlink() is (becomes == "link")
    assert (target / "sub").is_file() is (becomes == "file")


def test_a_failure_names_the_file(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "sub").mkdir()
    (source / "sub" / "file").write_text("data")

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(copying, "_copy_data", full)
    with pytest.raises(OSError, match="No space left on device: 'sub/file'"):
        copy_tree(str(source), str(target))
