"""Block devices for files: loop devices, found by their file, so that they outlive this process.

Blocking system calls. Never decides what becomes a device. Mirrors pkg/volume/util/volumepathhandler. Source:
linux/loop.h, loop(4).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_SET_FD, _CLEAR_FD, _SET_CAPACITY, _GET_FREE = 0x4C00, 0x4C01, 0x4C07, 0x4C82
_MAJOR = 7
_CONTROL = "/dev/loop-control"
_SYSFS = Path("/sys/block")
_ROUNDS_MAX = 32


def devices_of(path: Path) -> Iterator[Path]:
    """The loop devices that stand for a file."""
    wanted = os.path.realpath(path)
    for entry in _SYSFS.glob("loop*/loop/backing_file"):
        try:
            found = entry.read_text().rstrip("\n")
        except OSError:
            continue  # it was let go of just now
        if found == wanted:
            yield Path("/dev", entry.parts[-3])


def device_of(path: Path) -> Path | None:
    """The loop device of a file, if it has one."""
    return next(devices_of(path), None)


def flush(path: Path) -> None:
    """Bring what was written to the loop devices of a file, and is still theirs, into the file. OSError."""
    for device in devices_of(path):
        descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def tell_capacity(path: Path) -> None:
    """Make the loop devices of a file look at its size again; one that cannot keeps the size that it had."""
    for device in devices_of(path):
        with contextlib.suppress(OSError), open(device, "rb") as opened:
            fcntl.ioctl(opened, _SET_CAPACITY)


def attach(path: Path) -> Path:
    """The block device for a file (its loop device, made if there is none) or for a device (itself). OSError."""
    if stat.S_ISBLK(path.stat().st_mode):
        return path
    if (known := device_of(path)) is not None:
        return known
    with path.open("r+b") as file:
        for _ in range(_ROUNDS_MAX):  # somebody else may take a free one first
            device = _free_device()
            descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(descriptor, _SET_FD, file.fileno())
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
            else:
                return device
            finally:
                os.close(descriptor)
    raise OSError(errno.EBUSY, "no loop device is free", str(path))


def _free_device() -> Path:
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        number = fcntl.ioctl(control, _GET_FREE)
    finally:
        os.close(control)
    device = Path(f"/dev/loop{number}")
    if not device.exists():
        os.mknod(device, 0o660 | stat.S_IFBLK, os.makedev(_MAJOR, number))
    return device


def detach(device: Path) -> None:
    """Let go of the file behind a loop device, once nobody has it open; other devices are left alone. OSError."""
    try:
        status = device.stat()
    except FileNotFoundError:
        return
    if not stat.S_ISBLK(status.st_mode) or os.major(status.st_rdev) != _MAJOR:
        return
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _CLEAR_FD)
    except OSError as error:
        if error.errno != errno.ENXIO:  # it has no file
            raise
    finally:
        os.close(descriptor)
