"""The kinds of storage.k8s.io/v1. Mirrors k8s.io/kubernetes/pkg/apis/storage and its printers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, NAME, UNSET, age, count, dig, ref
from orchestrator.api.kinds.core.node_warnings import DEPRECATED_NODE_LABELS, warn_node_selector_term
from orchestrator.api.kinds.core.resource_names import parsed
from orchestrator.api.kinds.core.volume_validation import validate_csi_driver_name
from orchestrator.api.kinds.defaulting import canonical_quantity, fill, fill_empty, items, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.label_selectors import validate_label_name, validate_label_selector
from orchestrator.api.objects import Object, annotations_of, name_of
from orchestrator.api.resources import (
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    VOLUME_ATTRIBUTES_CLASSES,
)

DEFAULT_CLASS_ANNOTATION = "storageclass.kubernetes.io/is-default-class"
_BETA_DEFAULT_CLASS_ANNOTATION = "storageclass.beta.kubernetes.io/is-default-class"
_PARAMETERS_MAX = 512
_PARAMETERS_BYTES_MAX = 256 * 1024
_ATTACH_ERROR_BYTES_MAX = 1024
_ATTACH_METADATA_BYTES_MAX = 256 * 1024
_TOKEN_SECONDS_MAX = 2**32
_UPDATE_PERIOD_SECONDS_MIN = 10


def _validate_parameters(parameters: dict[str, str] | None, path: str, *, required: bool = False) -> list[Cause]:
    if not parameters:
        if required:
            return [fields.required(path, "must contain at least one key/value pair")]
        return []
    if len(parameters) > _PARAMETERS_MAX:
        return [fields.too_long(path, _PARAMETERS_MAX)]
    causes: list[Cause] = []
    total = 0
    for key, value in parameters.items():
        if not key:
            causes.append(fields.invalid(path, key, "field can not be empty."))
        total += len(key.encode()) + len(str(value).encode())
    if total > _PARAMETERS_BYTES_MAX:
        causes.append(fields.too_long(path, _PARAMETERS_BYTES_MAX))
    return causes


def _validate_provisioner(name: str, path: str) -> list[Cause]:
    if not name:
        return [fields.required(path)]
    return [fields.invalid(path, name.lower(), text) for text in names.is_qualified_name(name.lower())]


# --- StorageClass -----------------------------------------------------------------------------


def _default_class(obj: Object) -> None:
    fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def validate_storage_class(obj: Object) -> list[Cause]:
    """Provisioner, parameters, policies, topologies."""
    causes = _validate_provisioner(obj.get("provisioner") or "", "provisioner")
    causes += _validate_parameters(obj.get("parameters"), "parameters")
    policy = obj.get("reclaimPolicy")
    if policy and policy not in ("Delete", "Retain"):
        causes.append(fields.not_supported("reclaimPolicy", policy, ("Delete", "Retain")))
    mode = obj.get("volumeBindingMode")
    if mode is None:
        causes.append(fields.required("volumeBindingMode"))
    elif mode not in ("Immediate", "WaitForFirstConsumer"):
        causes.append(fields.not_supported("volumeBindingMode", mode, ("Immediate", "WaitForFirstConsumer")))
    return causes + _validate_topologies(obj.get("allowedTopologies") or ())


def _validate_topologies(terms: Sequence[dict[str, Any]]) -> list[Cause]:
    causes: list[Cause] = []
    # As in kube-apiserver, whose list of known terms begins with as many empty ones.
    known: Counter[frozenset[tuple[str, frozenset[str]]]] = Counter({frozenset(): len(terms)})
    for position, term in enumerate(terms):
        path = fields.index("allowedTopologies", position) + ".matchLabelExpressions"
        keys: dict[str, frozenset[str]] = {}
        for number, expression in enumerate(term.get("matchLabelExpressions") or ()):
            where = fields.index(path, number)
            key, values = expression.get("key") or "", expression.get("values") or ()
            if not values:
                causes.append(fields.required(f"{where}.values"))
            seen: set[str] = set()
            for place, value in enumerate(values):
                if value in seen:
                    causes.append(fields.duplicate(fields.index(f"{where}.values", place), value))
                seen.add(value)
            causes += validate_label_name(key, f"{where}.key")
            if key in keys:
                causes.append(fields.duplicate(f"{where}.key", key))
            keys[key] = frozenset(values)
        topology = frozenset(keys.items())
        causes += [fields.duplicate(path, "")] * known[topology]
        known[topology] += 1
    return causes


def _validate_storage_class_update(new: Object, old: Object) -> list[Cause]:
    causes: list[Cause] = []
    if (new.get("parameters") or {}) != (old.get("parameters") or {}):
        causes.append(fields.forbidden("parameters", "updates to parameters are forbidden."))
    for key in ("provisioner", "reclaimPolicy"):
        if new.get(key) != old.get(key):
            causes.append(fields.forbidden(key, f"updates to {key} are forbidden."))
    if new.get("volumeBindingMode") != old.get("volumeBindingMode"):
        causes.append(fields.immutable("volumeBindingMode", new.get("volumeBindingMode")))
    return causes


def is_default_class(obj: Object) -> bool:
    """Whether claims without a class get this one."""
    annotations = annotations_of(obj)
    return "true" in (annotations.get(DEFAULT_CLASS_ANNOTATION), annotations.get(_BETA_DEFAULT_CLASS_ANNOTATION))


def _class_row(obj: Object, now: datetime) -> list[Any]:
    name = name_of(obj) + (" (default)" if is_default_class(obj) else "")
    return [
        name,
        obj.get("provisioner") or "",
        obj.get("reclaimPolicy") or "Delete",
        obj.get("volumeBindingMode") or "Immediate",
        bool(obj.get("allowVolumeExpansion")),
        age(obj, now),
    ]


def _warn_class(new: Object, old: Object | None) -> list[str]:
    return [
        f"{fields.index(f'{path}.matchLabelExpressions', number)}.key: {DEPRECATED_NODE_LABELS[key]}"
        for position, topology in enumerate(new.get("allowedTopologies") or ())
        if (path := fields.index("allowedTopologies", position))
        for number, expression in enumerate(topology.get("matchLabelExpressions") or ())
        if (key := expression.get("key") or "") in DEPRECATED_NODE_LABELS
    ]


STORAGE_CLASS = Kind(
    STORAGE_CLASSES,
    "io.k8s.api.storage.v1.StorageClass",
    "storageclass",
    short_names=("sc",),
    default=_default_class,
    validate=validate_storage_class,
    validate_update=_validate_storage_class_update,
    warn=_warn_class,
    columns=(
        NAME,
        Column("Provisioner", description=ref("storage.v1.StorageClass", "provisioner")),
        Column("ReclaimPolicy", description=ref("storage.v1.StorageClass", "reclaimPolicy")),
        Column("VolumeBindingMode", description=ref("storage.v1.StorageClass", "volumeBindingMode")),
        Column("AllowVolumeExpansion", description=ref("storage.v1.StorageClass", "allowVolumeExpansion")),
        AGE,
    ),
    row=_class_row,
    delete_returns_object=True,
)


# --- VolumeAttributesClass --------------------------------------------------------------------


def _validate_attributes_class(obj: Object) -> list[Cause]:
    return _validate_provisioner(obj.get("driverName") or "", "driverName") + _validate_parameters(
        obj.get("parameters"), "parameters", required=True
    )


def _validate_attributes_class_update(new: Object, old: Object) -> list[Cause]:
    causes: list[Cause] = []
    if new.get("driverName") != old.get("driverName"):
        causes.append(fields.forbidden("driverName", "updates to driverName are forbidden."))
    if (new.get("parameters") or {}) != (old.get("parameters") or {}):
        causes.append(fields.forbidden("parameters", "updates to parameters are forbidden."))
    return causes + _validate_attributes_class(new)


def _attributes_row(obj: Object, now: datetime) -> list[Any]:
    default = annotations_of(obj).get("volumeattributesclass.storage.kubernetes.io/is-default-class") == "true"
    return [name_of(obj) + (" (default)" if default else ""), obj.get("driverName") or "", age(obj, now)]


VOLUME_ATTRIBUTES_CLASS = Kind(
    VOLUME_ATTRIBUTES_CLASSES,
    "io.k8s.api.storage.v1.VolumeAttributesClass",
    "volumeattributesclass",
    short_names=("vac",),
    validate=_validate_attributes_class,
    validate_update=_validate_attributes_class_update,
    columns=(NAME, Column("DriverName", description=ref("storage.v1.VolumeAttributesClass", "driverName")), AGE),
    row=_attributes_row,
    delete_returns_object=True,
)


# --- VolumeAttachment -------------------------------------------------------------------------


def _default_attachment(obj: Object) -> None:
    struct(obj, "spec", "source")
    fill(struct(obj, "status"), attached=False)


def _prepare_attachment(obj: Object) -> None:
    obj["status"] = {"attached": False}


def validate_attachment(obj: Object) -> list[Cause]:
    """Who attaches what where."""
    spec = obj.get("spec") or {}
    attacher, node, source = spec.get("attacher") or "", spec.get("nodeName") or "", spec.get("source") or {}
    causes = [] if attacher else [fields.required("spec.attacher")]
    volume, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    only_one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if inline is None and volume is None:
        causes.append(fields.required("spec.source", only_one))
    elif inline is not None and volume is not None:
        causes.append(fields.forbidden("spec.source", only_one))
    elif volume == "":
        causes.append(
            fields.required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName")
        )
    causes += [fields.invalid("spec.nodeName", node, text) for text in names.is_dns1123_subdomain(node)]
    causes += _validate_attachment_status(obj.get("status") or {})
    return causes


def _validate_new_attachment(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = validate_attachment(obj) + validate_csi_driver_name(spec.get("attacher") or "", "spec.attacher")
    volume = dig(spec, "source", "persistentVolumeName")
    if volume is not None:
        where = "spec.source.persistentVolumeName"
        causes += [fields.invalid(where, volume, text) for text in names.is_dns1123_subdomain(volume)]
    return causes


def _validate_attachment_status(status: dict[str, Any]) -> list[Cause]:
    causes: list[Cause] = []
    metadata = status.get("attachmentMetadata") or {}
    if sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items()) > _ATTACH_METADATA_BYTES_MAX:
        causes.append(fields.too_long("status.attachmentMetadata", _ATTACH_METADATA_BYTES_MAX))
    for key in ("attachError", "detachError"):
        error = status.get(key) or {}
        if len((error.get("message") or "").encode()) > _ATTACH_ERROR_BYTES_MAX:
            # kube-apiserver names the other limit, too.
            causes.append(fields.too_long(f"status.{key}.message", _ATTACH_METADATA_BYTES_MAX))
        if (code := error.get("errorCode") or 0) < 0:
            causes.append(
                fields.invalid(f"status.{key}.errorCode", code, "must be between 0 and 2147483647, inclusive")
            )
    return causes


def _validate_attachment_update(new: Object, old: Object) -> list[Cause]:
    causes = validate_attachment(new)
    if new.get("spec") != old.get("spec"):
        causes.append(fields.invalid("spec", new.get("spec"), "field is immutable"))
    return causes


def _attachment_row(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    return [
        name_of(obj),
        spec.get("attacher") or "",
        dig(spec, "source", "persistentVolumeName") or "",
        spec.get("nodeName") or "",
        bool(dig(obj, "status", "attached")),
        age(obj, now),
    ]


VOLUME_ATTACHMENT = Kind(
    VOLUME_ATTACHMENTS,
    "io.k8s.api.storage.v1.VolumeAttachment",
    "volumeattachment",
    has_status=True,
    unconditional_update=False,
    default=_default_attachment,
    prepare_create=_prepare_attachment,
    validate=_validate_new_attachment,
    validate_update=_validate_attachment_update,
    validate_status_update=_validate_attachment_update,
    columns=(
        NAME,
        Column("Attacher", format="name", description=ref("storage.v1.VolumeAttachmentSpec", "attacher")),
        Column("PV", description=ref("storage.v1.VolumeAttachmentSource", "persistentVolumeName")),
        Column("Node", description=ref("storage.v1.VolumeAttachmentSpec", "nodeName")),
        Column("Attached", "boolean", description=ref("storage.v1.VolumeAttachmentStatus", "attached")),
        AGE,
    ),
    row=_attachment_row,
    delete_returns_object=True,
    status_metadata=(),
)


# --- CSIDriver and CSINode --------------------------------------------------------------------


def _default_driver(obj: Object) -> None:
    spec = struct(obj, "spec")
    fill(
        spec,
        attachRequired=True,
        podInfoOnMount=False,
        storageCapacity=False,
        fsGroupPolicy="ReadWriteOnceWithFSType",
        requiresRepublish=False,
        seLinuxMount=False,
    )
    fill_empty(spec, volumeLifecycleModes=["Persistent"])


def validate_driver(obj: Object) -> list[Cause]:
    """The name of a driver, its modes, its tokens."""
    causes: list[Cause] = []
    spec = obj.get("spec") or {}
    policy = spec.get("fsGroupPolicy")
    if policy is not None and policy not in ("File", "None", "ReadWriteOnceWithFSType"):
        causes.append(fields.not_supported("spec.fsGroupPolicy", policy, ("File", "None", "ReadWriteOnceWithFSType")))
    audiences: set[str] = set()
    for position, request in enumerate(spec.get("tokenRequests") or ()):
        path = fields.index("spec.tokenRequests", position)
        audience, seconds = request.get("audience") or "", request.get("expirationSeconds")
        if audience in audiences:
            causes.append(fields.duplicate(f"{path}.audience", audience))
            continue
        audiences.add(audience)
        if seconds is not None and seconds < 600:
            causes.append(
                fields.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
            )
        if seconds is not None and seconds > _TOKEN_SECONDS_MAX:
            detail = "may not specify a duration larger than 2^32 seconds"
            causes.append(fields.invalid(f"{path}.expirationSeconds", seconds, detail))
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in ("Persistent", "Ephemeral"):
            causes.append(fields.not_supported("spec.volumeLifecycleModes", mode, ("Persistent", "Ephemeral")))
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < _UPDATE_PERIOD_SECONDS_MIN:
        where = "spec.nodeAllocatableUpdatePeriodSeconds"
        causes.append(fields.invalid(where, period, "must be greater than or equal to 10 seconds"))
    return causes


def _validate_driver_update(new: Object, old: Object) -> list[Cause]:
    causes = validate_driver(new)
    # The name attachedRequired is the API server's.
    for key, shown in (("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")):
        value = dig(new, "spec", key)
        if value != dig(old, "spec", key):
            causes.append(fields.immutable(f"spec.{shown}", value))
    return causes


def _driver_row(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    tokens = ",".join(request.get("audience") or "" for request in spec.get("tokenRequests") or ())
    return [
        name_of(obj),
        bool(spec.get("attachRequired", True)),
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        tokens or UNSET,
        bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or ()) or "<none>",
        age(obj, now),
    ]


_DRIVER = "storage.v1.CSIDriverSpec"
CSI_DRIVER = Kind(
    CSI_DRIVERS,
    "io.k8s.api.storage.v1.CSIDriver",
    "csidriver",
    unconditional_update=False,
    has_generation=True,
    default=_default_driver,
    validate=validate_driver,
    validate_update=_validate_driver_update,
    columns=(
        NAME,
        Column("AttachRequired", "boolean", description=ref(_DRIVER, "attachRequired")),
        Column("PodInfoOnMount", "boolean", description=ref(_DRIVER, "podInfoOnMount")),
        Column("StorageCapacity", "boolean", description=ref(_DRIVER, "storageCapacity")),
        Column("TokenRequests", description=ref(_DRIVER, "tokenRequests")),
        Column("RequiresRepublish", "boolean", description=ref(_DRIVER, "requiresRepublish")),
        Column("Modes", description=ref(_DRIVER, "volumeLifecycleModes")),
        AGE,
    ),
    row=_driver_row,
    delete_returns_object=True,
)


def _default_node(obj: Object) -> None:
    spec = struct(obj, "spec")
    if not spec.get("drivers"):
        spec["drivers"] = None
    for driver in items(spec, "drivers"):
        driver.setdefault("topologyKeys", None)


def validate_csi_node(obj: Object) -> list[Cause]:
    """Every driver once, with the name that it gives the node."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for position, driver in enumerate(dig(obj, "spec", "drivers") or ()):
        path = fields.index("spec.drivers", position)
        name, node = driver.get("name") or "", driver.get("nodeID") or ""
        causes += validate_csi_driver_name(name, f"{path}.name")
        if not node:
            causes.append(fields.required(f"{path}.nodeID"))
        elif len(node.encode()) > 256:
            causes.append(fields.invalid(f"{path}.nodeID", node, "must be 256 characters or less"))
        amount = dig(driver, "allocatable", "count")
        if amount is not None and amount < 0:
            causes.append(fields.invalid(f"{path}.allocatable.count", amount, "must be greater than or equal to 0"))
        if name in seen:
            causes.append(fields.duplicate(f"{path}.name", name))
        seen.add(name)
        keys = driver.get("topologyKeys") or ()
        again = fields.repeated(keys)
        for number, key in enumerate(keys):
            if not key:
                causes.append(fields.required(path))
            if number in again:
                causes.append(fields.duplicate(path, key))
            causes += validate_label_name(key, path)
    return causes


def _validate_csi_node_update(new: Object, old: Object) -> list[Cause]:
    causes = validate_csi_node(new)
    current = {driver.get("name"): driver for driver in dig(new, "spec", "drivers") or ()}
    for driver in dig(old, "spec", "drivers") or ():
        later = current.get(driver.get("name"))
        if later is not None and {**later, "allocatable": None} != {**driver, "allocatable": None}:
            causes.append(fields.invalid("spec.drivers", later, "field is immutable"))
    return causes


CSI_NODE = Kind(
    CSI_NODES,
    "io.k8s.api.storage.v1.CSINode",
    "csinode",
    unconditional_update=False,
    default=_default_node,
    validate=validate_csi_node,
    validate_update=_validate_csi_node_update,
    columns=(
        NAME,
        Column("Drivers", "integer", description="Drivers indicates the number of CSI drivers registered on the node"),
        AGE,
    ),
    row=lambda obj, now: [name_of(obj), count(dig(obj, "spec", "drivers")), age(obj, now)],
    delete_returns_object=True,
)


# --- CSIStorageCapacity -----------------------------------------------------------------------


def _default_capacity(obj: Object) -> None:
    canonical_quantity(obj, "capacity")
    canonical_quantity(obj, "maximumVolumeSize")


def validate_capacity(obj: Object) -> list[Cause]:
    """A class, nodes, amounts."""
    name = obj.get("storageClassName") or ""
    causes = validate_label_selector(obj.get("nodeTopology"), "nodeTopology")
    causes += [fields.invalid("storageClassName", name, text) for text in names.is_dns1123_subdomain(name)]
    if obj.get("capacity") is not None and parsed(obj["capacity"]).sign() < 0:
        causes.append(fields.invalid("capacity", str(parsed(obj["capacity"])), "must be greater than or equal to 0"))
    return causes


def _validate_capacity_update(new: Object, old: Object) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("nodeTopology", "storageClassName"):
        if new.get(key) != old.get(key):
            causes.append(fields.immutable(key, new.get(key)))
    return causes


def _warn_capacity(new: Object, old: Object | None) -> list[str]:
    topology = new.get("nodeTopology") or {}
    warnings = warn_node_selector_term(topology, "nodeTopology")
    return warnings + [
        f"nodeTopology.matchLabels.{key}: {DEPRECATED_NODE_LABELS[key]}"
        for key in sorted(topology.get("matchLabels") or {})
        if key in DEPRECATED_NODE_LABELS
    ]


CSI_STORAGE_CAPACITY = Kind(
    CSI_STORAGE_CAPACITIES,
    "io.k8s.api.storage.v1.CSIStorageCapacity",
    "csistoragecapacity",
    unconditional_update=False,
    default=_default_capacity,
    validate=validate_capacity,
    validate_update=_validate_capacity_update,
    warn=_warn_capacity,
    columns=(
        NAME,
        Column("StorageClassName", description=ref("storage.v1.CSIStorageCapacity", "storageClassName")),
        Column("Capacity", description=ref("storage.v1.CSIStorageCapacity", "capacity")),
        AGE,
    ),
    row=lambda obj, now: [
        name_of(obj),
        obj.get("storageClassName") or "",
        obj.get("capacity") or UNSET,
        age(obj, now),
    ],
)
