"""Devices of pods: made for files, shared, found again, let go of by the last."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.aiokit import loop_devices
from orchestrator.kubelet.volumes.block_volumes import map_device, mapped_device, release_devices, unmap_devices

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access("/dev/loop-control", os.R_OK | os.W_OK), reason="loop devices need root"
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file of a megabyte."""
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, 1 << 20)
    yield path
    if (device := loop_devices.device_of(path)) is not None:
        loop_devices.detach(device)


def pod_dir(kubelets: Path, node: str, uid: str) -> Path:
    path = kubelets / node / "pods" / uid
    path.mkdir(parents=True)
    return path


def test_pods_share_a_device_until_the_last_one_goes(tmp_path: Path, disk: Path) -> None:
    kubelets = tmp_path / "kubelet"
    one, two = pod_dir(kubelets, "node-1", "u1"), pod_dir(kubelets, "node-2", "u2")
    for directory in (one, two, two):
        map_device(directory, "data", disk)
    device = mapped_device(one, "data")
    assert device is not None
    assert mapped_device(two, "data") == device == loop_devices.device_of(disk)
    with device.open("r+b") as stream:
        stream.write(b"data" + bytes(508))
    unmap_devices(one, kubelets)
    assert mapped_device(one, "data") is None
    assert loop_devices.device_of(disk) == device
    unmap_devices(two, kubelets)
    assert loop_devices.device_of(disk) is None
    assert disk.read_bytes()[:4] == b"data"
    unmap_devices(two, kubelets)


def test_everything_is_let_go_of_at_the_end(tmp_path: Path, disk: Path) -> None:
    kubelets = tmp_path / "kubelet"
    for uid in ("u1", "u2"):
        map_device(pod_dir(kubelets, "node-1", uid), "data", disk)
    release_devices(kubelets)
    assert loop_devices.device_of(disk) is None


def test_a_device_of_somebody_else_is_left_alone(tmp_path: Path, disk: Path) -> None:
    device = loop_devices.attach(disk)
    directory = pod_dir(tmp_path / "kubelet", "node-1", "u1")
    map_device(directory, "data", device)
    assert mapped_device(directory, "data") == device
    unmap_devices(directory, tmp_path / "kubelet")
    assert loop_devices.device_of(disk) == device


def test_letting_go_of_what_has_no_file_or_is_no_loop_device_is_harmless(tmp_path: Path) -> None:
    loop_devices.detach(tmp_path / "none")
    loop_devices.detach(Path("/dev/null"))
