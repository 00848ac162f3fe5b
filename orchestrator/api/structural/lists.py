"""Lists that are sets or maps hold nothing twice.

Mirrors k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from orchestrator.api import fields
from orchestrator.api.errors import Cause
from orchestrator.api.structural.values import Node, map_key


def validate_lists(value: Any, schema: Node, path: str = "") -> list[Cause]:
    """Every item that repeats an earlier one, everywhere below."""
    causes: list[Cause] = []
    if type(value) is dict:
        properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
        for name, child in value.items():
            if name in properties:
                causes += validate_lists(child, properties[name], fields.child(path, name))
            elif isinstance(additional, Mapping):
                causes += validate_lists(child, additional, fields.key(path, name))
    elif type(value) is list:
        kind = schema.get("x-kubernetes-list-type")
        if kind == "set":
            causes += _repeated_items(value, path)
        elif kind == "map":
            causes += _repeated_keys(value, schema.get("x-kubernetes-list-map-keys") or (), path)
        items = schema.get("items")
        if isinstance(items, Mapping):
            for position, item in enumerate(value):
                causes += validate_lists(item, items, fields.index(path, position))
    return causes


def _repeated_items(value: list[Any], path: str) -> list[Cause]:
    seen: set[Any] = set()
    causes: list[Cause] = []
    for position, item in enumerate(value):
        token = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
        if token in seen:
            causes.append(fields.duplicate(fields.index(path, position), item))
        seen.add(token)
    return causes


def _repeated_keys(value: list[Any], keys: Any, path: str) -> list[Cause]:
    seen: set[Any] = set()
    causes: list[Cause] = []
    for position, item in enumerate(value):
        if type(item) is not dict:
            continue
        token = map_key(item, keys)
        if token in seen:
            shown = {key: item[key] for key in keys if key in item}
            causes.append(fields.duplicate(fields.index(path, position), shown))
        seen.add(token)
    return causes
