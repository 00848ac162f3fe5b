"""Forgets UDP conversations that lead to endpoints that are gone.

Connection tracking keeps the translation of a conversation for as long as packets come. TCP ends by itself
when its peer is gone; UDP does not notice. Mirrors kube-proxy's conntrack clean-up. Formats:
linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Sequence

from msgspec import Struct

from orchestrator.aiokit import netlink
from orchestrator.aiokit.netlink import attribute, nested
from orchestrator.aiokit.netlink_socket import NetlinkError, RequestSocket
from orchestrator.proxy.netlink import FAMILY_IPV4, NETLINK_NETFILTER
from orchestrator.proxy.ruleset import StaleFlow

_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
"""IPCTNL_MSG_CT_GET and _DELETE of the subsystem for connection tracking."""
_ORIGINAL, _REPLY, _FILTER = 1, 2, 25
_ADDRESSES, _PORTS = 1, 2
_SOURCE, _DESTINATION = 1, 2
_PROTOCOL, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_FILTER_ORIGINAL, _BY_PROTOCOL = 1, 1 << 3

_subject = struct.pack("=BBH", FAMILY_IPV4, 0, 0)
_port = struct.Struct("!H")
_flags = struct.Struct("=I")


class Conversation(Struct, frozen=True):
    """An entry of connection tracking."""

    protocol: int
    destination: tuple[str, int]
    """Whom it was addressed to."""
    peer: tuple[str, int]
    """Who answers."""
    original: bytes
    """How the kernel names it."""


def parse_conversation(body: bytes) -> Conversation | None:
    """The body of one answer to a dump; None when it is of a protocol without ports."""
    found = netlink.attributes(body, len(_subject))
    if _ORIGINAL not in found or _REPLY not in found:
        return None
    original, reply = netlink.attributes(found[_ORIGINAL], 0), netlink.attributes(found[_REPLY], 0)
    ports = netlink.attributes(original.get(_PORTS, b""), 0)
    destination = _end(original, _DESTINATION, _DESTINATION_PORT)
    peer = _end(reply, _SOURCE, _SOURCE_PORT)
    if destination is None or peer is None or _PROTOCOL not in ports:
        return None
    return Conversation(ports[_PROTOCOL][0], destination, peer, found[_ORIGINAL])


def _end(parts: dict[int, bytes], address: int, port: int) -> tuple[str, int] | None:
    addresses, ports = netlink.attributes(parts.get(_ADDRESSES, b""), 0), netlink.attributes(parts.get(_PORTS, b""), 0)
    if address not in addresses or port not in ports:
        return None
    return socket.inet_ntoa(addresses[address]), int(_port.unpack(ports[port])[0])


def plan_forgotten(conversations: Iterable[Conversation], flows: Sequence[StaleFlow]) -> list[Conversation]:
    """Those of the conversations that the flows are about."""
    by_port: dict[int, list[StaleFlow]] = {}
    for flow in flows:
        by_port.setdefault(flow.frontend.port, []).append(flow)
    return [one for one in conversations if any(_is_of(one, flow) for flow in by_port.get(one.destination[1], ()))]


def _is_of(one: Conversation, flow: StaleFlow) -> bool:
    if one.protocol != socket.IPPROTO_UDP or flow.frontend.address not in ("", one.destination[0]):
        return False
    return one.peer == (flow.target or one.destination)


def forget_flows(flows: Sequence[StaleFlow]) -> int:
    """Delete the entries of these conversations; returns how many there were. Blocking; OSError."""
    # Kernels since 5.8 leave out other protocols.
    only_udp = nested(_ORIGINAL, nested(_PORTS, attribute(_PROTOCOL, bytes((socket.IPPROTO_UDP,)))))
    only_udp += nested(_FILTER, attribute(_FILTER_ORIGINAL, _flags.pack(_BY_PROTOCOL)), attribute(2, _flags.pack(0)))
    deleted = 0
    with RequestSocket(NETLINK_NETFILTER) as tracking:
        found = [parse_conversation(one.body) for one in tracking.dump(_GET, _subject + only_udp)]
        for one in plan_forgotten([each for each in found if each is not None], flows):
            try:
                tracking.ask(_DELETE, _subject + nested(_ORIGINAL, one.original))
            except NetlinkError as error:
                if error.errno != errno.ENOENT:  # it ended meanwhile
                    raise
                continue
            deleted += 1
    return deleted
