"""What the kernel says of links and routes, and what it is asked for; and a socket on this machine's loopback."""

from __future__ import annotations

import struct
import sys
from ipaddress import IPv4Network

import pytest

from orchestrator.aiokit import netlink
from orchestrator.kubelet.network.rtnetlink import Link, Route, RouteSocket, parse_link, parse_route, veth_body

LINK = struct.Struct("=BBHiII")
ROUTE = struct.Struct("=BBBBBBBBI")
U32 = struct.Struct("=I")


def u32(number: int, value: int) -> bytes:
    return netlink.attribute(number, U32.pack(value))


def test_a_port_of_a_bridge() -> None:
    body = LINK.pack(0, 0, 1, 12, 1, 0) + netlink.string(3, "vorc1234") + u32(4, 1450) + u32(10, 7)
    assert parse_link(body) == Link(index=12, name="vorc1234", mtu=1450, master=7)


def test_a_link_of_its_own_has_no_master() -> None:
    assert parse_link(LINK.pack(0, 0, 1, 1, 1, 0) + netlink.string(3, "lo") + u32(4, 65536)).master == 0


@pytest.mark.parametrize(
    ("head", "attributes", "route"),
    [
        ((2, 16, 0, 0, 254, 4, 253, 1, 0), netlink.attribute(1, bytes([10, 244, 0, 0])) + u32(4, 5),
         Route(IPv4Network("10.244.0.0/16"), 5)),
        ((2, 0, 0, 0, 254, 3, 0, 1, 0), netlink.attribute(5, bytes([192, 0, 2, 1])) + u32(4, 2),
         Route(IPv4Network("0.0.0.0/0"), 2)),
        ((2, 0, 0, 0, 0, 3, 0, 1, 0), u32(15, 254) + u32(4, 2), Route(IPv4Network("0.0.0.0/0"), 2)),  # RTA_TABLE counts
        ((2, 0, 0, 0, 254, 3, 0, 1, 0), b"", Route(IPv4Network("0.0.0.0/0"), 0)),  # several hops
        ((2, 32, 0, 0, 255, 2, 254, 2, 0), netlink.attribute(1, bytes([127, 0, 0, 1])), None),  # the local table
        ((10, 0, 0, 0, 254, 3, 0, 1, 0), b"", None),  # IPv6
    ],
)  # fmt: skip
def test_routes_of_the_main_table(head: tuple[int, ...], attributes: bytes, route: Route | None) -> None:
    assert parse_route(ROUTE.pack(*head) + attributes) == route


def test_a_veth_names_its_peer_and_the_process_in_whose_namespace_that_begins() -> None:
    body = veth_body("vorc1", mtu=1400, peer="eth0", peer_pid=4711, peer_mac="02:00:00:00:00:05")
    outer = netlink.attributes(body, LINK.size)
    assert (outer[3], U32.unpack(outer[4])[0]) == (b"vorc1\0", 1400)
    info = netlink.attributes(outer[18], 0)
    assert info[1] == b"veth\0"
    peer = netlink.attributes(netlink.attributes(info[2], 0)[1], LINK.size)
    assert peer[3] == b"eth0\0"
    assert U32.unpack(peer[19])[0] == 4711
    assert peer[1] == bytes([2, 0, 0, 0, 0, 5])


@pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")
def test_the_loopback_is_found_by_name_and_among_all() -> None:
    with RouteSocket() as route:
        loopback = route.find_link("lo")
        assert loopback is not None
        assert loopback in route.links()
        assert route.find_link("not-there0") is None
