"""ResourceSlice of resource.k8s.io/v1: the devices that a driver has to give. Mirrors pkg/registry/resource."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, NAME, age
from orchestrator.api.kinds.core.scheduling_validation import validate_node_selector
from orchestrator.api.kinds.defaulting import canonical_quantity, items, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.resource.claims import validate_pool_name
from orchestrator.api.kinds.resource.requests import validate_driver, validate_qualified_name
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import RESOURCE_SLICES

DEVICES_MAX = 128
ATTRIBUTES_AND_CAPACITIES_MAX = 32
_PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_VALUES = ("int", "bool", "string", "version")
_TAINT_EFFECTS = ("NoSchedule", "NoExecute", "None")
_STRING_BYTES_MAX = 64


def _default_slice(obj: Object) -> None:
    for device in items(struct(obj, "spec"), "devices"):
        for capacity in (device.get("capacity") or {}).values():
            canonical_quantity(capacity, "value")


def validate_slice(obj: Object) -> list[Cause]:
    """Where the devices are, whose they are, and which."""
    spec = obj.get("spec") or {}
    causes = validate_driver(spec.get("driver") or "", "spec.driver")
    pool = spec.get("pool") or {}
    causes += validate_pool_name(pool.get("name") or "", "spec.pool.name")
    if (pool.get("resourceSliceCount") or 0) <= 0:
        text = "must be greater than zero"
        causes.append(fields.invalid("spec.pool.resourceSliceCount", pool.get("resourceSliceCount") or 0, text))
    if (pool.get("generation") or 0) < 0:
        text = "must be greater than or equal to zero"
        causes.append(fields.invalid("spec.pool.generation", pool["generation"], text))
    causes += _validate_place(spec, "spec", _PLACES)
    devices = spec.get("devices") or ()
    if len(devices) > DEVICES_MAX:
        causes.append(fields.too_many("spec.devices", len(devices), DEVICES_MAX))
    seen: set[str] = set()
    for position, device in enumerate(devices):
        path = fields.index("spec.devices", position)
        causes += _validate_device(device, path)
        name = device.get("name") or ""
        if name in seen:
            causes.append(fields.duplicate(f"{path}.name", name))
        seen.add(name)
        if spec.get("perDeviceNodeSelection"):
            causes += _validate_place(device, path, _PLACES[:3])
    return causes


def _validate_place(holder: dict[str, Any], path: str, keys: tuple[str, ...]) -> list[Cause]:
    chosen = [key for key in keys if holder.get(key)]
    if len(chosen) != 1:
        listed = ", ".join(f"`{key}`" for key in keys)
        text = f"exactly one of {listed} is required"
        if chosen:
            return [
                fields.invalid(
                    path, "{" + ", ".join(f"`{key}`" for key in chosen) + "}", f"{text}, but multiple fields are set"
                )
            ]
        return [fields.required(path, text)]
    if chosen == ["nodeName"]:
        name = holder["nodeName"]
        return [fields.invalid(f"{path}.nodeName", name, text) for text in names.is_dns1123_subdomain(name)]
    if chosen == ["nodeSelector"]:
        selector = holder["nodeSelector"]
        causes = validate_node_selector(selector, f"{path}.nodeSelector")
        terms = selector.get("nodeSelectorTerms") or ()
        if len(terms) != 1:
            where = f"{path}.nodeSelector.nodeSelectorTerms"
            causes.append(fields.invalid(where, terms, "must have exactly one node selector term"))
        return causes
    return []


def _validate_device(device: dict[str, Any], path: str) -> list[Cause]:
    name = device.get("name") or ""
    causes = [fields.invalid(f"{path}.name", name, text) for text in names.is_dns1123_label(name)] if name else []
    if not name:
        causes.append(fields.required(f"{path}.name"))
    attributes, capacities = device.get("attributes") or {}, device.get("capacity") or {}
    if len(attributes) + len(capacities) > ATTRIBUTES_AND_CAPACITIES_MAX:
        text = f"the total number of attributes and capacities must not exceed {ATTRIBUTES_AND_CAPACITIES_MAX}"
        causes.append(fields.invalid(path, len(attributes) + len(capacities), text))
    for key, attribute in attributes.items():
        where = fields.key(f"{path}.attributes", key)
        causes += validate_qualified_name(key, where)
        given = [kind for kind in _VALUES if (attribute or {}).get(kind) is not None]
        if len(given) != 1:
            text = "exactly one value must be specified"
            causes.append(fields.invalid(where, attribute, text) if given else fields.required(where, text))
            continue
        value = attribute[given[0]]
        if isinstance(value, str) and len(value.encode()) > _STRING_BYTES_MAX:
            causes.append(fields.too_long(f"{where}.{given[0]}", _STRING_BYTES_MAX))
    for key in capacities:
        causes += validate_qualified_name(key, fields.key(f"{path}.capacity", key))
    for position, taint in enumerate(device.get("taints") or ()):
        where = fields.index(f"{path}.taints", position)
        if taint.get("effect") not in _TAINT_EFFECTS:
            causes.append(fields.not_supported(f"{where}.effect", taint.get("effect") or "", _TAINT_EFFECTS))
        key = taint.get("key") or ""
        causes += [fields.invalid(f"{where}.key", key, text) for text in names.is_qualified_name(key)]
    return causes


def validate_slice_update(new: Object, old: Object) -> list[Cause]:
    """A slice stays with its driver, its pool and its node."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    causes = validate_slice(new)
    for key in ("nodeName", "driver"):
        if spec.get(key) != before.get(key):
            causes.append(fields.immutable(f"spec.{key}", spec.get(key)))
    pool, pool_before = (one.get("pool") or {} for one in (spec, before))
    if pool.get("name") != pool_before.get("name"):
        causes.append(fields.immutable("spec.pool.name", pool.get("name")))
    return causes


def _of_spec(key: str) -> Any:
    return lambda obj: str((obj.get("spec") or {}).get(key) or "")


def _row(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    node = spec.get("nodeName") or "<unset>"
    return [name_of(obj), node, spec.get("driver") or "", (spec.get("pool") or {}).get("name") or "", age(obj, now)]


RESOURCE_SLICE = Kind(
    RESOURCE_SLICES,
    "io.k8s.api.resource.v1.ResourceSlice",
    "resourceslice",
    has_generation=True,
    default=_default_slice,
    validate=validate_slice,
    validate_update=validate_slice_update,
    columns=(
        NAME,
        Column("Node", description="The name of the node which provides the resources, if they are local to one."),
        Column("Driver", description="The name of the driver which provides the resources."),
        Column("Pool", description="The name of the pool that the resources belong to."),
        AGE,
    ),
    row=_row,
    selectable_fields={"spec.nodeName": _of_spec("nodeName"), "spec.driver": _of_spec("driver")},
)
