"""Why the result of a strategic merge patch is no object of its kind, in kube-apiserver's words.

There such a result is not decoded from JSON but converted field by field, with messages of its own. Mirrors
k8s.io/apimachinery/pkg/runtime's unstructured converter.
"""

from __future__ import annotations

from typing import Any

from orchestrator.api.schema import Schema

_KINDS: dict[type, str] = {dict: "map", list: "slice", str: "string", bool: "bool", int: "int64", float: "float64"}
_GO_KINDS = {"string": "string", "boolean": "bool", "number": "float64"}


def conversion_problem(value: Any, schema: Schema | None) -> str:
    """What the first value of a wrong type is refused with; empty when every type is right.

    Values with a decoder of their own (times, quantities, numbers-or-texts) are left to it.
    """
    if value is None or schema is None:
        return ""
    kind = schema.kind
    if kind == "object":
        if not isinstance(value, dict):
            return f"cannot restore struct from: {_KINDS[type(value)]}"
        return _first(conversion_problem(child, schema.properties.get(name)) for name, child in value.items())
    if kind == "map":
        if not isinstance(value, dict):
            return f"cannot restore map from {_KINDS[type(value)]}"
        return _first(conversion_problem(child, schema.values) for child in value.values())
    if kind == "list":
        if not isinstance(value, list):
            return f"cannot restore slice from {_KINDS[type(value)]}"
        return _first(conversion_problem(child, schema.items) for child in value)
    if kind == "string" and schema.format == "byte":
        return "" if isinstance(value, str) else f"cannot restore slice from {_KINDS[type(value)]}"
    if kind in ("string", "boolean", "integer", "number"):
        return _scalar_problem(value, kind, schema.format)
    return ""


def _scalar_problem(value: Any, kind: str, form: str) -> str:
    target = _GO_KINDS.get(kind) or form or "int64"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in ("integer", "number"):
        if is_number and kind == "integer" and isinstance(value, float) and value != int(value):
            return f"cannot convert float64 to {target}"
        return "" if is_number else f"unrecognized type: {target}"
    if isinstance(value, str if kind == "string" else bool):
        return ""
    # Go can make a text of an integer, so the converter says that it will not.
    is_integer = is_number and isinstance(value, int)
    return f"cannot convert int64 to {target}" if kind == "string" and is_integer else f"unrecognized type: {target}"


def _first(problems: Any) -> str:
    return next((problem for problem in problems if problem), "")
