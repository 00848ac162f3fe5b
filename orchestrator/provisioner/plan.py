"""What a claim gets, when a volume comes to its end, and how it grows. Pure."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from orchestrator.api.objects import Object, annotations_of, is_terminating, labels_of, name_of, uid_of
from orchestrator.api.quantity import parse_quantity
from orchestrator.api.volume_binding import SELECTED_NODE, class_of, reference_to

PROVISIONER = "orchestrator.local/directory"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
ASKED = "volume.kubernetes.io/storage-provisioner"
"""On a claim: the binder asks this provisioner."""
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
"""Keeps a volume until its directory was dealt with as the reclaim policy says (KEP-2644)."""
HOSTNAME = "kubernetes.io/hostname"
ONE_NODE_MODES = frozenset(("ReadWriteOnce", "ReadWriteOncePod"))


def default_storage_class(name: str) -> Object:
    """The class of a fresh cluster: volumes are made where the first pod of a claim runs, and can grow."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": {DEFAULT_CLASS: "true"}},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
    }


def volume_name_of(claim: Object) -> str:
    """The volume of a claim; always the same for one claim, so that it is made once."""
    return f"pvc-{uid_of(claim)}"


def is_ours(volume: Object) -> bool:
    """Whether a volume was made here."""
    return annotations_of(volume).get(PROVISIONED_BY) == PROVISIONER


def is_asked_for(claim: Object, storage_class: Object | None) -> bool:
    """Whether a claim waits for a volume from here, now: also where its pod will run, if its class wants that."""
    spec = claim.get("spec") or {}
    if is_terminating(claim) or spec.get("volumeName") or annotations_of(claim).get(ASKED) != PROVISIONER:
        return False
    if storage_class is None or storage_class.get("provisioner") != PROVISIONER:
        return False
    delays = storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
    return not delays or bool(annotations_of(claim).get(SELECTED_NODE))


def source_claim_of(claim: Object) -> str:
    """The claim in the same namespace whose data a new volume begins with; empty without one."""
    spec = claim.get("spec") or {}
    source = spec.get("dataSourceRef") or spec.get("dataSource") or {}
    return str(source.get("name") or "") if source.get("kind") == "PersistentVolumeClaim" else ""


def refusal(claim: Object, storage_class: Object) -> str:
    """Why a directory cannot be what a claim wants; empty when it can."""
    spec = claim.get("spec") or {}
    if spec.get("volumeMode") == "Block":
        return "volumeMode Block is not supported: a volume is a directory"
    if spec.get("selector"):
        return "claim Selector is not supported"
    source = spec.get("dataSourceRef") or spec.get("dataSource") or {}
    if source and source.get("kind") != "PersistentVolumeClaim":
        return f"data source of kind {source.get('kind')} is not supported"
    if storage_class.get("mountOptions"):
        return "mountOptions are not supported: a directory is not mounted"
    if parameters := storage_class.get("parameters"):
        return f"unknown parameters: {', '.join(sorted(parameters))}"
    return ""


def plan_volume(claim: Object, storage_class: Object, node: Object | None, path: str) -> Object:
    """The PersistentVolume for a claim.

    What one node at a time uses belongs to that node (`local` with node affinity). What several nodes share is a
    `hostPath`: the nodes of this cluster share one machine.
    """
    spec = claim["spec"]
    volume: Object = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": volume_name_of(claim),
            "annotations": {PROVISIONED_BY: PROVISIONER},
            "finalizers": [FINALIZER],
        },
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "storageClassName": class_of(claim),
            "volumeMode": "Filesystem",
            "claimRef": reference_to(claim),
        },
    }
    hostname = labels_of(node).get(HOSTNAME) if node is not None else None
    if hostname and ONE_NODE_MODES.issuperset(spec["accessModes"]):
        expression = {"key": HOSTNAME, "operator": "In", "values": [hostname]}
        volume["spec"]["local"] = {"path": path}
        volume["spec"]["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
    else:
        volume["spec"]["hostPath"] = {"path": path, "type": "Directory"}
    return volume


class Ending(Struct, frozen=True):
    """How a volume ends."""

    data: Literal["remove", "keep"]
    delete_object: bool
    """Delete the PersistentVolume too; it is being deleted already otherwise."""


def plan_ending(volume: Object) -> Ending | None:
    """What to do with a volume that nobody uses any more; None while it is of use."""
    if not is_ours(volume):
        return None
    phase = (volume.get("status") or {}).get("phase")
    deletes = (volume.get("spec") or {}).get("persistentVolumeReclaimPolicy") == "Delete"
    if is_terminating(volume):
        if phase == "Bound" or FINALIZER not in (volume["metadata"].get("finalizers") or ()):
            return None
        return Ending("remove" if deletes else "keep", delete_object=False)
    return Ending("remove", delete_object=True) if deletes and phase in ("Released", "Failed") else None


def plan_growth(claim: Object, volume: Object) -> str:
    """The size that a bound claim wants beyond what it has; empty when it has it."""
    requested = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage") or "0"
    granted = ((claim.get("status") or {}).get("capacity") or {}).get("storage") or "0"
    if not is_ours(volume) or (claim.get("status") or {}).get("phase") != "Bound":
        return ""
    if name_of(volume) != claim["spec"].get("volumeName"):
        return ""
    return requested if parse_quantity(requested) > parse_quantity(granted) else ""
