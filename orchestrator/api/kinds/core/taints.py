"""Taints of nodes and tolerations of pods: which are valid.

Mirrors validateTaints and ValidateTolerations of k8s.io/kubernetes/pkg/apis/core/validation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.label_selectors import validate_label_name

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def _validate_effect(effect: str, path: str, *, allow_empty: bool) -> list[Cause]:
    if effect in EFFECTS or (allow_empty and not effect):
        return []
    if not effect:
        return [fields.required(path)]
    return [fields.not_supported(path, effect, EFFECTS)]


def validate_taints(taints: Iterable[dict[str, Any]], path: str) -> list[Cause]:
    """Key, value, effect; no pair of key and effect twice."""
    causes: list[Cause] = []
    seen: dict[str, set[str]] = {}
    for position, taint in enumerate(taints):
        where = fields.index(path, position)
        key, value, effect = taint.get("key") or "", taint.get("value") or "", taint.get("effect") or ""
        causes += validate_label_name(key, f"{where}.key")
        if complaints := names.is_label_value(value):
            causes.append(fields.invalid(f"{where}.value", value, ";".join(complaints)))
        causes += _validate_effect(effect, f"{where}.effect", allow_empty=False)
        if key in seen.get(effect, ()):
            duplicate = fields.duplicate(where, taint)
            causes.append(
                Cause(duplicate.reason, duplicate.message + ": taints must be unique by key and effect pair", where)
            )
            continue
        seen.setdefault(effect, set()).add(key)
    return causes


def validate_tolerations(tolerations: Iterable[dict[str, Any]], path: str) -> list[Cause]:
    """Key, operator with or without value, effect, seconds only for NoExecute."""
    causes: list[Cause] = []
    for position, toleration in enumerate(tolerations):
        where = fields.index(path, position)
        key, operator = toleration.get("key") or "", toleration.get("operator") or ""
        value, effect = toleration.get("value") or "", toleration.get("effect") or ""
        if key:
            causes += validate_label_name(key, f"{where}.key")
        elif operator != "Exists":
            causes.append(
                fields.invalid(
                    f"{where}.operator",
                    operator,
                    'operator must be Exists when `key` is empty, which means "match all values and all keys"',
                )
            )
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            causes.append(
                fields.invalid(f"{where}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
            )
        if operator in ("Equal", ""):
            complaints = names.is_label_value(value)
            if complaints:
                causes.append(fields.invalid(f"{where}.operator", value, ";".join(complaints)))
        elif operator == "Exists":
            if value:
                causes.append(
                    fields.invalid(f"{where}.operator", value, "value must be empty when `operator` is 'Exists'")
                )
        else:
            causes.append(fields.not_supported(f"{where}.operator", operator, ("Equal", "Exists")))
        if effect:
            causes += _validate_effect(effect, f"{where}.effect", allow_empty=True)
    return causes
