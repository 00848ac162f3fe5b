"""Netlink messages and attributes as bytes, of any family; pure. Format: linux/netlink.h."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

REQUEST, MULTI, ACKNOWLEDGE, DUMP_INTERRUPTED = 0x1, 0x2, 0x4, 0x10
DUMP, EXCLUSIVE, CREATE, APPEND = 0x300, 0x200, 0x400, 0x800
MESSAGE_ERROR, MESSAGE_DONE = 2, 3
_NESTED = 0x8000
_TYPE = 0x3FFF
"""The bits of an attribute's type without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""

header = struct.Struct("=IHHII")
"""Length, type, flags, sequence number, port."""
_attribute = struct.Struct("=HH")
_error = struct.Struct("=i")


class Message(NamedTuple):
    """One message of the kernel."""

    kind: int
    flags: int
    sequence: int
    body: bytes

    @property
    def error(self) -> int:
        """The errno of a MESSAGE_ERROR; 0 is an acknowledgement."""
        return -int(_error.unpack_from(self.body)[0])


def attribute(number: int, value: bytes) -> bytes:
    """Padded to four bytes."""
    return _attribute.pack(4 + len(value), number) + value + b"\0" * (-len(value) % 4)


def string(number: int, text: str) -> bytes:
    """A text, with the zero that ends it."""
    return attribute(number, text.encode() + b"\0")


def nested(number: int, *parts: bytes) -> bytes:
    """An attribute of attributes."""
    return attribute(number | _NESTED, b"".join(parts))


def messages(data: bytes) -> Iterator[Message]:
    """What one datagram holds."""
    position = 0
    while position + header.size <= len(data):
        length, kind, flags, sequence, _ = header.unpack_from(data, position)
        if length < header.size:
            return
        yield Message(kind, flags, sequence, data[position + header.size : position + length])
        position += (length + 3) & ~3


def attributes(data: bytes, start: int) -> dict[int, bytes]:
    """The attributes that begin at `start`, by type; of several of one type the last."""
    found = {}
    while start + _attribute.size <= len(data):
        length, number = _attribute.unpack_from(data, start)
        if length < _attribute.size:
            break
        found[number & _TYPE] = data[start + _attribute.size : start + length]
        start += (length + 3) & ~3
    return found
