"""Links, addresses and routes of one network namespace over a route netlink socket; blocking.

The kernel answers within a fraction of a millisecond, but may have to wait for somebody else's change first.
Knows what the pod network needs and no more. Formats: linux/rtnetlink.h, if_link.h, if_addr.h, if_bridge.h.
"""

from __future__ import annotations

import errno
import struct
from ipaddress import IPv4Address, IPv4Network

from msgspec import Struct

from orchestrator.aiokit import netlink
from orchestrator.aiokit.netlink import attribute, nested, string
from orchestrator.aiokit.netlink_socket import NetlinkError, RequestSocket

_ROUTE = 0
_INET, _BRIDGE = 2, 7
_NEW_LINK, _DELETE_LINK, _GET_LINK, _SET_LINK = 16, 17, 18, 19
_NEW_ADDRESS, _DELETE_ADDRESS = 20, 21
_NEW_ROUTE, _DELETE_ROUTE, _GET_ROUTE = 24, 25, 26
_NEW = netlink.CREATE | netlink.EXCLUSIVE
_UP = 1
_IFLA_ADDRESS, _IFLA_NAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_PORT, _IFLA_INFO, _IFLA_NAMESPACE = 1, 3, 4, 10, 12, 18, 19
_INFO_KIND, _INFO_DATA, _VETH_PEER, _PORT_HAIRPIN = 1, 2, 1, 4
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DESTINATION, _RTA_INTERFACE, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_TABLE_MAIN, _PROTOCOL_STATIC, _UNICAST, _ONLINK = 254, 4, 1, 4
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_ANY = 0, 253, 255

_link = struct.Struct("=BBHiII")
_address = struct.Struct("=BBBBI")
_route = struct.Struct("=BBBBBBBBI")
_number = struct.Struct("=I")


class Link(Struct, frozen=True):
    """A network interface."""

    index: int
    name: str
    mtu: int
    master: int
    """The index of the bridge that it is a port of; 0 without one."""


class Route(Struct, frozen=True):
    """A route of the main table."""

    destination: IPv4Network
    interface: int
    """Its index; 0 when there is none, or several."""


def parse_link(body: bytes) -> Link:
    """The body of a NEW_LINK message."""
    found = netlink.attributes(body, _link.size)
    name = found.get(_IFLA_NAME, b"").rstrip(b"\0").decode()
    return Link(_link.unpack_from(body)[3], name, _u32(found.get(_IFLA_MTU)), _u32(found.get(_IFLA_MASTER)))


def parse_route(body: bytes) -> Route | None:
    """The body of a NEW_ROUTE message; None for a route of another family or table."""
    family, bits, _, _, table, *_ = _route.unpack_from(body)
    found = netlink.attributes(body, _route.size)
    if family != _INET or (_u32(found.get(_RTA_TABLE)) or table) != _TABLE_MAIN:
        return None
    destination = IPv4Network((found.get(_RTA_DESTINATION) or b"\0\0\0\0", bits))
    return Route(destination, _u32(found.get(_RTA_INTERFACE)))


def _u32(value: bytes | None) -> int:
    return int(_number.unpack(value)[0]) if value else 0


def _u32_attribute(number: int, value: int) -> bytes:
    return attribute(number, _number.pack(value))


def _link_body(index: int = 0, *, family: int = 0, up: bool = False) -> bytes:
    return _link.pack(family, 0, 0, index, _UP if up else 0, _UP if up else 0)


def _mac(text: str) -> bytes:
    return attribute(_IFLA_ADDRESS, bytes.fromhex(text.replace(":", "")))


def veth_body(name: str, *, mtu: int, peer: str, peer_pid: int, peer_mac: str = "") -> bytes:
    """The body of a NEW_LINK request for a pair, whose peer begins in the network namespace of a process."""
    inside = _link_body() + string(_IFLA_NAME, peer) + _u32_attribute(_IFLA_MTU, mtu)
    inside += _u32_attribute(_IFLA_NAMESPACE, peer_pid) + (_mac(peer_mac) if peer_mac else b"")
    info = nested(_IFLA_INFO, string(_INFO_KIND, "veth"), nested(_INFO_DATA, nested(_VETH_PEER, inside)))
    return _link_body() + string(_IFLA_NAME, name) + _u32_attribute(_IFLA_MTU, mtu) + info


class RouteSocket(RequestSocket):
    """A socket in the network namespace of the thread that makes it. Each method raises NetlinkError or OSError."""

    def __init__(self) -> None:
        super().__init__(_ROUTE)

    # Links.

    def links(self) -> list[Link]:
        """All interfaces."""
        return [parse_link(one.body) for one in self.dump(_GET_LINK, _link_body())]

    def find_link(self, name: str) -> Link | None:
        """An interface by its name, or None."""
        try:
            found = self.ask(_GET_LINK, _link_body() + string(_IFLA_NAME, name))
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return parse_link(found[0].body)

    def add_bridge(self, name: str, *, mac: str, mtu: int) -> None:
        """A bridge; EEXIST."""
        body = _link_body() + string(_IFLA_NAME, name) + _u32_attribute(_IFLA_MTU, mtu) + _mac(mac)
        self.ask(_NEW_LINK, body + nested(_IFLA_INFO, string(_INFO_KIND, "bridge")), _NEW)

    def add_veth(self, name: str, *, mtu: int, peer: str, peer_pid: int, peer_mac: str = "") -> None:
        """A veth here with its peer in the network namespace of a process; EEXIST."""
        body = veth_body(name, mtu=mtu, peer=peer, peer_pid=peer_pid, peer_mac=peer_mac)
        self.ask(_NEW_LINK, body, _NEW)

    def set_up(self, index: int) -> None:
        """Switch an interface on."""
        self.ask(_NEW_LINK, _link_body(index, up=True))

    def join_bridge(self, index: int, bridge: int) -> None:
        """Make an interface a port of a bridge, which sends back to it what came from it, and switch it on."""
        self.ask(_NEW_LINK, _link_body(index, up=True) + _u32_attribute(_IFLA_MASTER, bridge))
        port = nested(_IFLA_PORT, attribute(_PORT_HAIRPIN, b"\1"))
        self.ask(_SET_LINK, _link_body(index, family=_BRIDGE) + port)

    def delete_link(self, index: int) -> None:
        """Remove an interface and its peer; ENODEV."""
        self.ask(_DELETE_LINK, _link_body(index))

    # Addresses and routes.

    def add_address(self, index: int, address: str, prefixlen: int) -> None:
        """Give an interface an address; EEXIST."""
        self.ask(_NEW_ADDRESS, _address_body(index, address, prefixlen), _NEW)

    def delete_address(self, index: int, address: str, prefixlen: int) -> None:
        """Take an address from an interface; EADDRNOTAVAIL."""
        self.ask(_DELETE_ADDRESS, _address_body(index, address, prefixlen))

    def routes(self) -> list[Route]:
        """The main table."""
        body = _route.pack(_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        found = (parse_route(one.body) for one in self.dump(_GET_ROUTE, body))
        return [route for route in found if route is not None]

    def add_route(self, destination: IPv4Network, interface: int) -> None:
        """Lead a range to an interface; EEXIST."""
        body = _route_body(destination, interface, _SCOPE_LINK)
        self.ask(_NEW_ROUTE, body, _NEW)

    def add_default_route(self, gateway: str, interface: int) -> None:
        """Lead everything else to a gateway that is on the link, whatever the addresses say; EEXIST."""
        body = _route_body(IPv4Network("0.0.0.0/0"), interface, _SCOPE_UNIVERSE, flags=_ONLINK)
        body += attribute(_RTA_GATEWAY, IPv4Address(gateway).packed)
        self.ask(_NEW_ROUTE, body, _NEW)

    def delete_route(self, destination: IPv4Network, interface: int) -> None:
        """Take such a route away; ESRCH."""
        self.ask(_DELETE_ROUTE, _route_body(destination, interface, _SCOPE_ANY, protocol=0))


def _address_body(index: int, address: str, prefixlen: int) -> bytes:
    packed = IPv4Address(address).packed
    head = _address.pack(_INET, prefixlen, 0, _SCOPE_UNIVERSE, index)
    return head + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)


def _route_body(
    destination: IPv4Network, interface: int, scope: int, *, protocol: int = _PROTOCOL_STATIC, flags: int = 0
) -> bytes:
    bits = destination.prefixlen
    head = _route.pack(_INET, bits, 0, 0, _TABLE_MAIN, protocol, scope, _UNICAST, flags)
    target = attribute(_RTA_DESTINATION, destination.network_address.packed) if bits else b""
    return head + target + _u32_attribute(_RTA_INTERFACE, interface)
