"""The DNS wire format, as far as an authoritative and forwarding server needs it (RFC 1035, 2782, 6891).

Strict about what it reads, quick about what it writes: a query costs some ten microseconds. Names are text in
lower case without the final dot.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from ipaddress import IPv4Address

from msgspec import Struct

QUERY_BYTES_MAX = 4096
UDP_BYTES_DEFAULT = 512
UDP_BYTES_MAX = 1232
"""What we send in one datagram at most: never fragmented (DNS flag day 2020)."""
TCP_BYTES_MAX = 65_535
NAME_BYTES_MAX = 255
LABEL_BYTES_MAX = 63

CLASS_IN = 1
FLAG_RESPONSE, FLAG_AUTHORITATIVE, FLAG_TRUNCATED = 0x8000, 0x0400, 0x0200
FLAG_RECURSION_DESIRED, FLAG_RECURSION_AVAILABLE = 0x0100, 0x0080
_KEPT_FLAGS = 0x7900  # opcode and recursion desired
_POINTER_TO_QUESTION = b"\xc0\x0c"

_header = struct.Struct("!HHHHHH")
_fixed = struct.Struct("!HHIH")
_two = struct.Struct("!HH")


class Type(IntEnum):
    """Types of records that we know."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    TXT = 16
    AAAA = 28
    SRV = 33
    OPT = 41
    IXFR = 251
    AXFR = 252
    ANY = 255


class Rcode(IntEnum):
    """Response codes."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class MalformedMessage(Exception):
    """Not a DNS message that we understand; `rcode` is what to answer, None: nothing at all."""

    def __init__(self, reason: str, rcode: Rcode | None = Rcode.FORMERR) -> None:
        super().__init__(reason)
        self.rcode = rcode


class Query(Struct, frozen=True):
    """One question that somebody asked."""

    identifier: int
    flags: int
    name: str
    type: int
    qclass: int
    question: bytes
    """As it was sent, letter case included, to be sent back."""
    udp_bytes: int = UDP_BYTES_DEFAULT
    has_edns: bool = False
    edns_version: int = 0


class Record(Struct, frozen=True):
    """A resource record of class IN."""

    name: str
    type: int
    ttl: int
    data: bytes


def parse_query(data: bytes) -> Query:
    """Read a query; MalformedMessage with the code to answer."""
    if len(data) < 12 or len(data) > QUERY_BYTES_MAX:
        raise MalformedMessage("not the size of a query", None)
    identifier, flags, questions, answers, authorities, additionals = _header.unpack_from(data)
    if flags & FLAG_RESPONSE:
        raise MalformedMessage("a response", None)
    if flags & 0x7800:
        raise MalformedMessage("an opcode other than QUERY", Rcode.NOTIMP)
    if questions != 1 or answers or authorities or additionals > 2:
        raise MalformedMessage("not exactly one question")
    name, position = _plain_name(data, 12)
    if position + 4 > len(data):
        raise MalformedMessage("the question ends early")
    qtype, qclass = _two.unpack_from(data, position)
    position += 4
    question = data[12:position]
    udp_bytes, has_edns, version = UDP_BYTES_DEFAULT, False, 0
    for _ in range(additionals):
        owner, position = _plain_name(data, position)
        if position + 10 > len(data):
            raise MalformedMessage("a record ends early")
        rtype, size, ttl, length = _fixed.unpack_from(data, position)
        position += 10 + length
        if position > len(data):
            raise MalformedMessage("a record ends early")
        if rtype == Type.OPT:
            if owner or has_edns:
                raise MalformedMessage("a wrong OPT record")
            has_edns, version = True, (ttl >> 16) & 0xFF
            udp_bytes = max(UDP_BYTES_DEFAULT, min(size, UDP_BYTES_MAX))
    return Query(identifier, flags, name, qtype, qclass, question, udp_bytes, has_edns, version)


def _plain_name(data: bytes, position: int) -> tuple[str, int]:
    """A name without compression, and where it ends."""
    start, labels = position, []
    while True:
        if position >= len(data):
            raise MalformedMessage("a name ends early")
        length = data[position]
        position += 1
        if not length:
            break
        if length > LABEL_BYTES_MAX:
            raise MalformedMessage("a compressed name where none may be")
        label = data[position : position + length]
        position += length
        labels.append(_text(label))
    if position - start > NAME_BYTES_MAX or position > len(data):
        raise MalformedMessage("a name is too long")
    return ".".join(labels), position


def _text(label: bytes) -> str:
    return label.decode("latin-1").replace("\\", "\\\\").replace(".", "\\.").lower()


def encode_name(name: str) -> bytes:
    """The wire form of a name; ValueError when a label or the name is too long."""
    if not name:
        return b"\0"
    parts = []
    for label in name.rstrip(".").split("."):
        raw = label.encode("latin-1")
        if not 0 < len(raw) <= LABEL_BYTES_MAX:
            raise ValueError(f"{name!r} is not a DNS name")
        parts.append(bytes((len(raw),)) + raw)
    wire = b"".join(parts) + b"\0"
    if len(wire) > NAME_BYTES_MAX:
        raise ValueError(f"{name!r} is too long for a DNS name")
    return wire


def address_data(address: str) -> bytes:
    """The data of an A record."""
    return IPv4Address(address).packed


def service_data(priority: int, weight: int, port: int, target: str) -> bytes:
    """The data of an SRV record (RFC 2782)."""
    return struct.pack("!HHH", priority, weight, port) + encode_name(target)


def text_data(text: str) -> bytes:
    """The data of a TXT record with one string."""
    raw = text.encode()
    return bytes((len(raw),)) + raw


def authority_data(server: str, mailbox: str, serial: int, minimum: int) -> bytes:
    """The data of an SOA record; `minimum` is how long a client may remember that there is nothing (RFC 2308)."""
    return encode_name(server) + encode_name(mailbox) + struct.pack("!IIIII", serial, 7200, 1800, 86400, minimum)


def build_response(
    query: Query,
    rcode: int,
    answers: Sequence[Record] = (),
    authorities: Sequence[Record] = (),
    additionals: Sequence[Record] = (),
    *,
    bytes_max: int,
    is_authoritative: bool = True,
) -> bytes:
    """The answer to a query; what does not fit is left out, and marked when it is an answer (TC)."""
    flags = FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | (query.flags & _KEPT_FLAGS) | (rcode & 0xF)
    if is_authoritative:
        flags |= FLAG_AUTHORITATIVE
    edns = b""
    if query.has_edns:
        edns = b"\0" + _fixed.pack(Type.OPT, UDP_BYTES_MAX, (rcode >> 4) << 24, 0)
    room = bytes_max - 12 - len(query.question) - len(edns)
    parts, counts = [query.question], [0, 0, 0]
    for section, records in enumerate((answers, authorities, additionals)):
        for record in records:
            owner = _POINTER_TO_QUESTION if record.name == query.name else encode_name(record.name)
            size = len(owner) + 10 + len(record.data)
            if size > room:
                if section == 0:
                    flags |= FLAG_TRUNCATED
                break
            room -= size
            parts += (owner, _fixed.pack(record.type, CLASS_IN, record.ttl, len(record.data)), record.data)
            counts[section] += 1
        if flags & FLAG_TRUNCATED:
            break
    if edns:
        parts.append(edns)
        counts[2] += 1
    return _header.pack(query.identifier, flags, 1, *counts) + b"".join(parts)


def error_response(data: bytes, rcode: Rcode) -> bytes:
    """The answer to a query that cannot be read: its header alone."""
    identifier, flags = struct.unpack_from("!HH", data)
    flags = FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | (flags & _KEPT_FLAGS) | rcode
    return _header.pack(identifier, flags, 0, 0, 0, 0)


def build_query(identifier: int, name: str, qtype: int) -> bytes:
    """A recursive query with room for one unfragmented datagram as answer."""
    edns = b"\0" + _fixed.pack(Type.OPT, UDP_BYTES_MAX, 0, 0)
    question = encode_name(name) + _two.pack(qtype, CLASS_IN)
    return _header.pack(identifier, FLAG_RECURSION_DESIRED, 1, 0, 0, 1) + question + edns


class Response(Struct, frozen=True):
    """What another server answered."""

    identifier: int
    flags: int
    question: bytes
    answers: tuple[Record, ...]
    authorities: tuple[Record, ...]
    ttl_positions: tuple[int, ...]
    """Where in the message the times to live stand (OPT has none)."""

    @property
    def rcode(self) -> int:
        """NOERROR, NXDOMAIN or an error."""
        return self.flags & 0xF

    @property
    def is_truncated(self) -> bool:
        """Whether the whole answer needs TCP."""
        return bool(self.flags & FLAG_TRUNCATED)


def parse_response(data: bytes) -> Response:
    """Read an answer; the names in data of CNAME records come without compression. MalformedMessage."""
    if len(data) < 12:
        raise MalformedMessage("shorter than a header", None)
    identifier, flags, questions, *counts = _header.unpack_from(data)
    if not flags & FLAG_RESPONSE or questions != 1:
        raise MalformedMessage("not a response to one question", None)
    _, position = _name(data, 12)
    position += 4
    question = data[12:position]
    sections: list[list[Record]] = [[], [], []]
    positions: list[int] = []
    for section, count in zip(sections, counts, strict=True):
        for _ in range(count):
            owner, position = _name(data, position)
            if position + 10 > len(data):
                raise MalformedMessage("a record ends early", None)
            rtype, _rclass, ttl, length = _fixed.unpack_from(data, position)
            start = position + 10
            if rtype != Type.OPT:
                positions.append(position + 4)
            position = start + length
            if position > len(data):
                raise MalformedMessage("a record ends early", None)
            content = data[start:position]
            if rtype == Type.CNAME:
                content = encode_wire(data, start)
            section.append(Record(owner, rtype, ttl, content))
    return Response(identifier, flags, question, tuple(sections[0]), tuple(sections[1]), tuple(positions))


def encode_wire(data: bytes, position: int) -> bytes:
    """A name out of a message, in wire form without compression."""
    return b"".join([*(bytes((len(label),)) + label for label in _labels(data, position)[0]), b"\0"])


def _name(data: bytes, position: int) -> tuple[str, int]:
    labels, end = _labels(data, position)
    return ".".join(_text(label) for label in labels), end


def _labels(data: bytes, position: int) -> tuple[list[bytes], int]:
    """The labels of a name that may be compressed, and where it ends; MalformedMessage."""
    labels: list[bytes] = []
    end, size = 0, 0
    while True:
        if position >= len(data):
            raise MalformedMessage("a name ends early", None)
        length = data[position]
        if length >= 0xC0:
            if position + 2 > len(data):
                raise MalformedMessage("a name ends early", None)
            end = end or position + 2
            target = ((length & 0x3F) << 8) | data[position + 1]
            if target >= position:  # pointers lead backwards, so that there is no loop
                raise MalformedMessage("a name points forward", None)
            position = target
            continue
        position += 1
        if not length:
            return labels, end or position
        size += length + 1
        if length > LABEL_BYTES_MAX or size > NAME_BYTES_MAX or position + length > len(data):
            raise MalformedMessage("a name is too long", None)
        labels.append(data[position : position + length])
        position += length


def with_age(data: bytes, identifier: int, response: Response, age_seconds: int) -> bytes:
    """A remembered answer for another asker: its identifier, and what is left of the times to live."""
    message = bytearray(data)
    struct.pack_into("!H", message, 0, identifier)
    for position in response.ttl_positions:
        (ttl,) = struct.unpack_from("!I", message, position)
        struct.pack_into("!I", message, position, max(ttl - age_seconds, 0))
    return bytes(message)
