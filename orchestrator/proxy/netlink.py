"""Messages of the netlink family nf_tables, encoded here instead of by nft; pure bytes.

Text has to be parsed and evaluated by nft, which takes eight times as long as the kernel needs for the change, so what
there may be thousands of (elements), and what nft 1.0 cannot add (rules that look up a map which the kernel already
has), is encoded here. Formats: linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from orchestrator.aiokit.netlink import (
    ACKNOWLEDGE,
    APPEND,
    CREATE,
    MESSAGE_ERROR,
    REQUEST,
    attribute,
    attributes,
    header,
    messages,
    nested,
    string,
)

NETLINK_NETFILTER = 12
FAMILY_IPV4 = 2
SUBSYSTEM = 10
GET_TABLE, NEW_CHAIN, DELETE_CHAIN, NEW_RULE, DELETE_RULE, NEW_ELEMENT, DELETE_ELEMENT = 1, 3, 5, 6, 8, 12, 14
_TABLE_NAME = 1
_BATCH_BEGIN, _BATCH_END = 16, 17
_LIST_BYTES_MAX = 60_000
"""The length of an attribute has 16 bits."""

_number = struct.Struct("!I")
_sequence = struct.Struct("=I")
_subject = struct.Struct("!BBH")
_HEADERS = 20
"""nlmsghdr and nfgenmsg."""

REGISTER = 8
"""The first of the registers of four bytes each, NFT_REG32_00."""


def message(kind: int, body: bytes, *, flags: int = 0) -> bytes:
    """One message about family ip, without its sequence number, which `batch` fills in."""
    head = header.pack(_HEADERS + len(body), SUBSYSTEM << 8 | kind, REQUEST | flags, 0, 0)
    return head + _subject.pack(FAMILY_IPV4, 0, 0) + body


def _batch_mark(kind: int) -> bytes:
    return header.pack(_HEADERS, kind, REQUEST, 0, 0) + _subject.pack(0, 0, SUBSYSTEM)


def be32(number: int, value: int) -> bytes:
    return attribute(number, _number.pack(value))


def batch(messages: Iterable[bytes]) -> bytes:
    """One transaction. Its messages are numbered from 1, so that an error tells which one it is about."""
    numbered: list[bytes] = []
    for sequence, one in enumerate((_batch_mark(_BATCH_BEGIN), *messages, _batch_mark(_BATCH_END))):
        numbered += (one[:8], _sequence.pack(sequence), one[12:])
    return b"".join(numbered)


def list_tables() -> tuple[int, bytes]:
    """The kind and body of the request for all tables of family ip."""
    return SUBSYSTEM << 8 | GET_TABLE, _subject.pack(FAMILY_IPV4, 0, 0)


def table_name(body: bytes) -> str:
    """The name in an answer to it."""
    return attributes(body, _subject.size).get(_TABLE_NAME, b"").rstrip(b"\0").decode(errors="replace")


def get_table(table: str) -> bytes:
    """A question that is answered with the table or ENOENT."""
    return message(GET_TABLE, string(1, table), flags=ACKNOWLEDGE)


def errors(data: bytes) -> Iterator[tuple[int, int]]:
    """Sequence number and errno of the refusals in an answer of the kernel; acknowledgements are none."""
    for one in messages(data):
        if one.kind == MESSAGE_ERROR and one.error:
            yield one.sequence, one.error


# ---------------------------------------------------------------- elements


def element_head(key_bytes: int, data_bytes: int) -> bytes:
    """What stands in front of the key, when so many bytes of data attribute follow it."""
    whole = nested(1, nested(1, attribute(1, b"\0" * key_bytes)), b"\0" * data_bytes)
    return whole[: len(whole) - key_bytes - data_bytes]


def data(value: bytes) -> bytes:
    """The data attribute of an element that maps to a value."""
    return nested(2, attribute(1, value))


def verdict(code: int, chain: str = "") -> bytes:
    """The data attribute of an element that maps to a verdict."""
    parts = [attribute(1, struct.pack("!i", code)), *([string(2, chain)] if chain else [])]
    return nested(2, nested(2, *parts))


def element_messages(kind: int, table: str, name: str, elements: Iterable[bytes]) -> Iterator[bytes]:
    """Elements of one map or set to add or delete, as many a message as fit."""
    start = string(1, table) + string(2, name)
    flags = CREATE if kind == NEW_ELEMENT else 0
    chunk: list[bytes] = []
    size = 0
    for element in elements:
        if size + len(element) > _LIST_BYTES_MAX:
            yield message(kind, start + nested(3, *chunk), flags=flags)
            chunk, size = [], 0
        chunk.append(element)
        size += len(element)
    if chunk:
        yield message(kind, start + nested(3, *chunk), flags=flags)


# ---------------------------------------------------------------- chains and rules


def new_chain(table: str, name: str) -> bytes:
    return message(NEW_CHAIN, string(1, table) + string(3, name), flags=CREATE)


def delete_chain(table: str, name: str) -> Iterator[bytes]:
    """Its rules first."""
    yield message(DELETE_RULE, string(1, table) + string(2, name))
    yield message(DELETE_CHAIN, string(1, table) + string(3, name))


def new_rule(table: str, chain: str, *expressions: bytes) -> bytes:
    """At the end of a chain."""
    body = string(1, table) + string(2, chain) + nested(4, *expressions)
    return message(NEW_RULE, body, flags=CREATE | APPEND)


def expression(name: str, *attributes: bytes) -> bytes:
    return nested(1, string(1, name), nested(2, *attributes))


def load_destination(register: int) -> bytes:
    """`ip daddr`."""
    return expression("payload", be32(1, register), be32(2, 1), be32(3, 16), be32(4, 4))


def load_protocol(register: int) -> bytes:
    """`meta l4proto`."""
    return expression("meta", be32(2, 16), be32(1, register))


def load_port(register: int) -> bytes:
    """`th dport`."""
    return expression("payload", be32(1, register), be32(2, 2), be32(3, 2), be32(4, 2))


def load_random(register: int, below: int) -> bytes:
    """`numgen random mod`, in the machine's byte order."""
    return expression("numgen", be32(1, register), be32(2, below), be32(3, 1), be32(4, 0))


def look_up(map_name: str, register: int) -> bytes:
    """What a map has for the key that begins in a register, into the registers from there on."""
    return expression("lookup", string(1, map_name), be32(2, register), be32(3, register), be32(5, 0))


def translate_destination(register: int) -> bytes:
    """`dnat ip to` the address in a register and the port in the next."""
    return expression("nat", be32(1, 1), be32(2, FAMILY_IPV4), be32(3, register), be32(5, register + 1))
