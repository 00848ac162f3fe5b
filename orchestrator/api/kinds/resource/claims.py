"""ResourceClaim, ResourceClaimTemplate and DeviceClass of resource.k8s.io/v1. Mirrors pkg/registry/resource."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, NAME, age
from orchestrator.api.kinds.defaulting import clear_status, spec_and_status, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.resource.requests import (
    CONFIGURATIONS_MAX,
    default_devices,
    validate_configuration,
    validate_device_claim,
    validate_driver,
    validate_selectors,
)
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resource_claims import RESERVED_FOR_MAX
from orchestrator.api.resources import DEVICE_CLASSES, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS

RESULTS_MAX = 32


def _default_claim(obj: Object) -> None:
    spec_and_status(obj)
    default_devices(obj["spec"])


def validate_claim(obj: Object) -> list[Cause]:
    """What a new claim asks for."""
    return validate_device_claim((obj.get("spec") or {}).get("devices") or {}, "spec.devices")


def validate_claim_update(new: Object, old: Object) -> list[Cause]:
    """A claim asks for the same for ever."""
    causes = [] if new.get("spec") == old.get("spec") else [fields.immutable("spec", new.get("spec"))]
    return causes or validate_claim(new)


def validate_claim_status_update(new: Object, old: Object) -> list[Cause]:
    """Allocated once, used by whoever it is reserved for only while it is allocated."""
    status, before = new.get("status") or {}, old.get("status") or {}
    allocation, reserved = status.get("allocation"), status.get("reservedFor") or ()
    causes: list[Cause] = []
    if before.get("allocation") is not None and allocation is not None and allocation != before["allocation"]:
        causes.append(fields.immutable("status.allocation", allocation))
    elif allocation is not None:
        causes += _validate_allocation(allocation, new, "status.allocation")
    if len(reserved) > RESERVED_FOR_MAX:
        causes.append(fields.too_many("status.reservedFor", len(reserved), RESERVED_FOR_MAX))
    uids: set[str] = set()
    for position, consumer in enumerate(reserved):
        path = fields.index("status.reservedFor", position)
        causes += [fields.required(f"{path}.{key}") for key in ("resource", "name", "uid") if not consumer.get(key)]
        if consumer.get("uid") in uids:
            causes.append(fields.duplicate(f"{path}.uid", consumer["uid"]))
        uids.add(consumer.get("uid") or "")
    if reserved and allocation is None:
        causes.append(fields.forbidden("status.reservedFor", "may not be specified when `allocated` is not set"))
    deleted = new["metadata"].get("deletionTimestamp")
    known = {consumer.get("uid") for consumer in before.get("reservedFor") or ()}
    if deleted and uids - known:
        causes.append(
            fields.forbidden(
                "status.reservedFor",
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
            )
        )
    causes += _validate_devices(status.get("devices") or (), allocation or {}, "status.devices")
    return causes


def _validate_allocation(allocation: dict[str, Any], claim: Object, path: str) -> list[Cause]:
    devices = allocation.get("devices") or {}
    results = devices.get("results") or ()
    requests = ((claim.get("spec") or {}).get("devices") or {}).get("requests") or ()
    wanted = {request.get("name") for request in requests}
    wanted |= {
        f"{request.get('name')}/{one.get('name')}"
        for request in requests
        for one in request.get("firstAvailable") or ()
    }
    causes: list[Cause] = []
    if len(results) > RESULTS_MAX:
        causes.append(fields.too_many(f"{path}.devices.results", len(results), RESULTS_MAX))
    for position, result in enumerate(results):
        where = fields.index(f"{path}.devices.results", position)
        if result.get("request") not in wanted:
            text = (
                "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
            )
            causes.append(fields.invalid(f"{where}.request", result.get("request") or "", text))
        causes += validate_driver(result.get("driver") or "", f"{where}.driver")
        causes += validate_pool_name(result.get("pool") or "", f"{where}.pool")
        device = result.get("device") or ""
        if not device:
            causes.append(fields.required(f"{where}.device"))
        else:
            causes += [fields.invalid(f"{where}.device", device, text) for text in names.is_dns1123_label(device)]
    return causes


def _validate_devices(devices: Any, allocation: dict[str, Any], path: str) -> list[Cause]:
    allocated = {
        (result.get("driver"), result.get("pool"), result.get("device"))
        for result in (allocation.get("devices") or {}).get("results") or ()
    }
    causes: list[Cause] = []
    for position, device in enumerate(devices):
        where = fields.index(path, position)
        key = (device.get("driver"), device.get("pool"), device.get("device"))
        if key not in allocated:
            shown = {"Driver": key[0], "Pool": key[1], "Device": key[2]}
            causes.append(fields.invalid(where, shown, "must be an allocated device in the claim"))
    return causes


def validate_pool_name(name: str, path: str) -> list[Cause]:
    """One or more DNS subdomains between slashes."""
    if not name:
        return [fields.required(path)]
    if len(name.encode()) > 253:
        return [fields.too_long(path, 253)]
    return [fields.invalid(path, part, text) for part in name.split("/") for text in names.is_dns1123_subdomain(part)]


def _claim_state(obj: Object) -> str:
    status, states = obj.get("status") or {}, []
    is_deleted = bool(obj["metadata"].get("deletionTimestamp"))
    if is_deleted:
        states.append("deleted")
    if status.get("allocation") is None:
        if not is_deleted:
            states.append("pending")
    else:
        states.append("allocated")
        if status.get("reservedFor"):
            states.append("reserved")
    return ",".join(states)


def _claim_row(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), _claim_state(obj), age(obj, now)]


RESOURCE_CLAIM = Kind(
    RESOURCE_CLAIMS,
    "io.k8s.api.resource.v1.ResourceClaim",
    "resourceclaim",
    has_status=True,
    default=_default_claim,
    prepare_create=clear_status,
    validate=validate_claim,
    validate_update=validate_claim_update,
    validate_status_update=validate_claim_status_update,
    columns=(
        NAME,
        Column("State", description="A summary of the current state (allocated, pending, reserved, etc.)."),
        AGE,
    ),
    row=_claim_row,
)


def _default_template(obj: Object) -> None:
    default_devices(struct(obj, "spec", "spec"))


def _validate_template(obj: Object) -> list[Cause]:
    claim = (obj.get("spec") or {}).get("spec") or {}
    return validate_device_claim(claim.get("devices") or {}, "spec.spec.devices")


def _validate_template_update(new: Object, old: Object) -> list[Cause]:
    return [] if new.get("spec") == old.get("spec") else [fields.immutable("spec", new.get("spec"))]


RESOURCE_CLAIM_TEMPLATE = Kind(
    RESOURCE_CLAIM_TEMPLATES,
    "io.k8s.api.resource.v1.ResourceClaimTemplate",
    "resourceclaimtemplate",
    default=_default_template,
    validate=_validate_template,
    validate_update=_validate_template_update,
)


def _default_class(obj: Object) -> None:
    struct(obj, "spec")


def _validate_class(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes = validate_selectors(spec.get("selectors") or (), "spec.selectors")
    configurations = spec.get("config") or ()
    if len(configurations) > CONFIGURATIONS_MAX:
        causes.append(fields.too_many("spec.config", len(configurations), CONFIGURATIONS_MAX))
    for position, config in enumerate(configurations):
        causes += validate_configuration(config, fields.index("spec.config", position))
    return causes


DEVICE_CLASS = Kind(
    DEVICE_CLASSES,
    "io.k8s.api.resource.v1.DeviceClass",
    "deviceclass",
    has_generation=True,
    default=_default_class,
    validate=_validate_class,
)
