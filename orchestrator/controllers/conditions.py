"""Conditions and status writes, as the API conventions describe them.

Pure: every function returns a new list or object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.api.objects import Object

Condition = dict[str, Any]


def condition(condition_type: str, status: str, reason: str, message: str, now: str) -> Condition:
    """A condition whose last transition is now (a `metav1.Time` text)."""
    return {
        "type": condition_type,
        "status": status,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }


def find(conditions: Sequence[Condition], condition_type: str) -> Condition | None:
    """The condition of this type."""
    return next((c for c in conditions if c.get("type") == condition_type), None)


def without(conditions: Sequence[Condition], condition_type: str) -> list[Condition]:
    """All but the condition of this type."""
    return [c for c in conditions if c.get("type") != condition_type]


def with_condition(conditions: Sequence[Condition], new: Condition) -> list[Condition]:
    """The conditions with this one in its place; the transition time moves only when the status changes."""
    current = find(conditions, new["type"])
    if current is None:
        return [*conditions, new]
    if current.get("status") == new["status"]:
        new = {**new, "lastTransitionTime": current.get("lastTransitionTime") or new["lastTransitionTime"]}
    return [new if c is current else c for c in conditions]


def with_status(obj: Object, status: dict[str, Any]) -> Object:
    """The object with another status, ready to be sent; it has parts in common with both."""
    return {**obj, "status": status}
