"""Sizes of directory trees."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.kubelet.stats.disk import file_system_usage, tree_usage


def test_a_tree_counts_each_inode_once(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a").write_bytes(os.urandom(100_000))
    os.link(tmp_path / "below" / "a", tmp_path / "again")
    (tmp_path / "link").symlink_to("/")
    usage = tree_usage(tmp_path)
    assert usage.inodes_used == 4  # the folder, the one below, the file, the link
    assert 100_000 <= usage.used_bytes < 200_000


def test_what_is_gone_has_nothing(tmp_path: Path) -> None:
    assert tree_usage(tmp_path / "none").used_bytes == 0


def test_a_file_system_has_a_size(tmp_path: Path) -> None:
    usage = file_system_usage(tmp_path)
    assert 0 < usage.available_bytes <= usage.capacity_bytes
