"""How a refused update tells what it would have changed."""

from __future__ import annotations

from typing import Any

from orchestrator.api import fields
from orchestrator.api.fields import format_value

_CHANGES_SHOWN_MAX = 20


# Simplified: kube-apiserver appends a diff of Go values; this names the same fields in JSON.
def describe_changes(new: Any, old: Any) -> str:
    """The fields that differ, one `- old` and one `+ new` line each; at most 20 of them."""
    lines: list[str] = []
    _collect_changes(new, old, "", lines)
    shown = lines[: 2 * _CHANGES_SHOWN_MAX]
    if len(lines) > len(shown):
        shown.append("...")
    return "\n" + "\n".join(shown) + "\n" if shown else ""


def _collect_changes(new: Any, old: Any, path: str, lines: list[str]) -> None:
    if new == old:
        return
    if isinstance(new, dict) and isinstance(old, dict):
        for key in sorted(new.keys() | old.keys()):
            _collect_changes(new.get(key), old.get(key), fields.child(path, key), lines)
    elif isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        for position, (a, b) in enumerate(zip(new, old, strict=True)):
            _collect_changes(a, b, fields.index(path, position), lines)
    else:
        if old is not None:
            lines.append(f"- {path}: {format_value(old)}")
        if new is not None:
            lines.append(f"+ {path}: {format_value(new)}")
