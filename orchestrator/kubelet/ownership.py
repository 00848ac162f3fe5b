"""Gives the files of a volume to a pod's `fsGroup`.

Owns the walk and its rules. Never follows a link. Mirrors pkg/volume/volume_linux.go.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_FILE_BITS = 0o660
_DIRECTORY_BITS = 0o770 | stat.S_ISGID


def give_to_group(root: Path, group: int, *, policy: str = "Always") -> None:
    """Let a group read and write everything below `root`; new files inherit it.

    With `OnRootMismatch` nothing is touched when the root directory is right already
    (Kubernetes docs, "fsGroupChangePolicy").
    """
    if policy == "OnRootMismatch" and _is_given(root, group):
        return
    # The root comes last, so that an interrupted walk is begun again.
    for directory, _, names in os.walk(root, topdown=False):
        for name in names:
            _give(os.path.join(directory, name), group)
        _give(directory, group)


def _is_given(root: Path, group: int) -> bool:
    status = os.stat(root)
    return status.st_gid == group and status.st_mode & _DIRECTORY_BITS == _DIRECTORY_BITS


def _give(path: str, group: int) -> None:
    status = os.lstat(path)
    os.chown(path, -1, group, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        return
    bits = _DIRECTORY_BITS if stat.S_ISDIR(status.st_mode) else _FILE_BITS
    os.chmod(path, stat.S_IMODE(status.st_mode) | bits)
