"""What the PersistentVolumeClaims of a pod stand for: volumes that this node can mount.

Pure functions. Never binds, provisions or attaches. Mirrors the desired-state populator of
pkg/kubelet/volumemanager and pkg/volume/local.
"""

from __future__ import annotations

from orchestrator.api.docker_volumes import docker_volume_of
from orchestrator.api.node_selection import matches_node_selector
from orchestrator.api.objects import Object, labels_of, name_of, namespace_of, uid_of
from orchestrator.kubelet.pod import all_containers_of, volumes_in_use

MOUNTABLE = ("hostPath", "local")
"""The kinds of PersistentVolume whose files are on this machine."""
BLOCK = "block"
"""In place of a kind: the path of a device, or of a file that is to be one."""
DOCKER_VOLUME = "dockerVolume"
"""In place of a kind: the name of a volume that the Engine mounts itself."""
MOUNTED = "mounted"
"""In place of a kind: the directory where a driver mounts the volume for the pod."""


class ClaimError(Exception):
    """The claim of a volume cannot be used now; binding it or making it again can help."""

    def __init__(self, volume_name: str, why: str) -> None:
        super().__init__(
            f"Unable to attach or mount volumes: unmounted volumes=[{volume_name}], unattached volumes=[], "
            f"failed to process volumes=[{volume_name}]: {why}"
        )


def claim_name_of(pod: Object, volume: Object) -> str:
    """The claim that a volume names, or that is made for it (generic ephemeral volumes); empty for others."""
    source = volume.get("persistentVolumeClaim")
    if source is not None:
        return str(source.get("claimName") or "")
    return f"{name_of(pod)}-{volume['name']}" if volume.get("ephemeral") is not None else ""


def claim_names_of(pod: Object) -> dict[str, str]:
    """Volume name → claim name, for those volumes in use that have one."""
    named = {volume["name"]: claim_name_of(pod, volume) for volume in volumes_in_use(pod)}
    return {volume: claim for volume, claim in named.items() if claim}


def bound_volume_of(pod: Object, volume: Object, claim: Object | None) -> str:
    """The name of the PersistentVolume behind a volume; ClaimError until its claim is bound."""
    where = f"error processing PVC {namespace_of(pod)}/{claim_name_of(pod, volume)}"
    if claim is None:
        missing = f'persistentvolumeclaims "{claim_name_of(pod, volume)}" not found'
        raise ClaimError(volume["name"], f"{where}: failed to fetch PVC from API server: {missing}")
    if volume.get("ephemeral") is not None and not _is_owned(claim, pod):
        raise ClaimError(volume["name"], f"{where}: PVC was not created for pod {namespace_of(pod)}/{name_of(pod)}")
    name = (claim.get("spec") or {}).get("volumeName")
    if (claim.get("status") or {}).get("phase") != "Bound" or not name:
        raise ClaimError(volume["name"], f"{where}: PVC is not bound")
    return str(name)


def _is_owned(claim: Object, pod: Object) -> bool:
    owners = claim["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") and owner.get("uid") == uid_of(pod) for owner in owners)


def check_mode(pod: Object, volume: Object, persistent: Object) -> None:
    """Files are mounted and devices are mapped; ClaimError where a container wants it the other way."""
    is_block = (persistent.get("spec") or {}).get("volumeMode") == "Block"
    field, mode = ("volumeMounts", "Block") if is_block else ("volumeDevices", "Filesystem")
    if any(
        one["name"] == volume["name"] for _, container in all_containers_of(pod) for one in container.get(field) or ()
    ):
        why = f"volume {volume['name']} has volumeMode {mode}, but is specified in {field}"
        raise ClaimError(volume["name"], why)


def is_at_hand(persistent: Object, node: Object) -> bool:
    """Whether a volume can be used on a node, as its `nodeAffinity` says."""
    required = ((persistent.get("spec") or {}).get("nodeAffinity") or {}).get("required")
    return matches_node_selector(required, labels_of(node), name_of(node))


def is_of_driver(persistent: Object) -> bool:
    """Whether a CSI driver provides a PersistentVolume, and not the Engine."""
    spec: Object = persistent.get("spec") or {}
    return spec.get("csi") is not None and not docker_volume_of(spec)


def check_bound(volume: Object, claim: Object, persistent: Object) -> None:
    """ClaimError for a PersistentVolume of somebody else."""
    reference = (persistent.get("spec") or {}).get("claimRef") or {}
    if reference.get("uid") != uid_of(claim):
        raise ClaimError(volume["name"], f"PV {name_of(persistent)} is bound to another claim")


def plan_bound_volume(volume: Object, claim: Object, persistent: Object | None) -> Object:
    """The volume as if the pod itself named what the PersistentVolume names; ClaimError for one of somebody else."""
    if persistent is None:
        wanted = (claim.get("spec") or {}).get("volumeName")
        raise ClaimError(volume["name"], f'failed to get PV: persistentvolumes "{wanted}" not found')
    spec: Object = persistent.get("spec") or {}
    check_bound(volume, claim, persistent)
    read_only = bool((volume.get("persistentVolumeClaim") or {}).get("readOnly"))
    if handle := docker_volume_of(spec):
        read_only = read_only or bool(spec["csi"].get("readOnly"))
        return {"name": volume["name"], DOCKER_VOLUME: handle, "readOnly": read_only}
    if spec.get("volumeMode") == "Block":
        if spec.get("local") is None:
            raise ClaimError(volume["name"], f"no volume plugin of this node maps PV {name_of(persistent)} as a device")
        return {"name": volume["name"], BLOCK: spec["local"]["path"], "readOnly": read_only}
    kind = next((kind for kind in MOUNTABLE if spec.get(kind) is not None), None)
    if kind is None:
        raise ClaimError(volume["name"], f"no volume plugin of this node mounts PV {name_of(persistent)}")
    return {"name": volume["name"], kind: spec[kind], "readOnly": read_only}
