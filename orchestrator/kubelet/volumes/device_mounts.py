"""File systems on devices: made where there is none yet, then mounted.

Blocking. Never makes one on a device that holds anything blkid knows of. Mirrors FormatAndMount of
k8s.io/mount-utils.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from orchestrator.kubelet.volumes.mounts import mount_file_system

KIND_DEFAULT = "ext4"
SECONDS_MAX = 600.0
_NOTHING_FOUND = 2
"""What blkid ends with then."""
_OPTIONS = {"ext3": ("-F", "-m0"), "ext4": ("-F", "-m0"), "xfs": ("-f",)}


def mount_device(device: Path, target: Path, kind: str) -> None:
    """Mount a device; an empty one gets a file system of this kind (by default ext4) first. Idempotent. OSError."""
    if os.path.ismount(target):
        return
    found = _contents(device)
    if not found:
        found = {"TYPE": kind or KIND_DEFAULT}
        _run(f"mkfs.{found['TYPE']}", *_OPTIONS.get(found["TYPE"], ()), str(device))
    elif "TYPE" not in found:
        raise OSError(f"failed to mount device {device}: it holds something that is no file system ({found})")
    elif kind and found["TYPE"] != kind:
        raise OSError(f"failed to mount the volume as {kind!r}, it already contains {found['TYPE']}")
    mount_file_system(device, target, found["TYPE"])


def _contents(device: Path) -> dict[str, str]:
    """What a device holds, by blkid's names (TYPE, PTTYPE); empty for nothing."""
    outcome = _run("blkid", "-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export", str(device), also=_NOTHING_FOUND)
    lines = (line.partition("=") for line in outcome.splitlines())
    return {key: value for key, _, value in lines if key in ("TYPE", "PTTYPE")}


def _run(*command: str, also: int = 0) -> str:
    try:
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    except FileNotFoundError:
        raise OSError(f"{command[0]} is not installed on this machine") from None
    except subprocess.TimeoutExpired:
        raise OSError(f"{command[0]} took more than {SECONDS_MAX:.0f} s") from None
    if outcome.returncode not in (0, also):
        raise OSError(f"{command[0]}: {outcome.stderr.strip()[:500] or outcome.returncode}")
    return outcome.stdout
