"""Varints, tags and lengths: the lowest layer of the protobuf encoding.

Owns the format (https://protobuf.dev/programming-guides/encoding/); knows no message. Readers take
the whole buffer and a position, and raise `Malformed` or IndexError where it ends too early.
"""

from __future__ import annotations

from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5

_VARINT_BYTES_MAX = 10
_UINT64 = (1 << 64) - 1


class Malformed(ValueError):
    """Bytes that are no valid message."""


def read_varint(data: bytes, pos: int) -> tuple[int, int]:
    """(value, next position); the value is unsigned and has 64 bits at most."""
    value = data[pos]
    pos += 1
    if value < 0x80:
        return value, pos
    value &= 0x7F
    shift = 7
    while True:
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _UINT64, pos
        shift += 7
        if shift >= 7 * _VARINT_BYTES_MAX:
            raise Malformed("a number has more than ten bytes")


def to_int32(value: int) -> int:
    """The low 32 bits, signed: what Go makes of a varint for an int32."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value & 0x80000000 else value


def to_int64(value: int) -> int:
    """The 64 bits of a varint, signed."""
    return value - (1 << 64) if value & (1 << 63) else value


def skip(data: bytes, pos: int, end: int, tag: int) -> int:
    """The position after the value of an unknown field."""
    wire_type = tag & 7
    if wire_type == VARINT:
        _, pos = read_varint(data, pos)
    elif wire_type == BYTES:
        size, pos = read_varint(data, pos)
        pos += size
    elif wire_type == FIXED64:
        pos += 8
    elif wire_type == FIXED32:
        pos += 4
    else:
        # Groups were given up before Kubernetes existed.
        raise Malformed(f"field {tag >> 3} has the wire type {wire_type}")
    if pos > end:
        raise Malformed("unexpected end")
    return pos


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_SMALL: Final = tuple(_encode_varint(value) for value in range(1 << 14))
"""One and two bytes: nearly every length and number."""


def varint(value: int) -> bytes:
    """A number as a varint; negative ones as ten bytes, as int32 and int64 want it."""
    if 0 <= value < 1 << 14:
        return _SMALL[value]
    return _encode_varint(value & _UINT64)


def tag_of(number: int, wire_type: int) -> bytes:
    """What stands before a value."""
    return varint(number << 3 | wire_type)


def chunk(tag: bytes, payload: bytes) -> bytes:
    """A length-delimited value with its tag and length."""
    return tag + varint(len(payload)) + payload
