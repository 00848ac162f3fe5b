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
    if is_volume and not reference.get("containerName"):
        return [fields.required(f"{path}.containerName")]
    if not resource:
        return [fields.required(f"{path}.resource")]
    if resource not in _RESOURCES and not resource.startswith(("requests.hugepages-", "limits.hugepages-")):
        return [fields.not_supported(f"{path}.resource", resource, _RESOURCES)]
    divisor = parsed(reference.get("divisor") or "0")
    if divisor.is_zero():
        return []
    unit = resource.partition(".")[2]
    known = _CPU_DIVISORS if unit == "cpu" else _BYTE_DIVISORS
    if all(divisor != parsed(value) for value in known):
        return [
            fields.invalid(
                f"{path}.divisor",
                unit,
                f"only divisor's values {', '.join(known)} are supported with the {unit} resource",
            )
        ]
    return []
