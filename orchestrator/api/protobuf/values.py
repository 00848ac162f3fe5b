"""Values whose JSON differs from their message: times, quantities, int-or-string, raw JSON, durations.

Each type is a pair of functions: payload of the message → JSON value (or OMIT, where JSON leaves the
field out), and JSON value → payload. The rules are those of the types' own marshalers in
k8s.io/apimachinery: a Time has no fractions of a second, a MicroTime has six digits, a zero Time is
an empty message, raw values hold JSON text.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import orjson

from orchestrator.api.protobuf.wire import BYTES, VARINT, Malformed, chunk, read_varint, skip, tag_of, to_int64, varint

OMIT: Final = object()
"""Stands for a value that JSON leaves out."""

Read = Callable[[bytes], Any]
Write = Callable[[Any], bytes]

_TIME_BYTES_MAX = 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VARINT_1 = tag_of(1, VARINT)
_VARINT_2 = tag_of(2, VARINT)
_BYTES_1 = tag_of(1, BYTES)
_BYTES_3 = tag_of(3, BYTES)


def read_fields(payload: bytes) -> dict[int, Any]:
    """Field number → number or bytes, of a small message; the last one counts."""
    found: dict[int, Any] = {}
    pos, end = 0, len(payload)
    while pos < end:
        tag, pos = read_varint(payload, pos)
        wire_type = tag & 7
        if wire_type == VARINT:
            found[tag >> 3], pos = read_varint(payload, pos)
        elif wire_type == BYTES:
            size, pos = read_varint(payload, pos)
            if pos + size > end:
                raise Malformed("unexpected end")
            found[tag >> 3] = payload[pos : pos + size]
            pos += size
        else:
            pos = skip(payload, pos, end, tag)
    return found


def number_field(fields: dict[int, Any], number: int) -> int:
    """A number of a small message, zero when it is not there."""
    value = fields.get(number, 0)
    if not isinstance(value, int):
        raise Malformed(f"field {number} is no number")
    return value


def bytes_field(fields: dict[int, Any], number: int) -> bytes:
    """A text or message of a small message, empty when it is not there."""
    value = fields.get(number, b"")
    if not isinstance(value, bytes):
        raise Malformed(f"field {number} is no text")
    return value


def read_text(payload: bytes) -> str:
    """A string; it must be UTF-8."""
    return payload.decode()


# Times.


def _moment(seconds: int, microseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=seconds, microseconds=microseconds)
    except OverflowError as error:
        raise Malformed(f"{seconds} seconds is no time of the years 1 to 9999") from error


def _cached(read: Read) -> Read:
    """Remembers times, which come again and again; not those that carry more than a time."""
    remembered = lru_cache(maxsize=4096)(read)
    return lambda payload: remembered(payload) if len(payload) <= _TIME_BYTES_MAX else read(payload)


@_cached
def read_time(payload: bytes) -> Any:
    """RFC 3339 in whole seconds; nothing for the zero time."""
    if not payload:
        return OMIT
    return _moment(to_int64(number_field(read_fields(payload), 1)), 0).strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)


@lru_cache(maxsize=4096)
def write_time(value: str) -> bytes:
    """`Timestamp{seconds, nanos}`; fractions of a second are dropped, as JSON has none."""
    seconds = (_parse_time(value) - _EPOCH) // timedelta(seconds=1)
    return _VARINT_1 + varint(seconds) + _VARINT_2 + b"\x00"


@_cached
def read_micro_time(payload: bytes) -> Any:
    """RFC 3339 with six digits; nothing for the zero time."""
    if not payload:
        return OMIT
    fields = read_fields(payload)
    moment = _moment(to_int64(number_field(fields, 1)), number_field(fields, 2) // 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)


@lru_cache(maxsize=4096)
def write_micro_time(value: str) -> bytes:
    """`Timestamp{seconds, nanos}` in whole microseconds."""
    microseconds = (_parse_time(value) - _EPOCH) // timedelta(microseconds=1)
    seconds, rest = divmod(microseconds, 1_000_000)
    return _VARINT_1 + varint(seconds) + _VARINT_2 + varint(rest * 1000)


def _parse_time(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


# Numbers with units.


def read_quantity(payload: bytes) -> str:
    """The quantity's text; an empty one is zero."""
    return bytes_field(read_fields(payload), 1).decode() or "0"


def write_quantity(value: Any) -> bytes:
    """`Quantity{string}`; a JSON number is a quantity too."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return chunk(_BYTES_1, text.encode())


def read_int_or_string(payload: bytes) -> Any:
    """A number for type 0, a text for type 1."""
    fields = read_fields(payload)
    kind = number_field(fields, 1)
    if kind == 0:
        value = number_field(fields, 2) & 0xFFFFFFFF
        return value - (1 << 32) if value & 0x80000000 else value
    if kind == 1:
        return bytes_field(fields, 3).decode()
    raise Malformed(f"{kind} is no type of an int-or-string")


def read_int_or_string_value(payload: bytes) -> Any:
    """As above, for a field that is no pointer and may be left out: zero says that it was."""
    value = read_int_or_string(payload)
    return OMIT if value in (0, "") else value


def write_int_or_string(value: Any) -> bytes:
    """`IntOrString{type, intVal, strVal}`, all three always."""
    if isinstance(value, str):
        return b"\x08\x01\x10\x00" + chunk(_BYTES_3, value.encode())
    return b"\x08\x00\x10" + varint(value) + b"\x1a\x00"


_DURATION_UNITS: Final = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "µs": 1_000,
    "ns": 1,
}
_DURATION_PART = re.compile(r"([0-9]+)(?:\.([0-9]+))?(h|ms|m|us|µs|ns|s)")


def read_duration(payload: bytes) -> str:
    """Go's text of a duration: `1m30s`, `1.5s`, `0s`."""
    nanoseconds = to_int64(number_field(read_fields(payload), 1))
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < 1_000_000_000:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if rest >= size:
                return f"{sign}{_decimal(rest, size)}{unit}"
        return "0s"
    minutes, rest = divmod(rest, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 1_000_000_000)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).zfill(len(str(unit)) - 1).rstrip('0')}"


def write_duration(value: str) -> bytes:
    """`Duration{nanoseconds}`; raises ValueError for what Go's `time.ParseDuration` refuses."""
    sign = -1 if value.startswith("-") else 1
    text = value.lstrip("+-")
    total = end = 0
    for part in _DURATION_PART.finditer(text):
        if part.start() != end:
            break
        end = part.end()
        unit = _DURATION_UNITS[part[3]]
        fraction = part[2] or ""
        total += int(part[1]) * unit + int(fraction or 0) * unit // 10 ** len(fraction)
    if end != len(text) or (not end and text != "0"):
        raise ValueError(f"invalid duration {value!r}")
    return _VARINT_1 + varint(sign * total)


# Bytes and raw JSON.


def read_base64(payload: bytes) -> str:
    """Bytes are base64 in JSON."""
    return base64.b64encode(payload).decode()


def write_base64(value: str) -> bytes:
    """The bytes of a base64 text; raises ValueError when it is none."""
    return base64.b64decode(value, validate=True)


def read_raw_json(payload: bytes) -> Any:
    """A message that holds JSON text in its field 1; nothing when it is empty."""
    raw = bytes_field(read_fields(payload), 1)
    if not raw:
        return OMIT
    return orjson.loads(raw)


def write_raw_json(value: Any) -> bytes:
    """A message with the value's JSON text in field 1."""
    return chunk(_BYTES_1, orjson.dumps(value))


def read_texts(payload: bytes) -> list[str]:
    """`Verbs` and `ExtraValue`: a message of texts that is a bare list in JSON."""
    texts: list[str] = []
    pos, end = 0, len(payload)
    while pos < end:
        tag, pos = read_varint(payload, pos)
        if tag != 10:
            pos = skip(payload, pos, end, tag)
            continue
        size, pos = read_varint(payload, pos)
        if pos + size > end:
            raise Malformed("unexpected end")
        texts.append(payload[pos : pos + size].decode())
        pos += size
    return texts


def write_texts(value: list[str]) -> bytes:
    """The message of such a list."""
    return b"".join([chunk(_BYTES_1, text.encode()) for text in value])


_API = "machinery."
_SCHEMA = "apiextensions.v1."
SPECIAL: Final[dict[str, tuple[Read, Write]]] = {
    "meta.v1.Time": (read_time, write_time),
    "meta.v1.MicroTime": (read_micro_time, write_micro_time),
    "meta.v1.Timestamp": (read_time, write_time),
    "meta.v1.Duration": (read_duration, write_duration),
    "meta.v1.FieldsV1": (read_raw_json, write_raw_json),
    "meta.v1.Verbs": (read_texts, write_texts),
    "authentication.v1.ExtraValue": (read_texts, write_texts),
    "authorization.v1.ExtraValue": (read_texts, write_texts),
    "certificates.v1.ExtraValue": (read_texts, write_texts),
    f"{_API}api.resource.Quantity": (read_quantity, write_quantity),
    f"{_API}util.intstr.IntOrString": (read_int_or_string, write_int_or_string),
    f"{_SCHEMA}JSON": (read_raw_json, write_raw_json),
}
"""Message → how it is read and written; RawExtension and the JSONSchemaPropsOr* are in `messages`."""
