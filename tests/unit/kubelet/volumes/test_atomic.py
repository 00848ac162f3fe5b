"""The symlink swap: a volume shows the old files or the new ones, never a mixture."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.kubelet.volumes.atomic import UnsafePath, check_path, write_payload
from orchestrator.kubelet.volumes.payload import FileContent

names = st.sampled_from(["a", "b", "c.d", ".hidden", "sub/x", "sub/y", "other/deep/z"])
modes = st.sampled_from([0o644, 0o600, 0o400, 0o755])
payloads = st.dictionaries(names, st.builds(FileContent, st.binary(max_size=20), modes), max_size=6)


def shown(directory: Path) -> dict[str, FileContent]:
    """What somebody sees who lists the volume, as kubectl exec would, without the swap's own entries."""
    found = {}
    for root, _, files in os.walk(directory, followlinks=True):
        relative = os.path.relpath(root, directory)
        if relative.split(os.sep)[0].startswith(".."):
            continue
        for file in files:
            path = Path(root, file)
            name = os.path.normpath(os.path.join(relative, file))
            found[name] = FileContent(path.read_bytes(), path.stat().st_mode & 0o7777)
    return found


@given(st.lists(payloads, min_size=1, max_size=5))
def test_volume_always_shows_the_last_payload_and_leaves_nothing_else(history: list[dict[str, FileContent]]) -> None:
    stamps = itertools.count()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "volume"
        for payload in history:
            write_payload(directory, payload, stamp=f"s{next(stamps)}")
            assert shown(directory) == payload
            assert not write_payload(directory, payload, stamp=f"s{next(stamps)}"), "equal files were written again"
            sets = [name for name in os.listdir(directory) if name.startswith("..") and name != "..data"]
            assert len(sets) == 1


def test_open_directory_keeps_the_old_files_until_it_looks_again(tmp_path: Path) -> None:
    write_payload(tmp_path, {"a": FileContent(b"1", 0o644), "b": FileContent(b"1", 0o644)}, stamp="one")
    before = os.readlink(tmp_path / "..data")
    seen: list[str] = []
    original = os.rename

    def rename(source: Path, target: Path) -> None:
        # At the moment of the swap the old set is complete behind ..data, and the new one is complete too.
        seen.append((tmp_path / "a").read_text() + (tmp_path / "b").read_text())
        original(source, target)
        seen.append((tmp_path / "a").read_text() + (tmp_path / "b").read_text())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rename", rename)
        write_payload(tmp_path, {"a": FileContent(b"2", 0o644), "b": FileContent(b"2", 0o644)}, stamp="two")
    assert seen == ["11", "22"]
    assert not (tmp_path / before).exists()


def test_interrupted_write_is_repaired(tmp_path: Path) -> None:
    write_payload(tmp_path, {"a": FileContent(b"1", 0o644)}, stamp="one")
    (tmp_path / "..two").mkdir()
    os.symlink("..two", tmp_path / "..data_tmp")
    write_payload(tmp_path, {"a": FileContent(b"2", 0o644)}, stamp="three")
    assert shown(tmp_path) == {"a": FileContent(b"2", 0o644)}
    assert not (tmp_path / "..two").exists()


def test_group_may_read(tmp_path: Path) -> None:
    write_payload(tmp_path, {"a": FileContent(b"1", 0o400)}, stamp="one", group=os.getgid())
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o440


@pytest.mark.parametrize("path", ["", "/a", "../a", "a/../b", "..data", "..x/y", "a\0b", "x" * 256])
def test_paths_that_would_leave_the_volume(path: str) -> None:
    with pytest.raises(UnsafePath):
        check_path(path)


@pytest.mark.parametrize("path", ["a", "a/b", ".a", "a..b", "a/..b"])
def test_paths_that_are_fine(path: str) -> None:
    check_path(path)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    clash = {"a": FileContent(b"1", 0o644), "a/b": FileContent(b"2", 0o644)}
    with pytest.raises(OSError, match="a"):
        write_payload(tmp_path, clash, stamp="one")
    assert list(tmp_path.iterdir()) == []
