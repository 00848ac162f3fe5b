"""Mounts of the kubelet's own: tmpfs for volumes in memory, bind mounts for sub-paths.

Owns the system calls and the rule that nothing mounted is ever deleted through. Never decides what
is mounted. Mirrors k8s.io/mount-utils and pkg/volume/util/subpath.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from orchestrator.aiokit.libc import last_error, libc

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_BIND, _MS_REC, _MS_SHARED = 4096, 16384, 1 << 20
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_ROUNDS_MAX = 8
_escaped = re.compile(r"\\([0-7]{3})")
"""How the kernel writes white space and backslashes there."""


def _mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    arguments = (os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), os.fsencode(data))
    if libc().mount(*arguments) != 0:
        raise last_error(f"mount {kind or 'bind'}", target)


def mount_tmpfs(target: Path, *, size_bytes: int = 0, mode: int = 0o755, group: int | None = None) -> None:
    """Memory at `target`, at most `size_bytes` (0: half of the machine's, as the kernel says); idempotent.

    `mode` and `group` (None: root's) are those of its root directory.
    """
    if os.path.ismount(target):
        return
    options = f"mode={mode:o}"
    if size_bytes:
        options += f",size={size_bytes}"
    if group is not None:
        options += f",gid={group}"
    _mount("tmpfs", str(target), "tmpfs", _MS_NOSUID | _MS_NODEV, options)


def mount_file_system(device: Path, target: Path, kind: str) -> None:
    """The file system of a device at `target`."""
    _mount(str(device), str(target), kind, 0, "")


def bind_descriptor(descriptor: int, target: Path) -> None:
    """Show an open file or directory at `target`, whatever happens to its path later."""
    if os.path.ismount(target):
        return
    _mount(f"/proc/self/fd/{descriptor}", str(target), "", _MS_BIND | _MS_REC, "")


def mount_layers(target: Path, layers: Sequence[str]) -> None:
    """Show the layers of an image, topmost first, read-only and without programs or devices; idempotent."""
    if os.path.ismount(target):
        return
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    if len(layers) > 1:
        _mount("overlay", str(target), "overlay", flags, "lowerdir=" + ":".join(layers))
        return
    _mount(layers[0], str(target), "", _MS_BIND, "")  # overlay wants two
    _mount("", str(target), "", _MS_BIND | _MS_REMOUNT | flags, "")


def share_mount(target: Path) -> None:
    """Let mounts below `target` be seen where it is bound and the other way round; idempotent."""
    if not os.path.ismount(target):
        _mount(str(target), str(target), "", _MS_BIND, "")
    _mount("", str(target), "", _MS_SHARED, "")


def mounted_below(directory: Path) -> list[str]:
    """Mount points at or below a directory, the last mounted first."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        return mount_points(stream, str(directory))


def mount_points(mountinfo: Iterable[str], directory: str) -> list[str]:
    """The same out of the lines of `/proc/self/mountinfo` (proc_pid_mountinfo(5))."""
    points = (_escaped.sub(lambda found: chr(int(found[1], 8)), line.split(" ", 5)[4]) for line in mountinfo)
    return [point for point in points if point == directory or point.startswith(f"{directory}/")][::-1]


def unmount_below(directory: Path) -> int:
    """Unmount everything at or below a directory; returns how many mounts there were. OSError when one stays."""
    directory = Path(os.path.realpath(directory))
    count = 0
    for _ in range(_ROUNDS_MAX):  # more may be mounted meanwhile
        points = mounted_below(directory)
        if not points:
            return count
        count += len(points)
        for point in points:
            if libc().umount2(os.fsencode(point), _MNT_DETACH | _UMOUNT_NOFOLLOW) != 0:
                error = last_error("unmount", point)
                if error.errno not in (errno.EINVAL, errno.ENOENT):
                    raise error
    raise OSError(errno.EBUSY, "something stays mounted", str(directory))


class UnsafeSubPath(Exception):
    """A sub-path leads out of its volume."""


def open_beneath(volume: Path, subpath: str, *, create: bool = True) -> int:
    """Open what a sub-path names, never leaving the volume; missing directories are made as the volume's own is.

    Links are resolved first, as a volume may contain some for good reasons; the resolved path is then
    opened part by part without following any link, so that a container that swaps a directory for a
    link in between wins nothing. Returns an O_PATH descriptor.
    """
    if subpath.startswith("/") or ".." in PurePosixPath(subpath).parts:
        raise UnsafeSubPath(f"subPath {subpath!r} must be relative and must not contain '..'")
    root = Path(os.path.realpath(volume))
    resolved = Path(os.path.realpath(root / subpath))
    if not resolved.is_relative_to(root):
        raise UnsafeSubPath(f"subpath {subpath!r} is not within the volume path")
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY)
    create_mode = stat.S_IMODE(os.fstat(descriptor).st_mode) if create else None
    try:
        for part in resolved.relative_to(root).parts:
            following = _open_part(descriptor, part, create_mode)
            os.close(descriptor)
            descriptor = following
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise UnsafeSubPath(f"subpath {subpath!r} changed while it was opened") from error
        raise
    return descriptor


def _open_part(parent: int, name: str, create_mode: int | None) -> int:
    flags = os.O_PATH | os.O_NOFOLLOW
    try:
        descriptor = os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        if create_mode is None:
            raise
        os.mkdir(name, 0o700, dir_fd=parent)
        made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        os.fchmod(made, create_mode)  # what the umask would have taken away
        os.close(made)
        descriptor = os.open(name, flags | os.O_DIRECTORY, dir_fd=parent)
    if stat.S_ISLNK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
    return descriptor
