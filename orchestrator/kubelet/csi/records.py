"""What was asked of drivers for a pod, on the disk: a file for each volume in the pod's directory.

Written before the first call and removed after the last one, so that after a crash nothing stays published or staged.
Blocking. Mirrors the kubelet's `vol_data.json`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from orchestrator.api.csi_volumes import PLUGIN, unique_volume_name
from orchestrator.kubelet.csi.plan import PODS, VolumePaths, volume_paths

FILE = "vol_data.json"


class VolumeRecord(msgspec.Struct, frozen=True, rename="camel"):
    """A volume of a pod that a driver was asked for."""

    driver_name: str
    volume_handle: str
    spec_vol_id: str = msgspec.field(name="specVolID")
    """The name of the PersistentVolume, or of the inline volume."""
    node_name: str = ""
    attachment_id: str = msgspec.field(name="attachmentID", default="")
    """The VolumeAttachment; empty when nothing is attached."""
    volume_lifecycle_mode: str = "Persistent"
    volume_mode: str = "Filesystem"

    @property
    def unique_name(self) -> str:
        """The volume's name in the status of the Node."""
        return unique_volume_name(self.driver_name, self.volume_handle)

    def paths(self, kubelet_dir: Path, pod_uid: str) -> VolumePaths:
        """Where the volume is for a pod."""
        return volume_paths(
            kubelet_dir,
            pod_uid,
            name=self.spec_vol_id,
            driver=self.driver_name,
            handle=self.volume_handle,
            is_block=self.volume_mode == "Block",
        )


def write_record(folder: Path, record: VolumeRecord) -> None:
    """Have a record on the disk before anything else happens. OSError."""
    path = folder / FILE
    data = msgspec.json.encode(record)
    if path.is_file() and path.read_bytes() == data:
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    temporary = folder / f".{FILE}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)


def remove_record(folder: Path) -> None:
    """Forget a volume whose driver was told that it is not needed. OSError when something is left in it."""
    for name in (FILE, f".{FILE}"):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir():
        folder.rmdir()


def records_of(kubelet_dir: Path, pod_uid: str) -> list[VolumeRecord]:
    """What drivers were asked for a pod."""
    return [record for _, record in _read(kubelet_dir, pod_uid)]


def all_records(kubelet_dir: Path) -> list[tuple[str, VolumeRecord]]:
    """(pod uid, record) of everything that drivers were asked on this node."""
    return list(_read(kubelet_dir, "*"))


def _read(kubelet_dir: Path, pod: str) -> Iterator[tuple[str, VolumeRecord]]:
    for path in sorted((kubelet_dir / PODS).glob(f"{pod}/volumes/{PLUGIN.replace('/', '~')}/*/{FILE}")):
        try:
            record = msgspec.json.decode(path.read_bytes(), type=VolumeRecord)
        except (FileNotFoundError, msgspec.DecodeError):
            continue  # removed since; a record is never half written
        yield path.parents[3].name, record
