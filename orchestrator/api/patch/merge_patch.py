"""JSON merge patch (RFC 7386): application, creation, and the three-way form that `apply` uses.

Never looks at a schema: lists are replaced as a whole. Mirrors what kube-apiserver and kubectl do for
custom resources.
"""

from __future__ import annotations

from typing import Any

from orchestrator.api.errors import BadRequest
from orchestrator.api.objects import Object

from .equality import json_equal


def apply_merge_patch(obj: Object, patch: Any) -> Object:
    """The object with the patch merged into it; null removes a field. BadRequest if the patch is no object."""
    if not isinstance(patch, dict):
        raise BadRequest("Invalid JSON Patch")
    return _merge(obj, patch)


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    merged = dict(target)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            current = merged.get(name)
            merged[name] = _merge(current if isinstance(current, dict) else {}, value)
        else:
            merged[name] = _without_nulls(value)
    return merged


def _without_nulls(value: Any) -> Any:
    """New values lose the null fields of objects also inside lists, as in kube-apiserver."""
    if isinstance(value, dict):
        return {name: _without_nulls(child) for name, child in value.items() if child is not None}
    if isinstance(value, list):
        return [_without_nulls(child) for child in value]
    return value


def create_merge_patch(original: Object, modified: Object) -> dict[str, Any]:
    """The merge patch that turns `original` into `modified`; empty when they are equal."""
    patch: dict[str, Any] = {}
    for name, value in modified.items():
        if name not in original:
            patch[name] = value
            continue
        before = original[name]
        if isinstance(before, dict) and isinstance(value, dict):
            if inner := create_merge_patch(before, value):
                patch[name] = inner
        elif not json_equal(before, value):
            patch[name] = value
    for name in original:
        if name not in modified:
            patch[name] = None
    return patch


def three_way_json_merge_patch(original: Object, modified: Object, current: Object) -> dict[str, Any]:
    """The merge patch that brings `current` to `modified` and removes what `modified` dropped since `original`.

    What is in `current` alone stays: others may have set it.
    """
    changes = _keep(create_merge_patch(current, modified), nulls=False)
    removals = _keep(create_merge_patch(original, modified), nulls=True)
    return _merge_patches(removals, changes)


def _keep(patch: dict[str, Any], *, nulls: bool) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in patch.items():
        if isinstance(value, dict):
            inner = _keep(value, nulls=nulls)
            if inner or (not value and not nulls):
                kept[name] = inner
        elif (value is None) == nulls:
            kept[name] = value
    return kept


def _merge_patches(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    merged = dict(first)
    for name, value in second.items():
        before = merged.get(name)
        merged[name] = _merge_patches(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged
