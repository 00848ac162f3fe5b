"""How volumes of CSI drivers are named where several components must name them the same way. Pure.

The attach/detach controller, the kubelet and the external attacher meet in these names.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from orchestrator.api.objects import Object

PLUGIN: Final = "kubernetes.io/csi"
_ATTACHMENT = re.compile(r"csi-[0-9a-f]{64}")


def csi_source_of(persistent: Object) -> Object | None:
    """`spec.csi` of a PersistentVolume; None for one of another kind."""
    source: Object | None = (persistent.get("spec") or {}).get("csi")
    return source


def unique_volume_name(driver: str, handle: str) -> str:
    """The name of a volume in `status.volumesInUse` and `status.volumesAttached` of a Node."""
    return f"{PLUGIN}/{driver}^{handle}"


def attachment_name(driver: str, handle: str, node: str) -> str:
    """The name of the VolumeAttachment of a volume to a node."""
    return "csi-" + hashlib.sha256(f"{handle}{driver}{node}".encode()).hexdigest()


def is_attachment_name(name: str) -> bool:
    """Whether a VolumeAttachment is called as those that the attach/detach controller makes."""
    return _ATTACHMENT.fullmatch(name) is not None


def needs_attachment(csi_driver: Object | None) -> bool:
    """Whether volumes of a driver are attached before they are used; without a CSIDriver they are."""
    return bool(((csi_driver or {}).get("spec") or {}).get("attachRequired", True))
