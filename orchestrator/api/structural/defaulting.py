"""Fills in the defaults of a structural schema, drops nulls that no field may hold, prunes unknown fields.

Owns what happens to custom resources when they come in and when they are read. Mirrors
k8s.io/apiextensions-apiserver/pkg/apiserver/schema/{defaulting,pruning}.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from orchestrator.api.structural.values import Node


def apply_defaults(value: Any, schema: Node) -> None:
    """Fill in defaults, in place, depth first into what a default brought."""
    if type(value) is dict:
        properties = schema.get("properties") or {}
        for name, child in properties.items():
            if child.get("default") is not None and (name not in value or _is_null(value[name], child)):
                value[name] = copy.deepcopy(child["default"])
        additional = schema.get("additionalProperties")
        for name in value:
            child = properties.get(name)
            if child is not None:
                apply_defaults(value[name], child)
            elif isinstance(additional, Mapping):
                if _is_null(value[name], additional) and additional.get("default") is not None:
                    value[name] = copy.deepcopy(additional["default"])
                apply_defaults(value[name], additional)
    elif type(value) is list:
        items = schema.get("items")
        if not isinstance(items, Mapping):
            return
        for position, item in enumerate(value):
            if _is_null(item, items) and items.get("default") is not None:
                value[position] = copy.deepcopy(items["default"])
            apply_defaults(value[position], items)


def drop_nulls(value: Any, schema: Node) -> None:
    """Remove, in place, null fields that are neither nullable nor have a default."""
    if type(value) is dict:
        properties = schema.get("properties") or {}
        additional = schema.get("additionalProperties")
        for name in list(value):
            child = properties.get(name)
            if child is None and isinstance(additional, Mapping):
                child = additional
            if child is None:
                continue
            if _is_null(value[name], child) and child.get("default") is None:
                del value[name]
            else:
                drop_nulls(value[name], child)
    elif type(value) is list:
        items = schema.get("items")
        if isinstance(items, Mapping):
            for item in value:
                drop_nulls(item, items)


def _is_null(value: Any, schema: Node) -> bool:
    return value is None and not schema.get("nullable")


def has_defaults(schema: Node) -> bool:
    """Whether any field below has a default."""
    if schema.get("default") is not None:
        return True
    children = [*(schema.get("properties") or {}).values()]
    children += [schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), Mapping)]
    return any(has_defaults(child) for child in children)


def prune(value: Any, schema: Node | None, *, is_root: bool = False) -> Any:
    """The value without fields that the schema does not specify; unchanged parts are shared with the input."""
    if type(value) is list:
        items = (schema or {}).get("items")
        if schema is not None and schema.get("x-kubernetes-preserve-unknown-fields") and items is None:
            return value
        return [prune(item, items) for item in value]
    if type(value) is not dict:
        return value
    node: Node = schema or {}
    properties, additional = node.get("properties") or {}, node.get("additionalProperties")
    keep = bool(node.get("x-kubernetes-preserve-unknown-fields")) or additional is True
    is_resource = is_root or bool(node.get("x-kubernetes-embedded-resource"))
    out: dict[str, Any] = {}
    for name, child in value.items():
        if is_resource and name in ("apiVersion", "kind", "metadata"):
            out[name] = child
        elif name in properties:
            out[name] = prune(child, properties[name])
        elif isinstance(additional, Mapping):
            out[name] = prune(child, additional)
        elif keep:
            out[name] = child
    return out
