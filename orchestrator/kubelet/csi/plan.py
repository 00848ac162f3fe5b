"""What drivers are asked, where, and by which rules. Pure.

Sources: the CSI specification (https://github.com/container-storage-interface/spec/blob/master/spec.md), and the
Kubernetes documentation of CSIDriver (https://kubernetes-csi.github.io/docs/csi-driver-object.html).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
from msgspec import Struct

from orchestrator.api.csi_volumes import PLUGIN, unique_volume_name
from orchestrator.api.objects import Object, name_of, namespace_of, uid_of
from orchestrator.api.quantity import parse_quantity
from orchestrator.kubelet.pod import spec_of

PODS, PLUGINS = "pods", "plugins"
POD_INFO = "csi.storage.k8s.io/pod."
TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"
COUNT_MAX = (1 << 31) - 1

_MODES = {"ReadWriteOnce": 1, "ReadWriteOncePod": 1, "ReadOnlyMany": 3, "ReadWriteMany": 5}
_MODES_OF_ONE_NODE = {**_MODES, "ReadWriteOnce": 7, "ReadWriteOncePod": 6}
"""For drivers that tell one writer on a node from several."""
_CONDITIONS_OF_EXPANSION = ("Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError")


class VolumeUnusable(Exception):
    """A volume cannot be used as it is asked for; the message says why."""


class NodeInfo(Struct, frozen=True):
    """What a driver says of this node."""

    node_id: str
    volumes_max: int = 0
    topology: Mapping[str, str] = {}


class CsiVolume(Struct, frozen=True):
    """A volume of a pod that a driver provides."""

    pod_volume: str
    """Its name in the pod's spec."""
    name: str
    """The PersistentVolume's, or that of an inline volume."""
    driver: str
    handle: str
    source: Object
    """`spec.csi` of the PersistentVolume, or `csi` of the inline volume."""
    persistent: Object | None
    """The PersistentVolume; None for an inline volume."""
    claim: Object | None = None
    read_only: bool = False

    @property
    def is_block(self) -> bool:
        """Whether pods see a device."""
        return ((self.persistent or {}).get("spec") or {}).get("volumeMode") == "Block"

    @property
    def access_modes(self) -> Sequence[str]:
        """Those of the PersistentVolume; an inline volume belongs to its pod."""
        if self.persistent is None:
            return ("ReadWriteOnce",)
        return self.persistent["spec"].get("accessModes") or ()

    @property
    def unique_name(self) -> str:
        """Its name in the status of the Node."""
        return unique_volume_name(self.driver, self.handle)


class VolumeUse(Struct, frozen=True):
    """`VolumeCapability`, and the volume that it is about."""

    handle: str
    access_mode: int
    is_block: bool = False
    fs_type: str = ""
    mount_options: Sequence[str] = ()
    mount_group: str = ""


class Staging(Struct, frozen=True):
    """What NodeStageVolume is asked; the path is the driver's."""

    use: VolumeUse
    path: str
    publish_context: Mapping[str, str]
    volume_context: Mapping[str, str]
    secrets: Mapping[str, str]


class Publication(Struct, frozen=True):
    """What NodePublishVolume is asked; the paths are the driver's."""

    use: VolumeUse
    path: str
    staging_path: str
    publish_context: Mapping[str, str]
    volume_context: Mapping[str, str]
    secrets: Mapping[str, str]
    read_only: bool


class Published(Struct, frozen=True):
    """A volume that a pod has; the paths are the driver's."""

    volume: CsiVolume
    use: VolumeUse
    path: str
    staging_path: str
    """Empty when it is not staged."""


class Expansion(Struct, frozen=True):
    """What NodeExpandVolume is asked; the paths are the driver's."""

    use: VolumeUse
    path: str
    staging_path: str
    required_bytes: int
    secrets: Mapping[str, str]


# Paths, as a kubelet has them.


class VolumePaths(Struct, frozen=True):
    """Where a volume is, on this machine."""

    record_dir: Path
    """What is known of the volume in its pod."""
    target: Path
    """Where it is published for its pod: a directory, or a device."""
    staging: Path
    """Where it is once for the whole node."""


def volume_paths(
    kubelet_dir: Path, pod_uid: str, *, name: str, driver: str, handle: str, is_block: bool
) -> VolumePaths:
    """The paths of a volume for a pod."""
    record_dir = kubelet_dir / PODS / pod_uid / "volumes" / PLUGIN.replace("/", "~") / name
    plugin_dir = kubelet_dir / PLUGINS / PLUGIN
    if is_block:
        devices = plugin_dir / "volumeDevices"
        return VolumePaths(record_dir, devices / "publish" / name / pod_uid, devices / "staging" / name)
    staged = plugin_dir / driver / hashlib.sha256(handle.encode()).hexdigest() / "globalmount"
    return VolumePaths(record_dir, record_dir / "mount", staged)


# Which volumes of a pod they are.


def inline_handle(pod_uid: str, volume_name: str) -> str:
    """The handle of an inline volume, which lives with its pod."""
    return "csi-" + hashlib.sha256(f"{pod_uid}{volume_name}".encode()).hexdigest()


def inline_volume(pod: Object, volume: Object) -> CsiVolume:
    """An inline volume of a pod."""
    source: Object = volume["csi"]
    handle = inline_handle(uid_of(pod), volume["name"])
    read_only = bool(source.get("readOnly"))
    return CsiVolume(volume["name"], volume["name"], source["driver"], handle, source, None, read_only=read_only)


def claimed_volume(volume: Object, claim: Object, persistent: Object) -> CsiVolume:
    """The volume of a claim, whose PersistentVolume is of a driver."""
    source: Object = persistent["spec"]["csi"]
    read_only = bool((volume.get("persistentVolumeClaim") or {}).get("readOnly"))
    return CsiVolume(
        volume["name"],
        name_of(persistent),
        source["driver"],
        source["volumeHandle"],
        source,
        persistent,
        claim,
        read_only,
    )


# What the CSIDriver says.


def driver_spec(csi_driver: Object | None) -> Object:
    """`spec` of a CSIDriver with the defaults of one that does not exist."""
    return {
        "attachRequired": True,
        "fsGroupPolicy": "ReadWriteOnceWithFSType",
        "volumeLifecycleModes": ["Persistent"],
        **((csi_driver or {}).get("spec") or {}),
    }


def check_lifecycle(volume: CsiVolume, spec: Object) -> None:
    """VolumeUnusable for an inline volume of a driver that has none, and the other way round."""
    mode = "Ephemeral" if volume.persistent is None else "Persistent"
    modes = spec.get("volumeLifecycleModes") or ()
    if mode not in modes:
        known = ", ".join(f'"{one}"' for one in modes)
        raise VolumeUnusable(f'volume mode "{mode}" not supported by driver {volume.driver} (only supports [{known}])')


def gives_to_group(volume: CsiVolume, spec: Object, group: int | None) -> bool:
    """Whether the kubelet gives the files of a volume to the pod's fsGroup, as `fsGroupPolicy` says."""
    if group is None or volume.read_only or volume.is_block:
        return False
    policy = spec.get("fsGroupPolicy")
    if policy in ("File", "None"):
        return bool(policy == "File")
    modes = volume.access_modes
    return bool(volume.source.get("fsType")) and any(one in modes for one in ("ReadWriteOnce", "ReadWriteOncePod"))


def pod_info(pod: Object, *, is_inline: bool) -> dict[str, str]:
    """What a driver is told of the pod when it asks for it (`podInfoOnMount`)."""
    return {
        f"{POD_INFO}name": name_of(pod),
        f"{POD_INFO}namespace": namespace_of(pod),
        f"{POD_INFO}uid": uid_of(pod),
        "csi.storage.k8s.io/serviceAccount.name": str(spec_of(pod).get("serviceAccountName") or ""),
        "csi.storage.k8s.io/ephemeral": "true" if is_inline else "false",
    }


def token_texts(tokens: Mapping[str, Object]) -> dict[str, str]:
    """The tokens that a driver asks for (`tokenRequests`), by audience."""
    if not tokens:
        return {}
    shown = {
        audience: {"token": status.get("token"), "expirationTimestamp": status.get("expirationTimestamp")}
        for audience, status in tokens.items()
    }
    return {TOKENS: orjson.dumps(shown, option=orjson.OPT_SORT_KEYS).decode()}


def volume_use(volume: CsiVolume, *, tells_writers: bool, mount_group: int | None) -> VolumeUse:
    """How a volume is used; VolumeUnusable without access mode.

    `tells_writers`: the driver can tell one writer on a node from several; `mount_group`: the pod's fsGroup, for a
    driver that mounts with it.
    """
    modes = volume.access_modes
    known = _MODES_OF_ONE_NODE if tells_writers else _MODES
    if not modes or modes[0] not in known:
        raise VolumeUnusable(f"volume {volume.name} has no access mode")
    options = () if volume.persistent is None else volume.persistent["spec"].get("mountOptions") or ()
    if volume.is_block:
        return VolumeUse(volume.handle, known[modes[0]], is_block=True)
    group = "" if mount_group is None else str(mount_group)
    return VolumeUse(volume.handle, known[modes[0]], False, volume.source.get("fsType") or "", tuple(options), group)


def in_use_by_another(volume: CsiVolume, other_pods: Sequence[str]) -> str:
    """Why a pod cannot have a volume of one pod that another pod of the node has; empty when it can."""
    if list(volume.access_modes) == ["ReadWriteOncePod"] and other_pods:
        return "volume uses the ReadWriteOncePod access mode and is already in use by another pod"
    return ""


# Growing.


def plan_expansion(volume: CsiVolume) -> int:
    """The bytes that the file system of a claim's volume is to grow to; 0 when it has them."""
    if volume.persistent is None or volume.claim is None:
        return 0
    size = (volume.persistent["spec"].get("capacity") or {}).get("storage")
    known = ((volume.claim.get("status") or {}).get("capacity") or {}).get("storage")
    if not size or not known or parse_quantity(size) <= parse_quantity(known):
        return 0
    return parse_quantity(size).value()


def expanded_status(claim: Object, size: str) -> Object:
    """What of a claim's status changes when its file system has grown to the size of its volume."""
    status = claim.get("status") or {}
    changed: Object = {
        "capacity": {"storage": size},
        "conditions": [one for one in status.get("conditions") or () if one["type"] not in _CONDITIONS_OF_EXPANSION]
        or None,
    }
    statuses = status.get("allocatedResourceStatuses") or {}
    if "storage" in statuses:
        rest = {key: value for key, value in statuses.items() if key != "storage"}
        changed["allocatedResourceStatuses"] = {"storage": None, **rest} if rest else None
    return changed


# The API's view of a node.


def plan_csi_node(drivers: Sequence[Object] | None, name: str, info: NodeInfo | None) -> list[Object] | None:
    """`spec.drivers` of a CSINode with what one driver says, without it when that is None; None: it is right."""
    before = list(drivers or ())
    others = [one for one in before if one["name"] != name]
    if info is None:
        return others if len(others) != len(before) else None
    entry: Object = {"name": name, "nodeID": info.node_id, "topologyKeys": sorted(info.topology) or None}
    if info.volumes_max > 0:
        entry["allocatable"] = {"count": min(info.volumes_max, COUNT_MAX)}
    return None if entry in before else [*others, entry]


def replaces_csi_node(drivers: Sequence[Object] | None, name: str, info: NodeInfo) -> bool:
    """Whether a driver now says what its entry of a CSINode cannot be changed to: it is removed first."""
    known = next((one for one in drivers or () if one["name"] == name), None)
    return known is not None and (known["nodeID"], sorted(known.get("topologyKeys") or ())) != (
        info.node_id,
        sorted(info.topology),
    )


def check_topology(topology: Mapping[str, str], labels: Mapping[str, str]) -> None:
    """VolumeUnusable when a driver says that the node is elsewhere than its labels do."""
    for key, value in topology.items():
        if labels.get(key, value) != value:
            raise VolumeUnusable(
                f'detected topology value collision: driver reported "{key}":"{value}" '
                f'but existing label is "{key}":"{labels[key]}"'
            )
