"""The published definitions of built-in kinds as schema nodes, for the types of admission policies' expressions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from orchestrator.api.schema import OBJECT_META, Schema, definition
from orchestrator.api.structural.values import Node

_ANYTHING: Node = {"x-kubernetes-int-or-string": True}
"""Of type dyn: a quantity, which may be a number or a string, or what has no structure."""


@cache  # bounded by the number of definitions
def published_node(name: str) -> Node:
    """The node of a definition such as `io.k8s.api.apps.v1.Deployment`; its objects refer to others by `$ref`."""
    return _node(definition(name), is_reference=False)


def resource_node(schema: Schema) -> Node:
    """The node of a whole object: a built-in kind, or a custom one with the metadata that every object has."""
    if schema.definition:
        return {"$ref": schema.definition}
    raw = schema.raw
    added = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"$ref": OBJECT_META}}
    return {**raw, "type": "object", "properties": {**(raw.get("properties") or {}), **added}}


def _node(schema: Schema, *, is_reference: bool = True) -> Node:
    kind = schema.kind
    if kind == "object":
        if is_reference and schema.definition:
            return {"$ref": schema.definition}
        return {"type": "object", "properties": {name: _node(one) for name, one in schema.properties.items()}}
    if kind == "map" and schema.values is not None:
        return {"type": "object", "additionalProperties": _node(schema.values)}
    if kind == "list" and schema.items is not None:
        return {"type": "array", "items": _node(schema.items)}
    if kind == "time":
        return {"type": "string", "format": "date-time"}
    if kind in ("string", "integer", "number", "boolean"):
        return {"type": kind, "format": schema.format}
    return _ANYTHING


def _struct(**properties: Any) -> Node:
    return {"type": "object", "properties": properties}


_TEXT: Node = {"type": "string"}
_TEXTS: Node = {"type": "array", "items": _TEXT}
_KIND = _struct(group=_TEXT, version=_TEXT, kind=_TEXT)
_RESOURCE = _struct(group=_TEXT, version=_TEXT, resource=_TEXT)

REQUEST_NODE: Node = _struct(
    kind=_KIND, resource=_RESOURCE, subResource=_TEXT, requestKind=_KIND, requestResource=_RESOURCE,
    requestSubResource=_TEXT, name=_TEXT, namespace=_TEXT, operation=_TEXT, dryRun={"type": "boolean"},
    options=_ANYTHING,
    userInfo=_struct(
        username=_TEXT, uid=_TEXT, groups=_TEXTS, extra={"type": "object", "additionalProperties": _TEXTS}
    ),
)  # fmt: skip
"""The AdmissionRequest that expressions see as `request`: without its uid and objects."""

_TEXT_MAP: Mapping[str, Any] = {"type": "object", "additionalProperties": _TEXT}
_MOMENT: Node = {"type": "string", "format": "date-time"}
_NUMBER: Node = {"type": "integer"}
NAMESPACE_NODE: Node = _struct(
    metadata=_struct(
        name=_TEXT, generateName=_TEXT, namespace=_TEXT, labels=_TEXT_MAP, annotations=_TEXT_MAP, UID=_TEXT,
        creationTimestamp=_MOMENT, deletionGracePeriodSeconds=_NUMBER, deletionTimestamp=_MOMENT,
        generation=_NUMBER, resourceVersion=_TEXT, finalizers=_TEXTS,
    ),
    spec=_struct(finalizers=_TEXTS),
    status=_struct(phase=_TEXT),
)  # fmt: skip
"""What expressions may see of the Namespace, as `namespaceObject`."""
