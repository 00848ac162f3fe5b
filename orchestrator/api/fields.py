"""Field paths, and the causes of an `Invalid` answer, in the words that clients of Kubernetes know.

Owns how a rejected value, its path and its reason are put into one `Cause`. Never decides whether a
value is valid. Mirrors k8s.io/apimachinery/pkg/util/validation/field at v1.36, where a value that is not
a scalar is printed as JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable
from decimal import Decimal
from typing import Any, Final

from .errors import Cause

OMIT: Final = object()
"""Pass it as the value of `invalid` when the message must not show any value."""

_ESCAPES = {
    '"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f",
    "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
}  # fmt: skip


def child(path: str, *names: str) -> str:
    """`spec` and `containers` make `spec.containers`; an empty path is the root."""
    rest = ".".join(names)
    if not path:
        return rest
    return f"{path}.{rest}" if rest else path


def index(path: str, position: int) -> str:
    """`spec.containers` and 0 make `spec.containers[0]`."""
    return f"{path}[{position}]"


def key(path: str, name: str) -> str:
    """`metadata.annotations` and `a/b` make `metadata.annotations[a/b]`."""
    return f"{path}[{name}]"


def quote(text: str) -> str:
    """A string as Go's `%q` prints it: printable characters stay, control characters are escaped."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    out = []
    for char in text:
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif char.isprintable():
            out.append(char)
        else:
            code = ord(char)
            if code < 0x80:
                out.append(f"\\x{code:02x}")
            else:
                out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(out) + '"'


def format_float(value: float) -> str:
    """A float as Go's `%v` prints it: shortest digits, exponent form below 1e-4 and from 1e6 on."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    sign = "-" if math.copysign(1, value) < 0 else ""
    if value == 0:
        return f"{sign}0"
    _, digit_tuple, shift = Decimal(repr(abs(value))).normalize().as_tuple()
    digits = "".join(map(str, digit_tuple))
    exponent = len(digits) - 1 + int(shift)
    if exponent < -4 or exponent >= 6:
        mantissa = digits[0] + (f".{digits[1:]}" if len(digits) > 1 else "")
        return f"{sign}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    return f"{sign}{Decimal(repr(abs(value))).normalize():f}"


def format_value(value: Any) -> str:
    """A rejected value as it stands in a message: strings quoted, scalars plain, the rest as JSON."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return format_float(value)
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _cause(reason: str, path: str, head: str, value: Any, detail: str) -> Cause:
    message = head if value is OMIT else f"{head}: {format_value(value)}"
    if detail:
        message += f": {detail}"
    return Cause(reason, message, path)


def required(path: str, detail: str = "") -> Cause:
    """`Required value: <detail>`."""
    return _cause("FieldValueRequired", path, "Required value", OMIT, detail)


def invalid(path: str, value: Any, detail: str) -> Cause:
    """`Invalid value: <value>: <detail>`; with `OMIT` as value, the value is not shown."""
    return _cause("FieldValueInvalid", path, "Invalid value", value, detail)


def type_invalid(path: str, value: Any, detail: str) -> Cause:
    """`Invalid value: <value>: <detail>` for a value whose type the schema does not allow."""
    return _cause("FieldValueTypeInvalid", path, "Invalid value", value, detail)


def not_supported(path: str, value: Any, supported: Iterable[str]) -> Cause:
    """`Unsupported value: <value>: supported values: ...`, in the order given."""
    values = ", ".join(quote(item) for item in supported)
    return _cause(
        "FieldValueNotSupported", path, "Unsupported value", value, f"supported values: {values}" if values else ""
    )


def not_found(path: str, value: Any) -> Cause:
    """`Not found: <value>`."""
    return _cause("FieldValueNotFound", path, "Not found", value, "")


def duplicate(path: str, value: Any) -> Cause:
    """`Duplicate value: <value>`."""
    return _cause("FieldValueDuplicate", path, "Duplicate value", value, "")


def repeated(values: Iterable[Hashable]) -> frozenset[int]:
    """The positions of values that stand before them already."""
    seen: set[Hashable] = set()
    again: set[int] = set()
    for position, value in enumerate(values):
        if value in seen:
            again.add(position)
        seen.add(value)
    return frozenset(again)


def forbidden(path: str, detail: str) -> Cause:
    """`Forbidden: <detail>`."""
    return _cause("FieldValueForbidden", path, "Forbidden", OMIT, detail)


def too_long(path: str, limit_bytes: int) -> Cause:
    """`Too long: may not be more than N bytes`; without the limit when it is negative."""
    detail = f"may not be more than {limit_bytes} bytes" if limit_bytes >= 0 else "value is too long"
    return _cause("FieldValueTooLong", path, "Too long", OMIT, detail)


def too_many(path: str, actual: int, limit: int) -> Cause:
    """`Too many: <actual>: must have at most N items`; a negative number is left out."""
    detail = f"must have at most {limit} items" if limit >= 0 else "too many items"
    return _cause("FieldValueTooMany", path, "Too many", actual if actual >= 0 else OMIT, detail)


def immutable(path: str, value: Any) -> Cause:
    """`Invalid value: <value>: field is immutable`."""
    return invalid(path, value, "field is immutable")


def internal(path: str, detail: str) -> Cause:
    """`Internal error: <detail>`."""
    return _cause("InternalError", path, "Internal error", OMIT, detail)
