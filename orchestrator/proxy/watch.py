"""Hears of changes that somebody else makes to our nftables table.

The kernel announces every committed transaction to netlink listeners. `Scanner` reads these messages (pure),
`TableWatch` is the socket. Never polls. Format: linux/netfilter/nf_tables.h, nfnetlink.h.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable, Iterator

from msgspec import Struct

from orchestrator.proxy.netlink import NETLINK_NETFILTER

NFNLGRP_NFTABLES = 7
SO_RCVBUFFORCE = 33
RECEIVE_BYTES_MAX = 16 << 20
"""Messages wait in the kernel while the loop is busy; a replaced table of 5,000 Services takes 7 MB."""

_SUBSYSTEM = 10 << 8
_NEW_GENERATION = _SUBSYSTEM | 15
_DELETED = {_SUBSYSTEM | number for number in (2, 5, 8, 11, 14)}
"""Table, chain, rule, set, element."""
_ELEMENT_DELETED = _SUBSYSTEM | 14
_HEADERS = 20
"""nlmsghdr and nfgenmsg."""
_ATTRIBUTE_TABLE, _ATTRIBUTE_SET = 1, 2
_header = struct.Struct("=IH")
_attribute = struct.Struct("=HH")


class Seen(Struct):
    """Transactions that concerned our table."""

    transactions: int = 0
    destructive: int = 0
    """Those that took something away."""


class Scanner:
    """Counts the transactions that concern one table, out of netlink messages."""

    def __init__(self, table: str, *, volatile_prefix: str) -> None:
        """Elements of sets with this prefix come and go by themselves and do not count."""
        self._table = table.encode() + b"\0"
        self._volatile = volatile_prefix.encode()
        self._is_touched = False
        self._is_destructive = False

    def feed(self, data: bytes, seen: Seen) -> None:
        """Read the messages of one datagram."""
        position, end = 0, len(data)
        while position + _HEADERS <= end:
            length, kind = _header.unpack_from(data, position)
            if length < 16 or position + length > end:
                return  # not what the kernel sends
            if kind == _NEW_GENERATION:
                seen.transactions += self._is_touched
                seen.destructive += self._is_destructive
                self._is_touched = self._is_destructive = False
            elif kind & 0xFF00 == _SUBSYSTEM and (not self._is_touched or kind in _DELETED):
                self._touch(kind, data[position + _HEADERS : position + length])
            position += (length + 3) & ~3

    def _touch(self, kind: int, attributes: bytes) -> None:
        table, name = b"", b""
        for number, value in _attributes(attributes):
            if number == _ATTRIBUTE_TABLE:
                table = value
                if table != self._table:
                    return
            elif number == _ATTRIBUTE_SET:
                name = value
                break
        if table != self._table or (kind == _ELEMENT_DELETED and name.startswith(self._volatile)):
            return
        self._is_touched = True
        self._is_destructive = self._is_destructive or kind in _DELETED


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 4 <= len(data):
        length, number = _attribute.unpack_from(data, position)
        if length < 4:
            return
        yield number & 0x3FFF, data[position + 4 : position + length]
        position += (length + 3) & ~3


class TableWatch:
    """Calls back when somebody else takes something out of our table.

    Transactions of ours are told apart by bracketing them with `begin` and `end`: the kernel announces a
    transaction before it answers the one who asked for it.
    """

    def __init__(self, table: str, *, volatile_prefix: str, on_damage: Callable[[], None]) -> None:
        self._scanner = Scanner(table, volatile_prefix=volatile_prefix)
        self._on_damage = on_damage
        self._socket: socket.socket | None = None
        self._own: Seen | None = None

    def open(self) -> None:
        """Begin to listen, on the running loop; OSError without the rights to."""
        listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        try:
            listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES_MAX)
            listener.bind((0, 1 << (NFNLGRP_NFTABLES - 1)))
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        self._socket = listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._on_readable)

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def begin(self) -> None:
        """A transaction of ours follows."""
        self._on_readable()
        self._own = Seen()

    def end(self) -> None:
        """Our transaction is over; more than one that concerned our table means that somebody interfered."""
        self._on_readable()
        own, self._own = self._own, None
        if own is not None and own.transactions > 1:
            self._on_damage()

    def _on_readable(self) -> None:
        if self._socket is None:
            return
        seen = self._own if self._own is not None else Seen()
        is_complete = True
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                is_complete = False  # more was announced than the buffer holds
                continue
            self._scanner.feed(data, seen)
        if self._own is None and (seen.destructive or not is_complete):
            self._on_damage()
