"""Volumes that containers see as devices: which device each pod has, and who lets go of it.

A link for each volume below the pod's directory says which device it is, so that a process that starts anew, or
`down`, finds what to let go of. Blocking. Mirrors the folder `volumeDevices` of the kubelet.
"""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

from orchestrator.aiokit import loop_devices

FOLDER = "volumeDevices"
_MADE, _FOUND = "loop", "device"
"""Links to devices that were made for a file, and to those that were there."""
_LOCK = threading.Lock()
"""Nobody finds the device of a file that another pod is letting go of; a file's device is shared by all nodes."""


def map_device(pod_dir: Path, volume_name: str, path: Path) -> None:
    """Have a device for a volume of a pod; idempotent. OSError."""
    with _LOCK:
        device = loop_devices.attach(path)
        folder = pod_dir / FOLDER / (_FOUND if device == path else _MADE)
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        link = folder / volume_name
        if link.is_symlink():
            if link.readlink() == device:
                return
            link.unlink()
        link.symlink_to(device)


def mapped_device(pod_dir: Path, volume_name: str) -> Path | None:
    """The device of a volume of a pod, if it has one."""
    for kind in (_MADE, _FOUND):
        link = pod_dir / FOLDER / kind / volume_name
        if link.is_symlink():
            return link.readlink()
    return None


def unmap_devices(pod_dir: Path, kubelets: Path) -> None:
    """Let go of a pod's devices, as far as no other pod of a node below `kubelets` has the same. OSError."""
    folder = pod_dir / FOLDER / _MADE
    if folder.is_dir():
        with _LOCK:
            for link in folder.iterdir():
                device = link.readlink()
                if not any(
                    other != link and other.is_symlink() and other.readlink() == device
                    for other in kubelets.glob(f"*/pods/*/{FOLDER}/{_MADE}/*")
                ):
                    loop_devices.detach(device)
                os.unlink(link)
    shutil.rmtree(pod_dir / FOLDER, ignore_errors=True)


def release_devices(kubelets: Path) -> None:
    """Let go of the devices of all pods of all nodes below a folder; for `down`. OSError."""
    for folder in kubelets.glob(f"*/pods/*/{FOLDER}"):
        unmap_devices(folder.parent, kubelets)
