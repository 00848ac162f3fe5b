"""Trees are removed whole, however deep, and nothing outside of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.aiokit.trees import remove_tree


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("keep")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").write_text("data")
    (tree / "a" / "b" / "link").symlink_to(outside)
    (tree / "link").symlink_to(outside / "file")
    os.mkfifo(tree / "pipe")
    remove_tree(tree)
    remove_tree(tree)
    (tmp_path / "top").symlink_to(outside)
    remove_tree(tmp_path / "top")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["outside"]
    assert (outside / "file").read_text() == "keep"


def test_a_tree_may_be_deeper_than_the_stack(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    make_deep(tree, 1500)
    remove_tree(tree)
    assert not tree.exists()


def make_deep(tree: Path, levels: int) -> None:
    here = os.open(tree, os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def test_what_cannot_be_removed_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("data")
    with pytest.raises(OSError, match="file"):
        remove_tree(tmp_path / "file")
    assert (tmp_path / "file").exists()
