"""A device gets a file system only when it holds nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator.kubelet.volumes import device_mounts
from orchestrator.kubelet.volumes.device_mounts import mount_device

DEVICE = Path("/dev/loop-of-a-test")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was run and mounted."""
    done: list[str] = []

    def mount(device: Path, target: Path, kind: str) -> None:
        done.append(f"mount {device} {kind}")

    monkeypatch.setattr(device_mounts, "mount_file_system", mount)
    return done


def answering(monkeypatch: pytest.MonkeyPatch, done: list[str], found: str, *, mkfs: int = 0) -> None:
    """A machine on which blkid finds this."""

    def run(command: tuple[str, ...], **options: Any) -> subprocess.CompletedProcess[str]:
        done.append(" ".join(command) if command[0] != "blkid" else "blkid")
        if command[0] == "blkid":
            return subprocess.CompletedProcess(command, 0 if found else 2, found, "")
        return subprocess.CompletedProcess(command, mkfs, "", "no space" if mkfs else "")

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.parametrize(
    ("found", "kind", "expected"),
    [
        ("", "", ["blkid", f"mkfs.ext4 -F -m0 {DEVICE}", f"mount {DEVICE} ext4"]),
        ("", "xfs", ["blkid", f"mkfs.xfs -f {DEVICE}", f"mount {DEVICE} xfs"]),
        ("DEVNAME=/dev/x\nTYPE=ext4\n", "", ["blkid", f"mount {DEVICE} ext4"]),
        ("TYPE=xfs\n", "xfs", ["blkid", f"mount {DEVICE} xfs"]),
    ],
)
def test_what_is_done_with_a_device(
    found: str, kind: str, expected: list[str], commands: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, commands, found)
    mount_device(DEVICE, tmp_path, kind)
    assert commands == expected


@pytest.mark.parametrize(
    ("found", "kind", "mkfs", "message"),
    [
        ("PTTYPE=gpt\n", "", 0, "no file system"),
        ("TYPE=xfs\n", "ext4", 0, "already contains xfs"),
        ("", "", 1, "mkfs.ext4: no space"),
    ],
)
def test_what_a_device_holds_is_never_lost(
    found: str, kind: str, mkfs: int, message: str, commands: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, commands, found, mkfs=mkfs)
    with pytest.raises(OSError, match=message):
        mount_device(DEVICE, tmp_path, kind)
    assert not any(one.startswith("mount") for one in commands)
    assert mkfs or not any(one.startswith("mkfs") for one in commands)
