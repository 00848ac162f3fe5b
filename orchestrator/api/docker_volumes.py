"""How a volume of a Docker volume driver stands in the API: a PersistentVolume of kind `csi`. Pure.

What the provisioner writes and the kubelet reads. The name of the driver is also that of the provisioner, as with any
CSI driver.
"""

from __future__ import annotations

from typing import Final

from orchestrator.api.objects import Object

DRIVER: Final = "docker-volume.orchestrator.local"


def volume_source(name: str, docker_driver: str) -> Object:
    """`spec.csi` of a PersistentVolume for a volume that the Engine knows by this name."""
    return {"driver": DRIVER, "volumeHandle": name, "volumeAttributes": {"driver": docker_driver}}


def docker_volume_of(spec: Object) -> str:
    """The Engine's name for the volume behind a PersistentVolume; empty when it is no such volume."""
    source = spec.get("csi") or {}
    return str(source.get("volumeHandle") or "") if source.get("driver") == DRIVER else ""


def csi_driver() -> Object:
    """The CSIDriver that describes it: nothing is attached, and owners and modes are the volume driver's business."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": DRIVER},
        "spec": {"attachRequired": False, "fsGroupPolicy": "None", "volumeLifecycleModes": ["Persistent"]},
    }
