"""Numbers, quantities and bytes as Go's decoder takes them, and what it says about values of another type."""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from typing import Any

import orjson

from orchestrator.api.quantity import QuantityError, canonical
from orchestrator.api.schema import Schema

_INT_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


class Refused(Exception):
    """The body cannot be decoded; the text is the decoder's."""


def is_any(value: Any) -> bool:
    """Anything but null."""
    return value is not None


def is_int32(value: Any) -> bool:
    """A number of 32 bits."""
    return type(value) is int and -2147483648 <= value <= 2147483647


def is_int64(value: Any) -> bool:
    """A number of 64 bits."""
    return type(value) is int and -9223372036854775808 <= value <= 9223372036854775807


def is_number(value: Any) -> bool:
    """A number of any kind."""
    return type(value) is float or type(value) is int


def is_int_or_string(value: Any) -> bool:
    """What an IntOrString can be."""
    return type(value) is str or is_int32(value)


def is_canonical_quantity(value: Any) -> bool:
    """A quantity as the API writes it."""
    return type(value) is str and _is_canonical_amount(value)


@lru_cache(maxsize=4096)  # the same few amounts stand in most pods, and again in their statuses
def _is_canonical_amount(text: str) -> bool:
    try:
        return canonical(text) == text
    except QuantityError:
        return False


def is_base64(value: Any) -> bool:
    """Bytes as the API writes them."""
    if type(value) is not str:
        return False
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(value) % 4 == 0


def json_kind(value: Any) -> str:
    """The type of a JSON value in the words of Go's decoder."""
    if type(value) is bool:
        return "bool"
    if type(value) is str:
        return "string"
    if type(value) is list:
        return "array"
    return "object" if type(value) is dict else "number"


def wrong_type(value: Any, schema: Schema, go_path: str, struct: str) -> Refused:
    """What Go says about a value that is of another type than its node; see `unmarshal_error`."""
    return unmarshal_error(json_kind(value), schema.go_type, go_path, struct)


def unmarshal_error(what: str, go_type: str, go_path: str, struct: str) -> Refused:
    """What Go says about a value; `go_path` below the type `struct`, both empty for one that decodes itself."""
    if not go_path:
        return Refused(f"json: cannot unmarshal {what} into Go value of type {go_type}")
    return Refused(f"json: cannot unmarshal {what} into Go struct field {struct}.{go_path} of type {go_type}")


def _number_text(value: int | float) -> str:
    return orjson.dumps(value).decode() if isinstance(value, float) else str(value)


def integer(value: Any, schema: Schema, go_path: str, struct: str) -> int:
    """A number that fits its node; Refused."""
    low, high = _INT_RANGES.get(schema.format, _INT_RANGES["int64"])
    if type(value) is int and low <= value <= high:
        return value
    if type(value) is int or type(value) is float:
        raise unmarshal_error(f"number {_number_text(value)}", schema.go_type, go_path, struct)
    raise wrong_type(value, schema, go_path, struct)


def int_or_string(value: Any) -> int | str:
    """An IntOrString; Refused."""
    if type(value) is str or is_int32(value):
        accepted: int | str = value
        return accepted
    what = f"number {_number_text(value)}" if is_number(value) else json_kind(value)
    raise unmarshal_error(what, "int32", "", "")


def quantity(value: Any) -> str:
    """A quantity in its canonical form; Refused."""
    try:
        if type(value) is str or is_number(value):
            return canonical(value)
        return canonical(orjson.dumps(value).decode())
    except QuantityError as error:
        raise Refused(str(error)) from None


_NEWLINES = str.maketrans("", "", "\r\n")
_BASE64_BODY = re.compile(r"[A-Za-z0-9+/]*")


def canonical_base64(text: str) -> str:
    """The text as it is encoded again; newlines are ignored, as Go's decoder ignores them. Refused."""
    if is_base64(text):
        return text
    compact = text.translate(_NEWLINES)
    if is_base64(compact):
        return compact
    match = _BASE64_BODY.match(compact)
    assert match is not None
    position = match.end()
    padding = compact[position:]
    if position % 4 in (0, 1) and position == len(compact):
        position -= position % 4  # a quantum that is cut short is reported at its start
    elif padding in ("=", "") and position % 4:
        position = len(compact)
    elif padding.startswith("==") and position % 4 == 2:
        position += 2
    elif padding.startswith("=") and position % 4 == 3:
        position += 1
    raise Refused(f"illegal base64 data at input byte {position}")
