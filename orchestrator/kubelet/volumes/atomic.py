"""Swaps the files of a volume all at once, under the eyes of running containers.

    volume/
      ..2026_01_02_03_04_05.123456789/key     the real files
      ..data -> ..2026_01_02_03_04_05.123456789
      key    -> ..data/key                    what a container opens

An update writes a new directory and renames a new `..data` over the old one: a reader sees the old set
or the new set, never a mixture. Mirrors pkg/volume/util/atomic_writer.go.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from orchestrator.kubelet.volumes.ownership import OWN_RIGHTS, Ownership
from orchestrator.kubelet.volumes.payload import FileContent

DATA = "..data"
_NEW_DATA = "..data_tmp"
PATH_BYTES_MAX = 4096
NAME_BYTES_MAX = 255


class UnsafePath(Exception):
    """A file's path would leave its volume or clash with the links of the swap."""


def check_path(path: str) -> None:
    """Raises UnsafePath unless this is a plain relative path that does not begin with two dots."""
    parts = PurePosixPath(path).parts
    if not path or path.startswith("/") or not parts:
        raise UnsafePath(f"invalid path: must be relative path: {path!r}")
    if ".." in parts or "\0" in path:
        raise UnsafePath(f"invalid path: must not contain '..': {path!r}")
    if parts[0].startswith(".."):
        raise UnsafePath(f"invalid path: must not start with '..': {path!r}")
    if len(path.encode()) > PATH_BYTES_MAX or any(len(part.encode()) > NAME_BYTES_MAX for part in parts):
        raise UnsafePath("invalid path: must be less than or equal to 4096 characters")


def write_payload(
    directory: Path,
    payload: Mapping[str, FileContent],
    *,
    stamp: str,
    group: int | None = None,
    ownership: Ownership = OWN_RIGHTS,
) -> bool:  # fmt: skip
    """Make the directory show exactly these files; False when it did already.

    `stamp` names the new set and must be new itself. `group` owns the files, which it may read then.
    """
    for path in payload:
        check_path(path)
    directory.mkdir(parents=True, exist_ok=True)
    current = _current_set(directory)
    if current is not None and _shows(directory / current, payload, group):
        _link_names(directory, payload)
        return False
    fresh = directory / f"..{stamp}"
    fresh.mkdir(mode=0o755)
    try:
        os.chmod(fresh, 0o755)
        for path, content in payload.items():
            _write_file(fresh, path, content, group, ownership)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)  # it is tried again, and must not fill the disk meanwhile
        raise
    new_data = directory / _NEW_DATA
    new_data.unlink(missing_ok=True)
    os.symlink(fresh.name, new_data)
    os.rename(new_data, directory / DATA)
    _link_names(directory, payload)
    for entry in os.scandir(directory):
        is_old_set = entry.name.startswith("..") and entry.name not in (DATA, _NEW_DATA, fresh.name)
        if is_old_set and entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
    return True


def _current_set(directory: Path) -> str | None:
    try:
        name = os.readlink(directory / DATA)
    except OSError:
        return None
    return name if (directory / name).is_dir() else None


def _shows(directory: Path, payload: Mapping[str, FileContent], group: int | None) -> bool:
    found: set[str] = set()
    for root, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(root, name)
            relative = os.path.relpath(path, directory)
            wanted = payload.get(relative)
            if wanted is None:
                return False
            found.add(relative)
            status = os.stat(path)
            if status.st_size != len(wanted.data) or status.st_mode & 0o7777 != _mode_of(wanted, group):
                return False
            if wanted.user is not None and status.st_uid != wanted.user:
                return False
            with open(path, "rb") as stream:
                if stream.read() != wanted.data:
                    return False
    return len(found) == len({os.path.normpath(path) for path in payload})


def _mode_of(content: FileContent, group: int | None) -> int:
    return content.mode | 0o440 if group is not None else content.mode


def _write_file(
    directory: Path, path: str, content: FileContent, group: int | None, ownership: Ownership
) -> None:  # fmt: skip
    target = directory / path
    missing = [parent for parent in target.relative_to(directory).parents if str(parent) != "."]
    for parent in reversed(missing):
        folder = directory / parent
        folder.mkdir(exist_ok=True)
        os.chmod(folder, 0o755)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        view = memoryview(content.data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fchmod(descriptor, _mode_of(content, group))
    finally:
        os.close(descriptor)
    if group is not None or content.user is not None:
        ownership.chown(target, -1 if content.user is None else content.user, -1 if group is None else group)


def _link_names(directory: Path, payload: Mapping[str, FileContent]) -> None:
    """What a container sees at the top: a link through `..data` for each first part of a path."""
    names = {PurePosixPath(path).parts[0] for path in payload}
    for name in names:
        link = directory / name
        if not link.is_symlink():
            os.symlink(f"{DATA}/{name}", link)
    for entry in os.scandir(directory):
        if not entry.name.startswith("..") and entry.name not in names:
            os.unlink(entry.path)
