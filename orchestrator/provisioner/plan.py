"""What a claim gets, when a volume comes to its end, and how it grows. Pure."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from orchestrator.api.objects import Object, annotations_of, is_terminating, name_of, uid_of
from orchestrator.api.quantity import parse_quantity
from orchestrator.api.volume_binding import SELECTED_NODE, class_of, reference_to

PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
ASKED = "volume.kubernetes.io/storage-provisioner"
"""On a claim: the binder asks this provisioner."""
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
"""Keeps a volume until its directory was dealt with as the reclaim policy says (KEP-2644)."""
ONE_NODE_MODES = frozenset(("ReadWriteOnce", "ReadWriteOncePod"))


def default_storage_class(name: str, provisioner: str) -> Object:
    """The class of a fresh cluster: volumes are made where the first pod of a claim runs, and can grow."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": {DEFAULT_CLASS: "true"}},
        "provisioner": provisioner,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
    }


def volume_name_of(claim: Object) -> str:
    """The volume of a claim; always the same for one claim, so that it is made once."""
    return f"pvc-{uid_of(claim)}"


def provisioner_of(volume: Object) -> str:
    """Who made a volume; empty for one that somebody wrote by hand."""
    return annotations_of(volume).get(PROVISIONED_BY, "")


def is_asked_for(claim: Object, storage_class: Object) -> bool:
    """Whether a claim waits for a volume of this class, now: also where its pod will run, if its class wants that."""
    spec = claim.get("spec") or {}
    if is_terminating(claim) or spec.get("volumeName"):
        return False
    if annotations_of(claim).get(ASKED) != storage_class.get("provisioner"):
        return False
    delays = storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
    return not delays or bool(annotations_of(claim).get(SELECTED_NODE))


def data_source_of(claim: Object) -> Object:
    """What a new volume begins with, as the claim says it (`dataSourceRef`); empty for nothing."""
    spec = claim.get("spec") or {}
    source: Object = spec.get("dataSourceRef") or spec.get("dataSource") or {}
    return source


def source_claim_of(claim: Object) -> str:
    """The claim in the same namespace whose data a new volume begins with; empty without one."""
    source = data_source_of(claim)
    is_claim = source.get("kind") == "PersistentVolumeClaim" and not source.get("apiGroup")
    return str(source.get("name") or "") if is_claim else ""


def clone_refusal(claim: Object, source: Object | None, volume: Object | None, provisioner: str) -> str:
    """Why a volume for a claim cannot begin with the data of another claim's; empty when it can.

    The checks of external-provisioner: a bound claim of the same driver and mode that is no bigger.
    """
    name = source_claim_of(claim)
    if source is None or volume is None or (source.get("status") or {}).get("phase") != "Bound":
        return f'claim "{name}" is not bound to a volume that can be copied'
    if is_terminating(source):
        return f"the PVC DataSource {name} is currently being deleted"
    if provisioner_of(volume) != provisioner:
        return f'the volume of claim "{name}" was not provisioned by {provisioner}'
    if is_block(source) is not is_block(claim):
        return "the source PVC and destination PVCs must have the same volume mode for cloning"
    wanted, has = claim["spec"]["resources"]["requests"]["storage"], volume["spec"]["capacity"]["storage"]
    if parse_quantity(wanted) < parse_quantity(has):
        return (
            "new PVC request must be greater than or equal in size to the specified PVC data source, "
            f"requested {wanted} but source is {has}"
        )
    return ""


def common_refusal(claim: Object) -> str:
    """What no volume made here can be; empty for a claim that wants nothing of it."""
    if data_source_of(claim).get("namespace"):
        return "a data source in another namespace needs a ReferenceGrant, which is not supported"
    return "claim Selector is not supported" if (claim.get("spec") or {}).get("selector") else ""


def is_block(obj: Object) -> bool:
    """Whether a claim or volume is a device instead of files."""
    return (obj.get("spec") or {}).get("volumeMode") == "Block"


def is_for_one_node(claim: Object) -> bool:
    """Whether no two nodes use the volume at once."""
    return ONE_NODE_MODES.issuperset(claim["spec"]["accessModes"])


def on_node(key: str, value: str = "") -> Object:
    """`spec.nodeAffinity` for nodes with this label, whatever it says when the value is empty."""
    expression = {"key": key, "operator": "In", "values": [value]} if value else {"key": key, "operator": "Exists"}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}


def plan_volume(claim: Object, storage_class: Object, made: Object) -> Object:
    """The PersistentVolume for a claim; `made` is the part of its spec that leads to the data."""
    spec = claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": volume_name_of(claim),
            "annotations": {PROVISIONED_BY: storage_class["provisioner"]},
            "finalizers": [FINALIZER],
        },
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "storageClassName": class_of(claim),
            "volumeMode": spec.get("volumeMode") or "Filesystem",
            "claimRef": reference_to(claim),
            **made,
        },
    }


class Ending(Struct, frozen=True):
    """How a volume ends."""

    data: Literal["remove", "keep"]
    delete_object: bool
    """Delete the PersistentVolume too; it is being deleted already otherwise."""


def plan_ending(volume: Object) -> Ending | None:
    """What to do with a volume that nobody uses any more; None while it is of use."""
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
    if (claim.get("status") or {}).get("phase") != "Bound":
        return ""
    if name_of(volume) != claim["spec"].get("volumeName"):
        return ""
    return requested if parse_quantity(requested) > parse_quantity(granted) else ""
