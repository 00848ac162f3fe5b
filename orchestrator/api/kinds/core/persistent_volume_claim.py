"""PersistentVolumeClaim. Mirrors registry/core/persistentvolumeclaim and its validation.

The shared parts serve generic ephemeral volumes and the claim templates of StatefulSets.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.changes import describe_changes
from orchestrator.api.kinds.columns import AGE, NAME, UNSET, age, dig, ref
from orchestrator.api.kinds.core.resource_names import parsed, warn_fractional
from orchestrator.api.kinds.defaulting import canonical_quantities, condition_times, fill, fill_empty, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.label_selectors import validate_label_selector
from orchestrator.api.objects import Object, annotations_of, copy_object, name_of
from orchestrator.api.resources import PERSISTENT_VOLUME_CLAIMS

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_SHORT_MODES = {
    "ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP",
}  # fmt: skip
_CLASSIC_SOURCES = (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def warn_claim_spec(spec: dict[str, Any], path: str) -> list[str]:
    """Storage that is no whole number of bytes."""
    resources = spec.get("resources") or {}
    return [
        text
        for kind in ("requests", "limits")
        for text in warn_fractional(resources.get(kind), "storage", f"{path}.resources.{kind}")
    ]


def _warn(new: Object, old: Object | None) -> list[str]:
    warnings = warn_claim_spec(new.get("spec") or {}, "spec")
    if _CLASS_ANNOTATION in annotations_of(new):
        where = fields.key("metadata.annotations", _CLASS_ANNOTATION)
        warnings.insert(0, f'{where}: deprecated since v1.8; use "storageClassName" attribute instead')
    return warnings


def default_claim_spec(spec: dict[str, Any]) -> None:
    """A file system; the two ways to name a data source agree."""
    fill(spec, volumeMode="Filesystem")
    resources = struct(spec, "resources")
    canonical_quantities(resources.get("requests"))
    canonical_quantities(resources.get("limits"))
    source = spec.get("dataSource")
    if isinstance(source, dict) and "apiGroup" not in source:
        source["apiGroup"] = None
    newer = spec.get("dataSourceRef")
    if isinstance(newer, dict) and "apiGroup" not in newer:
        newer["apiGroup"] = None


def default_claim(obj: Object) -> None:
    """A new claim is pending."""
    default_claim_spec(struct(obj, "spec"))
    status = struct(obj, "status")
    fill_empty(status, phase="Pending")
    canonical_quantities(status.get("capacity"))
    canonical_quantities(status.get("allocatedResources"))


def prepare_create(obj: Object) -> None:
    """Status is the controller's; `dataSource` and `dataSourceRef` are kept alike.

    A source in another namespace is dropped, as where the feature CrossNamespaceVolumeDataSource is off (the default);
    so is a `dataSource` of a kind that only `dataSourceRef` may name (KEP-1495).
    """
    obj["status"] = {"phase": "Pending"}
    spec = struct(obj, "spec")
    if (spec.get("dataSourceRef") or {}).get("namespace"):
        del spec["dataSourceRef"]
    elif not spec.get("dataSourceRef") and spec.get("dataSource"):
        named = (spec["dataSource"].get("apiGroup") or "", spec["dataSource"].get("kind"))
        if named not in _CLASSIC_SOURCES:
            del spec["dataSource"]
    source, newer = spec.get("dataSource"), spec.get("dataSourceRef")
    if source and not newer:
        spec["dataSourceRef"] = {**source}
    elif newer and not source:
        spec["dataSource"] = {**newer}


def validate_access_modes(modes: Any, path: str) -> list[Cause]:
    """Known modes; ReadWriteOncePod alone."""
    causes = [fields.not_supported(path, mode, ACCESS_MODES) for mode in modes or () if mode not in ACCESS_MODES]
    if "ReadWriteOncePod" in (modes or ()) and len(set(modes) & set(ACCESS_MODES)) > 1:
        causes.append(fields.forbidden(path, "may not use ReadWriteOncePod with other access modes"))
    return causes


def validate_claim_spec(spec: dict[str, Any], path: str, *, check_groups: bool = True) -> list[Cause]:
    """Modes, selector, requested storage, class, mode, source."""
    causes: list[Cause] = []
    if not spec.get("accessModes"):
        causes.append(fields.required(f"{path}.accessModes", "at least 1 access mode is required"))
    causes += validate_label_selector(spec.get("selector"), f"{path}.selector")
    causes += validate_access_modes(spec.get("accessModes"), f"{path}.accessModes")
    requests = dig(spec, "resources", "requests") or {}
    where = fields.key(f"{path}.resources", "storage")
    if "storage" not in requests:
        causes.append(fields.required(where))
    else:
        amount = parsed(requests["storage"])
        if amount.sign() <= 0:
            causes.append(fields.invalid(where, str(amount), "must be greater than zero"))
    name = spec.get("storageClassName")
    if name:
        causes += [fields.invalid(f"{path}.storageClassName", name, t) for t in names.is_dns1123_subdomain(name)]
    mode = spec.get("volumeMode")
    if mode is not None and mode not in ("Block", "Filesystem"):
        causes.append(fields.not_supported(f"{path}.volumeMode", mode, ("Block", "Filesystem")))
    source, newer = spec.get("dataSource"), spec.get("dataSourceRef")
    for key, value in (("dataSource", source), ("dataSourceRef", newer)):
        if value is not None:
            causes += _validate_source(value, f"{path}.{key}", check_group=check_groups)
    if source is not None and newer is not None and not newer.get("namespace") and not _is_same_source(source, newer):
        message = f"Invalid value: {path}.dataSource: must match dataSourceRef"
        causes.append(Cause("FieldValueInvalid", message, path))
    attributes = spec.get("volumeAttributesClassName")
    if attributes:
        causes += [
            fields.invalid(f"{path}.volumeAttributesClassName", attributes, text)
            for text in names.is_dns1123_subdomain(attributes)
        ]
    return causes


def _is_same_source(source: dict[str, Any], newer: dict[str, Any]) -> bool:
    return all((source.get(key) or "") == (newer.get(key) or "") for key in ("apiGroup", "kind", "name"))


def _validate_source(source: dict[str, Any], path: str, *, check_group: bool) -> list[Cause]:
    causes = [fields.required(f"{path}.{part}") for part in ("name", "kind") if not source.get(part)]
    group, kind = source.get("apiGroup") or "", source.get("kind") or ""
    if not group and kind != "PersistentVolumeClaim":
        detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        causes.append(fields.invalid(path, kind, detail))
    if group and check_group:
        causes += [fields.invalid(f"{path}.apiGroup", group, text) for text in names.is_dns1123_subdomain(group)]
    return causes


def validate_claim(obj: Object) -> list[Cause]:
    """Everything wrong with a claim."""
    return validate_claim_spec(obj.get("spec") or {}, "spec")


def validate_claim_update(new: Object, old: Object) -> list[Cause]:
    """The spec is fixed, but for binding and for growing a bound claim."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    had_group = any((before.get(key) or {}).get("apiGroup") for key in ("dataSource", "dataSourceRef"))
    causes = validate_claim_spec(spec, "spec", check_groups=not had_group)
    is_bound = dig(new, "status", "phase") == "Bound"
    munged = copy_object(spec)
    if not before.get("volumeName") and spec.get("volumeName"):
        munged.pop("volumeName", None)
    causes += _munge_class(munged, new, old)
    class_before = before.get("volumeAttributesClassName")
    if is_bound and munged.get("volumeAttributesClassName") is not None:
        if class_before is not None:
            munged["volumeAttributesClassName"] = class_before
        else:
            munged.pop("volumeAttributesClassName")
    requested, had = dig(spec, "resources", "requests", "storage"), dig(before, "resources", "requests", "storage")
    if is_bound and requested is not None and had is not None:
        munged["resources"]["requests"]["storage"] = had
    if munged != before:
        causes.append(
            fields.forbidden(
                "spec",
                "spec is immutable after creation except resources.requests and volumeAttributesClassName "
                "for bound claims" + describe_changes(munged, before),
            )
        )
    # What is left of a growth that failed may be given up, not what is there.
    capacity = parsed(dig(old, "status", "capacity", "storage") or "0")
    if requested is not None and had is not None and parsed(requested) < parsed(had) and parsed(requested) <= capacity:
        causes.append(fields.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity"))
    if spec.get("volumeMode") != before.get("volumeMode"):
        causes.append(fields.immutable("volumeMode", spec.get("volumeMode")))
    return causes + validate_attributes_class_change(spec.get("volumeAttributesClassName"), class_before)


def validate_attributes_class_change(new: str | None, old: str | None) -> list[Cause]:
    """A class of attributes is changed, never taken away (KEP-3751)."""
    path = "spec.volumeAttributesClassName"
    if old is None or new == old:
        return []
    if new is None:
        return [fields.forbidden(path, "update from non-nil value to nil is forbidden")]
    if not new:
        return [fields.forbidden(path, "update from non-nil value to an empty string is forbidden")]
    return []


def _munge_class(munged: dict[str, Any], new: Object, old: Object) -> list[Cause]:
    """The storage class may be set where there was none, or only the annotation."""
    annotation, had = annotations_of(new).get(_CLASS_ANNOTATION), annotations_of(old).get(_CLASS_ANNOTATION)
    name, before = munged.get("storageClassName"), dig(old, "spec", "storageClassName")
    may_be_set = before is None and name is not None and had in (None, name)
    if may_be_set:
        munged.pop("storageClassName")
    if annotation == had or (may_be_set and had is not None and annotation is None):
        return []
    return [fields.immutable(f"metadata.annotations.{_CLASS_ANNOTATION}", annotation or "")]


def access_modes_cell(modes: Any) -> str:
    """`RWO,ROX,RWX,RWOP`, in this order, each once."""
    given = set(modes or ())
    return ",".join(short for mode, short in _SHORT_MODES.items() if mode in given)


def storage_class_of(obj: Object) -> str:
    """The class that a claim or volume names, also through the old annotation."""
    annotations = obj.get("metadata", {}).get("annotations") or {}
    if _CLASS_ANNOTATION in annotations:
        return str(annotations[_CLASS_ANNOTATION])
    return dig(obj, "spec", "storageClassName") or ""


def _row(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    phase = status.get("phase") or ""
    if obj.get("metadata", {}).get("deletionTimestamp"):
        phase = "Terminating"
    capacity, modes = "", ""
    if spec.get("volumeName"):
        modes = access_modes_cell(status.get("accessModes"))
        capacity = (status.get("capacity") or {}).get("storage") or "0"
    return [
        name_of(obj),
        phase,
        spec.get("volumeName") or "",
        capacity,
        modes,
        storage_class_of(obj),
        spec.get("volumeAttributesClassName") or UNSET,
        age(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


PERSISTENT_VOLUME_CLAIM = Kind(
    PERSISTENT_VOLUME_CLAIMS,
    "io.k8s.api.core.v1.PersistentVolumeClaim",
    "persistentvolumeclaim",
    short_names=("pvc",),
    has_status=True,
    default_status=condition_times("lastProbeTime", "lastTransitionTime"),
    default=default_claim,
    prepare_create=prepare_create,
    validate=validate_claim,
    validate_update=validate_claim_update,
    warn=_warn,
    columns=(
        NAME,
        Column("Status", description=ref("core.v1.PersistentVolumeClaimStatus", "phase")),
        Column("Volume", description=ref("core.v1.PersistentVolumeClaimSpec", "volumeName")),
        Column("Capacity", description=ref("core.v1.PersistentVolumeClaimStatus", "capacity")),
        Column("Access Modes", description=ref("core.v1.PersistentVolumeClaimStatus", "accessModes")),
        Column("StorageClass", description="StorageClass of the pvc"),
        Column("VolumeAttributesClass", description="VolumeAttributesClass of the pvc"),
        AGE,
        Column("VolumeMode", description=ref("core.v1.PersistentVolumeClaimSpec", "volumeMode"), priority=1),
    ),
    row=_row,
    selectable_fields={"name": name_of},
    delete_returns_object=True,
)
