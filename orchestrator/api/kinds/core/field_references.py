"""References from a container to fields of its pod and to its resources (the downward API).

Mirrors validateObjectFieldSelector of k8s.io/kubernetes/pkg/apis/core/validation.
"""

from __future__ import annotations

import re
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.core.resource_names import parsed

ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_CONVERTIBLE = frozenset({
    *ENV_FIELDS, *VOLUME_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase",
    "status.nominatedNodeName", "spec.hostNetwork", "spec.host",
})  # fmt: skip
_SUBSCRIPT = re.compile(r"(.*)\['(.*)'\]", re.DOTALL)
_RESOURCES = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory",
    "requests.cpu", "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip
_HUGE_PAGES = ("requests.hugepages-", "limits.hugepages-")
_UNITS = {
    f"{part}.{name}": unit
    for part in ("limits", "requests")
    for name, unit in (("cpu", "cpu"), ("memory", "memory"), ("ephemeral-storage", "local ephemeral storage"))
}
_CPU_DIVISORS = ("1m", "1")
_BYTE_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")


def validate_field_reference(reference: dict[str, Any], allowed: tuple[str, ...], path: str) -> list[Cause]:
    """A `fieldRef`: a field that is allowed here, or one label or annotation."""
    if not reference.get("apiVersion"):
        return [fields.required(f"{path}.apiVersion")]
    field = reference.get("fieldPath") or ""
    where = f"{path}.fieldPath"
    if not field:
        return [fields.required(where)]
    match = _SUBSCRIPT.fullmatch(field)
    if match:
        base, key = match[1], match[2]
        if base == "metadata.annotations":
            return [fields.invalid(path, key, text) for text in names.is_qualified_name(key.lower())]
        if base == "metadata.labels":
            return [fields.invalid(path, key, text) for text in names.is_qualified_name(key)]
        return [fields.invalid(path, base, "does not support subscript")]
    if field not in _CONVERTIBLE:
        return [fields.invalid(where, field, f"error converting fieldPath: field label not supported: {field}")]
    if field not in allowed:
        return [fields.not_supported(where, field, allowed)]
    return []


def validate_resource_reference(reference: dict[str, Any], path: str, *, is_volume: bool) -> list[Cause]:
    """A `resourceFieldRef`: which amount of which container, divided by what."""
    resource = reference.get("resource") or ""
    causes: list[Cause] = []
    if is_volume and not reference.get("containerName"):
        causes.append(fields.required(f"{path}.containerName"))
    elif not resource:
        causes.append(fields.required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE_PAGES):
        causes.append(fields.not_supported(f"{path}.resource", resource, _RESOURCES))
    return causes + _validate_divisor(resource, reference, f"{path}.divisor")


def _validate_divisor(resource: str, reference: dict[str, Any], path: str) -> list[Cause]:
    divisor = parsed(reference.get("divisor") or "0")
    unit = "hugepages" if resource.startswith(_HUGE_PAGES) else _UNITS.get(resource)
    if divisor.is_zero() or unit is None:
        return []
    known = _CPU_DIVISORS if unit == "cpu" else _BYTE_DIVISORS
    if str(divisor) in known:
        return []
    values = "1m and 1" if unit == "cpu" else ", ".join(known)
    return [fields.invalid(path, resource, f"only divisor's values {values} are supported with the {unit} resource")]
