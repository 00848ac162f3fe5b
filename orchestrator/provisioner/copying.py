"""Copies a directory tree that somebody may be writing to: `python copying.py SOURCE TARGET`, a program of its own.

It is a process and no thread, so that a big copy neither takes turns with the API server nor outlives a time limit.
Therefore nothing but the standard library is imported. Every step goes from an open directory to an entry of it and
never through a symbolic link, so whoever writes below SOURCE cannot lead the copy to files elsewhere. Other file
systems that are mounted below SOURCE are left out.

A file shares its blocks with the copy where the file system can (FICLONE), which is also one moment of that file; else
its data are read one after the other, holes excepted. Owners, modes, times, hard links and extended attributes are
kept. What vanishes while it is being copied is not part of the copy.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import stat
import sys
from collections.abc import Iterator

FICLONE = 0x40049409
"""linux/fs.h"""
CHUNK_BYTES = 1 << 24
ATTEMPTS_MAX = 3
"""How often an entry is looked at that is another kind of file each time."""

_NOT_CLONED = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.ETXTBSY)
_CHANGED = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = _READ | os.O_DIRECTORY


class _Folder:
    """A directory that is being copied: both sides open, and what of it is still to be done."""

    def __init__(self, source: int, target: int, path: str) -> None:
        self.source = source
        self.target = target
        self.path = path
        self.names: Iterator[str] = iter(os.listdir(source))

    def close(self) -> None:
        os.close(self.source)
        os.close(self.target)


def copy_tree(source: str, target: str) -> None:
    """Copy what is in a directory, and its own attributes, into another that is there and empty. OSError."""
    root = _Folder(os.open(source, _DIRECTORY), os.open(target, _DIRECTORY), "")
    device = os.fstat(root.source).st_dev
    links: dict[int, str] = {}
    folders = [root]  # no recursion: trees may be deeper than Python's stack
    try:
        while folders:
            folder = folders[-1]
            name = next(folder.names, None)
            if name is None:
                _keep_attributes(folder.source, folder.target)
                folders.pop()
                if folder is not root:
                    folder.close()
                continue
            try:
                below = _copy_entry(root, folder, name, device, links)
            except OSError as error:
                raise OSError(error.errno, error.strerror, f"{folder.path}{name}") from error
            if below is not None:
                folders.append(below)
    finally:
        for folder in folders[1:]:
            folder.close()
        root.close()


def _copy_entry(root: _Folder, folder: _Folder, name: str, device: int, links: dict[int, str]) -> _Folder | None:
    """One entry; a directory is only made, and returned so that what is in it comes next."""
    for _ in range(ATTEMPTS_MAX):
        try:
            seen = os.stat(name, dir_fd=folder.source, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if seen.st_dev != device and not stat.S_ISLNK(seen.st_mode):
            return None
        try:
            if stat.S_ISDIR(seen.st_mode):
                return _enter(folder, name, device)
            if stat.S_ISREG(seen.st_mode):
                _copy_file(root, folder, name, device, links)
            else:
                _copy_special(folder, name, seen)
            return None
        except OSError as error:
            if error.errno not in _CHANGED:
                raise
    return None


def _enter(folder: _Folder, name: str, device: int) -> _Folder | None:
    source = os.open(name, _DIRECTORY, dir_fd=folder.source)
    try:
        if os.fstat(source).st_dev != device:
            os.close(source)
            return None
        os.mkdir(name, 0o700, dir_fd=folder.target)
        target = os.open(name, _DIRECTORY, dir_fd=folder.target)
    except OSError:
        os.close(source)
        raise
    return _Folder(source, target, f"{folder.path}{name}/")


def _copy_file(root: _Folder, folder: _Folder, name: str, device: int, links: dict[int, str]) -> None:
    source = os.open(name, _READ, dir_fd=folder.source)
    try:
        opened = os.fstat(source)
        if not stat.S_ISREG(opened.st_mode) or opened.st_dev != device:
            raise OSError(errno.ENOENT, "another file by now")
        if opened.st_nlink > 1 and (first := links.get(opened.st_ino)) is not None:
            with contextlib.suppress(OSError):  # a path may be too long; then it is a file of its own
                os.link(first, name, src_dir_fd=root.target, dst_dir_fd=folder.target, follow_symlinks=False)
                return
        target = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder.target)
        try:
            _copy_data(source, target, opened.st_size)
            _keep_attributes(source, target)
        finally:
            os.close(target)
        if opened.st_nlink > 1:
            links.setdefault(opened.st_ino, f"{folder.path}{name}")
    finally:
        os.close(source)


def _copy_data(source: int, target: int, size: int) -> None:
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno not in _NOT_CLONED:
            raise
    else:
        return
    position = 0
    while position < size:
        try:
            position = os.lseek(source, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # a hole to the end
        end = min(os.lseek(source, position, os.SEEK_HOLE), size)
        while position < end:
            data = os.pread(source, min(CHUNK_BYTES, end - position), position)
            if not data:
                break
            written = 0
            while written < len(data):
                written += os.pwrite(target, data[written:], position + written)
            position += len(data)
        else:
            continue
        break  # the file became shorter
    os.ftruncate(target, size)


def _copy_special(folder: _Folder, name: str, seen: os.stat_result) -> None:
    """A symbolic link as it is, a pipe, a socket or a device."""
    if stat.S_ISLNK(seen.st_mode):
        os.symlink(os.readlink(name, dir_fd=folder.source), name, dir_fd=folder.target)
    else:
        os.mknod(name, seen.st_mode, seen.st_rdev, dir_fd=folder.target)
        os.chmod(name, stat.S_IMODE(seen.st_mode), dir_fd=folder.target)
    _own(name, seen, dir_fd=folder.target)
    os.utime(name, ns=(seen.st_atime_ns, seen.st_mtime_ns), dir_fd=folder.target, follow_symlinks=False)


def _keep_attributes(source: int, target: int) -> None:
    seen = os.fstat(source)
    _own(target, seen)
    with contextlib.suppress(OSError):  # not every file system has them
        for attribute in os.listxattr(source):
            with contextlib.suppress(OSError):
                os.setxattr(target, attribute, os.getxattr(source, attribute))
    os.fchmod(target, stat.S_IMODE(seen.st_mode))  # after the owner, whose change takes away setuid
    os.utime(target, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def _own(target: int | str, seen: os.stat_result, *, dir_fd: int | None = None) -> None:
    try:
        if isinstance(target, int):
            os.fchown(target, seen.st_uid, seen.st_gid)
        else:
            os.chown(target, seen.st_uid, seen.st_gid, dir_fd=dir_fd, follow_symlinks=False)
    except PermissionError:
        if os.geteuid() == 0:
            raise  # others may only make files of their own, as with cp


def main(source: str, target: str) -> int:
    """The program: 0, or 1 with the reason on stderr."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two for each level of directories
    try:
        copy_tree(source, target)
    except OSError as error:
        print(f"{error.filename or source}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
