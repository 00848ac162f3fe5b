"""What lies on a disk: sizes of directory trees, room on file systems; blocking. Mirrors cadvisor's fs handler."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.component.usage import DiskUsage

ENTRIES_MAX = 1_000_000
"""So that a tree that is larger than any we can watch costs a bounded time."""


def tree_usage(*roots: Path) -> DiskUsage:
    """Bytes and inodes below some directories (or of files), each inode once, other file systems left out."""
    used, seen = 0, set[tuple[int, int]]()
    for root in roots:
        try:
            own = root.lstat()
        except OSError:
            continue  # it is gone
        used += own.st_blocks * 512
        seen.add((own.st_dev, own.st_ino))
        pending = [str(root)] if root.is_dir() else []
        while pending and len(seen) < ENTRIES_MAX:
            try:
                entries = [*os.scandir(pending.pop())]
            except OSError:
                continue  # removed while we look, or another's mount
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                key = (found.st_dev, found.st_ino)
                if found.st_dev != own.st_dev or key in seen:
                    continue
                seen.add(key)
                used += found.st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
    return DiskUsage(used_bytes=used, inodes_used=len(seen))


def file_system_usage(path: Path) -> DiskUsage:
    """The file system that a path is on; OSError."""
    disk = os.statvfs(path)
    return DiskUsage(
        used_bytes=(disk.f_blocks - disk.f_bfree) * disk.f_frsize,
        inodes_used=disk.f_files - disk.f_ffree,
        available_bytes=disk.f_bavail * disk.f_frsize,
        capacity_bytes=disk.f_blocks * disk.f_frsize,
        inodes=disk.f_files,
        inodes_free=disk.f_ffree,
    )
