"""Objects inside of objects: whatever is marked `x-kubernetes-embedded-resource` is a resource itself.

Mirrors k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.api import fields
from orchestrator.api.errors import Cause
from orchestrator.api.names import is_dns1035_label, is_dns1123_subdomain
from orchestrator.api.structural.values import Node


def validate_embedded(value: Any, schema: Node, path: str = "", *, is_root: bool = True) -> list[Cause]:
    """Everything wrong with apiVersion, kind and metadata of embedded resources below."""
    causes: list[Cause] = []
    if type(value) is dict:
        if schema.get("x-kubernetes-embedded-resource") and not is_root:
            causes += _validate_resource(value, path)
        properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
        for name, child in value.items():
            if name in properties:
                causes += validate_embedded(child, properties[name], fields.child(path, name), is_root=False)
            elif isinstance(additional, Mapping):
                causes += validate_embedded(child, additional, fields.key(path, name), is_root=False)
    elif type(value) is list and isinstance(schema.get("items"), Mapping):
        for position, item in enumerate(value):
            causes += validate_embedded(item, schema["items"], fields.index(path, position), is_root=False)
    return causes


def _validate_resource(value: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    api_version, kind = value.get("apiVersion"), value.get("kind")
    if not api_version:
        causes.append(fields.required(fields.child(path, "apiVersion"), "must not be empty"))
    elif not isinstance(api_version, str):
        causes.append(fields.invalid(fields.child(path, "apiVersion"), api_version, "must be a string"))
    elif api_version.count("/") > 1:
        detail = f"unexpected GroupVersion string: {api_version}"
        causes.append(fields.invalid(fields.child(path, "apiVersion"), api_version, detail))
    if not kind:
        causes.append(fields.required(fields.child(path, "kind"), "must not be empty"))
    elif not isinstance(kind, str):
        causes.append(fields.invalid(fields.child(path, "kind"), kind, "must be a string"))
    elif errors := is_dns1035_label(kind.lower()):
        detail = "may have mixed case, but should otherwise match: " + ",".join(errors)
        causes.append(fields.invalid(fields.child(path, "kind"), kind, detail))
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if name:
        causes += [fields.invalid(fields.child(path, "metadata", "name"), name, t) for t in is_dns1123_subdomain(name)]
    return causes
