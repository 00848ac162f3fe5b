"""Custom resources as CEL sees them: escaped names, timestamps, durations, bytes, doubles.

Mirrors UnstructuredToVal of k8s.io/apiserver/pkg/cel/common.
# Simplified: lists that are sets or maps compare and add as plain lists.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Any

from orchestrator.api.structural.cel.names import escape
from orchestrator.api.structural.formats import parse_date, parse_date_time, parse_duration
from orchestrator.api.structural.values import Node

_TYPE_META: Node = {
    "type": "object",
    "properties": {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}},
        },
    },
}


def as_resource(schema: Node) -> Node:
    """The node with what every resource has: apiVersion, kind, metadata.name and metadata.generateName."""
    properties = {**(schema.get("properties") or {}), **_TYPE_META["properties"]}
    return {**schema, "type": "object", "properties": properties}


def to_cel(value: Any, schema: Node, *, is_resource: bool = False) -> Any:
    """The value for an activation; what the schema does not know stays as it is."""
    if is_resource:
        schema = as_resource(schema)
    if value is None or schema.get("x-kubernetes-int-or-string"):
        return value
    if type(value) is dict:
        return _object(value, schema)
    if type(value) is list:
        items = schema.get("items")
        if not isinstance(items, Mapping):
            return value
        embedded = bool(items.get("x-kubernetes-embedded-resource"))
        return [to_cel(item, items, is_resource=embedded) for item in value]
    if type(value) is int and schema.get("type") == "number":
        return float(value)
    if type(value) is float and schema.get("type") == "integer" and value == int(value):
        return int(value)
    if type(value) is str and schema.get("format"):
        return _formatted(value, schema["format"])
    return value


def _object(value: dict[str, Any], schema: Node) -> dict[str, Any]:
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        embedded = bool(additional.get("x-kubernetes-embedded-resource"))
        return {name: to_cel(child, additional, is_resource=embedded) for name, child in value.items()}
    properties = schema.get("properties") or {}
    keep = schema.get("x-kubernetes-preserve-unknown-fields")
    out: dict[str, Any] = {}
    for name, child in value.items():
        node = properties.get(name)
        escaped = escape(name)
        if escaped is None:
            continue
        if node is not None:
            out[escaped] = to_cel(child, node, is_resource=bool(node.get("x-kubernetes-embedded-resource")))
        elif keep:
            out[escaped] = child
    return out


def _formatted(value: str, format_name: str) -> Any:
    if format_name in ("date-time", "date"):
        if format_name == "date":
            day = parse_date(value)
            moment = datetime.combine(day, time(), UTC) if day is not None else None
        else:
            moment = parse_date_time(value)
        if moment is None:
            return value
        from google.protobuf.timestamp_pb2 import Timestamp

        stamp = Timestamp()
        stamp.FromDatetime(moment.replace(tzinfo=None))
        return stamp
    if format_name == "duration":
        length = parse_duration(value)
        if length is None:
            return value
        from google.protobuf.duration_pb2 import Duration

        duration = Duration()
        duration.FromTimedelta(length)
        return duration
    if format_name == "byte":
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return value
    return value
