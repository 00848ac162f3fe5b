"""PersistentVolume. Mirrors registry/core/persistentvolume and its validation."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.changes import describe_changes
from orchestrator.api.kinds.columns import AGE, NAME, UNSET, age, dig, ref
from orchestrator.api.kinds.core.node_warnings import warn_node_selector_term
from orchestrator.api.kinds.core.persistent_volume_claim import (
    access_modes_cell,
    storage_class_of,
    validate_access_modes,
    validate_attributes_class_change,
)
from orchestrator.api.kinds.core.pod_spec import default_volume_source
from orchestrator.api.kinds.core.resource_names import parsed, warn_fractional
from orchestrator.api.kinds.core.scheduling_validation import validate_node_selector
from orchestrator.api.kinds.core.volume_validation import (
    DEPRECATED_SOURCES,
    validate_csi_driver_name,
    validate_host_path,
    validate_nfs,
    validate_no_backsteps,
    validate_volume_sources,
)
from orchestrator.api.kinds.defaulting import canonical_quantities, fill, fill_empty, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.objects import Object, annotations_of, copy_object, name_of
from orchestrator.api.resources import PERSISTENT_VOLUMES

_RENAMED_LABELS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}
_RECLAIM = ("Delete", "Recycle", "Retain")


def default_volume(obj: Object) -> None:
    """Retained, a file system, pending."""
    spec = struct(obj, "spec")
    status = struct(obj, "status")
    fill_empty(status, phase="Pending")
    fill_empty(spec, persistentVolumeReclaimPolicy="Retain")
    fill(spec, volumeMode="Filesystem")
    canonical_quantities(spec.get("capacity"))
    host_path = spec.get("hostPath")
    if isinstance(host_path, dict):
        fill(host_path, type="")
    default_volume_source(spec)


def prepare_create(obj: Object) -> None:
    """A new volume is pending."""
    obj["status"] = {"phase": "Pending"}


def _local(source: dict[str, Any], path: str) -> list[Cause]:
    if not source.get("path"):
        return [fields.required(f"{path}.path")]
    return validate_no_backsteps(source["path"], f"{path}.path")


def _csi(source: dict[str, Any], path: str) -> list[Cause]:
    causes = validate_csi_driver_name(source.get("driver") or "", f"{path}.driver")
    if not source.get("volumeHandle"):
        causes.append(fields.required(f"{path}.volumeHandle"))
    return causes


def _iscsi(source: dict[str, Any], path: str) -> list[Cause]:
    return [fields.required(f"{path}.{key}") for key in ("targetPortal", "iqn") if not source.get(key)]


def _anything(source: dict[str, Any], path: str) -> list[Cause]:
    return []


# Simplified: the sources of removed in-tree drivers are not looked into.
_SOURCES = (
    ("hostPath", validate_host_path), ("gcePersistentDisk", _anything), ("awsElasticBlockStore", _anything),
    ("glusterfs", _anything), ("flocker", _anything), ("nfs", validate_nfs), ("rbd", _anything),
    ("quobyte", _anything), ("cephfs", _anything), ("iscsi", _iscsi), ("cinder", _anything), ("fc", _anything),
    ("flexVolume", _anything), ("azureFile", _anything), ("vsphereVolume", _anything),
    ("photonPersistentDisk", _anything), ("portworxVolume", _anything), ("azureDisk", _anything),
    ("scaleIO", _anything), ("local", _local), ("storageos", _anything), ("csi", _csi),
)  # fmt: skip


def validate_volume(obj: Object) -> list[Cause]:
    """Modes, capacity, policies, one source."""
    spec = obj.get("spec") or {}
    causes = [] if spec.get("accessModes") else [fields.required("spec.accessModes")]
    causes += validate_access_modes(spec.get("accessModes"), "spec.accessModes")
    capacity = spec.get("capacity") or {}
    if not capacity:
        causes.append(fields.required("spec.capacity"))
    if "storage" not in capacity or len(capacity) > 1:
        causes.append(fields.not_supported("spec.capacity", capacity, ("storage",)))
    for name in sorted(capacity):
        amount = parsed(capacity[name])
        if amount.sign() <= 0:
            causes.append(fields.invalid(fields.key("spec.capacity", name), str(amount), "must be greater than zero"))
    policy = spec.get("persistentVolumeReclaimPolicy") or ""
    if policy and policy not in _RECLAIM:
        causes.append(fields.not_supported("spec.persistentVolumeReclaimPolicy", policy, _RECLAIM))
    required = (spec.get("nodeAffinity") or {}).get("required")
    if spec.get("nodeAffinity") is not None:
        if required is None:
            causes.append(fields.required("spec.nodeAffinity.required", "must specify required node constraints"))
        else:
            causes += validate_node_selector(required, "spec.nodeAffinity.required")
    causes += validate_volume_sources(spec, "spec", _SOURCES)
    if spec.get("local") is not None and spec.get("nodeAffinity") is None:
        causes.append(fields.required("spec.nodeAffinity", "Local volume requires node affinity"))
    if dig(spec, "hostPath", "path") == "/" and policy == "Recycle":
        causes.append(
            fields.forbidden("spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'")
        )
    name = spec.get("storageClassName")
    if name:
        causes += [fields.invalid("spec.storageClassName", name, text) for text in names.is_dns1123_subdomain(name)]
    mode = spec.get("volumeMode")
    if mode is not None and mode not in ("Block", "Filesystem"):
        causes.append(fields.not_supported("spec.volumeMode", mode, ("Block", "Filesystem")))
    attributes, path = spec.get("volumeAttributesClassName"), "spec.volumeAttributesClassName"
    if attributes is not None:
        if not attributes:
            causes.append(fields.required(path, "an empty string is disallowed"))
        else:
            causes += [fields.invalid(path, attributes, text) for text in names.is_dns1123_subdomain(attributes)]
        if spec.get("csi") is None:
            causes.append(fields.required("spec.csi", "has to be specified when using volumeAttributesClassName"))
    return causes


def validate_volume_update(new: Object, old: Object) -> list[Cause]:
    """The source never changes, nor the mode; node affinity is set once."""
    causes = validate_volume(new)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    keys = [key for key, _ in _SOURCES]
    source, was = ({key: s[key] for key in keys if s.get(key) is not None} for s in (spec, before))
    secret = "controllerExpandSecretRef"
    if source.get("csi") and was.get("csi") and secret not in was["csi"]:
        source["csi"] = {key: value for key, value in source["csi"].items() if key != secret}
    if source != was:
        causes.append(
            fields.forbidden(
                "spec.persistentvolumesource",
                "spec.persistentvolumesource is immutable after creation" + describe_changes(source, was),
            )
        )
    if spec.get("volumeMode") != before.get("volumeMode"):
        causes.append(fields.immutable("volumeMode", spec.get("volumeMode")))
    if before.get("nodeAffinity") is not None and not _is_same_affinity(spec.get("nodeAffinity"), before):
        detail = "field is immutable, except for updating from beta label to GA"
        causes.append(fields.invalid("nodeAffinity", spec.get("nodeAffinity"), detail))
    had = before.get("volumeAttributesClassName")
    if had is not None and spec.get("volumeAttributesClassName") is None:
        causes += validate_attributes_class_change(None, had)
    return causes


def _is_same_affinity(affinity: dict[str, Any] | None, before: dict[str, Any]) -> bool:
    """Whether only old keys of labels became today's."""
    renamed = copy_object(before["nodeAffinity"])
    terms = dig(affinity or {}, "required", "nodeSelectorTerms") or ()
    for old_term, term in zip(dig(renamed, "required", "nodeSelectorTerms") or (), terms, strict=False):
        pairs = zip(old_term.get("matchExpressions") or (), term.get("matchExpressions") or (), strict=False)
        for old_expression, expression in pairs:
            if _RENAMED_LABELS.get(old_expression.get("key")) == expression.get("key"):
                old_expression["key"] = expression["key"]
    return affinity == renamed


def _row(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    claim = spec.get("claimRef")
    phase = status.get("phase") or ""
    if obj.get("metadata", {}).get("deletionTimestamp"):
        phase = "Terminating"
    return [
        name_of(obj),
        (spec.get("capacity") or {}).get("storage") or "0",
        access_modes_cell(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy") or "",
        phase,
        f"{claim.get('namespace') or ''}/{claim.get('name') or ''}" if claim else "",
        storage_class_of(obj),
        spec.get("volumeAttributesClassName") or UNSET,
        status.get("reason") or "",
        age(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


_OLD_ANNOTATIONS = {
    "volume.beta.kubernetes.io/storage-class": 'deprecated since v1.8; use "storageClassName" attribute instead',
    "volume.beta.kubernetes.io/mount-options": 'deprecated since v1.31; use "mountOptions" attribute instead',
}


def _warn(new: Object, old: Object | None) -> list[str]:
    annotations, spec = annotations_of(new), new.get("spec") or {}
    warnings = [
        f"{fields.key('metadata.annotations', key)}: {text}"
        for key, text in _OLD_ANNOTATIONS.items()
        if key in annotations
    ]
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        warnings.append(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated."
            " Instead, the recommended approach is to use dynamic provisioning."
        )
    path = "spec.nodeAffinity.required.nodeSelectorTerms"
    for position, term in enumerate(dig(spec, "nodeAffinity", "required", "nodeSelectorTerms") or ()):
        warnings += warn_node_selector_term(term, fields.index(path, position))
    warnings += warn_fractional(spec.get("capacity"), "storage", "spec.capacity")
    return warnings + [f"spec.{shown}: {text}" for key, shown, text in DEPRECATED_SOURCES if spec.get(key) is not None]


PERSISTENT_VOLUME = Kind(
    PERSISTENT_VOLUMES,
    "io.k8s.api.core.v1.PersistentVolume",
    "persistentvolume",
    short_names=("pv",),
    has_status=True,
    default=default_volume,
    prepare_create=prepare_create,
    validate=validate_volume,
    validate_update=validate_volume_update,
    warn=_warn,
    columns=(
        NAME,
        Column("Capacity", description=ref("core.v1.PersistentVolumeSpec", "capacity")),
        Column("Access Modes", description=ref("core.v1.PersistentVolumeSpec", "accessModes")),
        Column("Reclaim Policy", description=ref("core.v1.PersistentVolumeSpec", "persistentVolumeReclaimPolicy")),
        Column("Status", description=ref("core.v1.PersistentVolumeStatus", "phase")),
        Column("Claim", description=ref("core.v1.PersistentVolumeSpec", "claimRef")),
        Column("StorageClass", description="StorageClass of the pv"),
        Column("VolumeAttributesClass", description="VolumeAttributesClass of the pv"),
        Column("Reason", description=ref("core.v1.PersistentVolumeStatus", "reason")),
        AGE,
        Column("VolumeMode", description=ref("core.v1.PersistentVolumeSpec", "volumeMode"), priority=1),
    ),
    row=_row,
    selectable_fields={"name": name_of},
    delete_returns_object=True,
)
