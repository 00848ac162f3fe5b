"""Owners of a pod's files: gives a volume to the pod's `fsGroup`, and removes what containers wrote.

Owns the walk and its rules. Never follows a link. Needs the standard library only: helper containers run it too.
Mirrors pkg/volume/volume_linux.go.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Protocol

from orchestrator.aiokit.trees import remove_tree

_FILE_BITS = 0o660
_DIRECTORY_BITS = 0o770 | stat.S_ISGID


class Ownership(Protocol):
    """Changes what only root may, wherever the rights for it come from; every method raises OSError."""

    @property
    def gives_to_users(self) -> bool:
        """Whether files can be given to another user and still be read by this process."""
        ...

    def chown(self, path: Path, user: int, group: int) -> None:
        """Give a file away, a link itself; -1 leaves a part as it is."""
        ...

    def give_to_group(self, root: Path, group: int, policy: str) -> None:
        """See the function of this name."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a directory with everything in it, whoever owns that."""
        ...


class OwnRights:
    """With the rights of this process."""

    gives_to_users = True

    def chown(self, path: Path, user: int, group: int) -> None:
        os.chown(path, user, group, follow_symlinks=False)

    def give_to_group(self, root: Path, group: int, policy: str) -> None:
        give_to_group(root, group, policy=policy)

    def remove(self, path: Path) -> None:
        remove_tree(path)


OWN_RIGHTS = OwnRights()


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
