"""Which volumes can serve a claim, and how a volume and a claim name each other. Pure.

What the volume binder and the scheduler must see the same way. The pair is bound when each names the other: first
the volume names the claim (`spec.claimRef`), then the claim the volume (`spec.volumeName`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from orchestrator.api.node_selection import matches_node_selector
from orchestrator.api.objects import (
    Object,
    annotations_of,
    copy_object,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    resource_version_of,
    uid_of,
)
from orchestrator.api.quantity import Quantity, parse_quantity
from orchestrator.api.selectors import from_label_selector

BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"
SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
"""On a claim: the node of its first pod, for the provisioner and the binder."""
CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"


def class_of(obj: Object) -> str:
    """The storage class that a claim or volume names, by field or by the old annotation."""
    return annotations_of(obj).get(CLASS_ANNOTATION) or (obj.get("spec") or {}).get("storageClassName") or ""


def claim_key_of(volume: Object) -> str:
    """The claim that a volume names, as `namespace/name`; empty without one."""
    reference = (volume.get("spec") or {}).get("claimRef")
    return f"{reference.get('namespace')}/{reference.get('name')}" if reference else ""


def is_for(volume: Object, claim: Object) -> bool:
    """Whether a volume names this claim; a reference without uid means whoever has that name."""
    reference = (volume.get("spec") or {}).get("claimRef")
    if not reference:
        return False
    if (reference.get("namespace"), reference.get("name")) != (namespace_of(claim), name_of(claim)):
        return False
    return not reference.get("uid") or reference["uid"] == uid_of(claim)


def reference_to(claim: Object) -> dict[str, str]:
    """`spec.claimRef` for a claim."""
    return {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": namespace_of(claim),
        "name": name_of(claim),
        "uid": uid_of(claim),
        "resourceVersion": resource_version_of(claim),
    }


def _size(volume: Object) -> Quantity:
    return parse_quantity(((volume.get("spec") or {}).get("capacity") or {}).get("storage") or "0")


def complaint(volume: Object, claim: Object) -> str:
    """Why a volume cannot serve a claim; empty when it can."""
    spec, wanted = volume.get("spec") or {}, claim.get("spec") or {}
    requested = ((wanted.get("resources") or {}).get("requests") or {}).get("storage") or "0"
    if _size(volume) < parse_quantity(requested):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if (spec.get("volumeAttributesClassName") or "") != (wanted.get("volumeAttributesClassName") or ""):
        return "volumeAttributesClassName does not match"
    if (spec.get("volumeMode") or "Filesystem") != (wanted.get("volumeMode") or "Filesystem"):
        return "incompatible volumeMode"
    if not set(wanted.get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
        return "incompatible accessMode"
    return ""


def fitting_volumes(claim: Object, volumes: Iterable[Object], *, only_named: bool = False) -> list[Object]:
    """The volumes that can serve a claim from some node: one that names it already, else the smallest first.

    `only_named`: none but the former.
    """
    selector = (claim.get("spec") or {}).get("selector")
    matcher = from_label_selector(selector) if selector is not None else None
    found: list[Object] = []
    for volume in volumes:
        if is_terminating(volume) or complaint(volume, claim):
            continue
        if is_for(volume, claim):
            return [volume]
        if only_named or (volume.get("spec") or {}).get("claimRef"):
            continue
        if (volume.get("status") or {}).get("phase") not in ("Available", None, "Pending"):
            continue
        if matcher is None or matcher.matches(labels_of(volume)):
            found.append(volume)
    return sorted(found, key=lambda one: (_size(one), name_of(one)))


def find_volume(claim: Object, volumes: Iterable[Object], node: Object | None, *, only_named: bool) -> Object | None:
    """The volume that names the claim already, else the smallest that fits; `only_named`: no other than the first."""
    for volume in fitting_volumes(claim, volumes, only_named=only_named):
        required = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required")
        if node is None or is_for(volume, claim) or matches_node_selector(required, labels_of(node), name_of(node)):
            return volume
    return None


def bound_volume(volume: Object, claim: Object) -> Object | None:
    """The volume naming the claim; None when it does so already."""
    reference = (volume.get("spec") or {}).get("claimRef")
    if reference and reference.get("uid") == uid_of(claim):
        return None
    changed = copy_object(volume)
    changed["spec"]["claimRef"] = reference_to(claim)
    if not reference:
        changed["metadata"].setdefault("annotations", {})[BOUND_BY_CONTROLLER] = "yes"
    return changed
