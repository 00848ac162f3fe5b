"""Which conversations are forgotten when an endpoint goes, and how the kernel tells of them."""

from __future__ import annotations

import socket
import struct

import pytest

from orchestrator.aiokit.netlink import attribute, nested
from orchestrator.proxy.conntrack import Conversation, parse_conversation, plan_forgotten
from orchestrator.proxy.plan import Frontend
from orchestrator.proxy.ruleset import StaleFlow

UDP, TCP = socket.IPPROTO_UDP, socket.IPPROTO_TCP
SERVICE, NODE, POD, OTHER_POD = "10.96.0.10", "172.30.0.2", "10.244.0.5", "10.244.0.6"


def conversation(
    *, destination: tuple[str, int] = (SERVICE, 53), peer: tuple[str, int] = (POD, 5353), protocol: int = UDP
) -> Conversation:
    return Conversation(protocol, destination, peer, b"")


def side(number: int, source: tuple[str, int], destination: tuple[str, int], protocol: int) -> bytes:
    """One of the two tuples of an entry, as nfnetlink_conntrack.h lays it out."""
    addresses = attribute(1, socket.inet_aton(source[0])) + attribute(2, socket.inet_aton(destination[0]))
    ports = attribute(1, bytes([protocol]))
    ports += attribute(2, struct.pack("!H", source[1])) + attribute(3, struct.pack("!H", destination[1]))
    return nested(number, nested(1, addresses), nested(2, ports))


def test_an_entry_tells_whom_it_was_addressed_to_and_who_answers() -> None:
    client = ("10.244.0.9", 40000)
    original = side(1, client, (SERVICE, 53), UDP)
    body = struct.pack("=BBH", 2, 0, 0) + original + side(2, (POD, 5353), client, UDP)
    parsed = parse_conversation(body)
    assert parsed == Conversation(UDP, (SERVICE, 53), (POD, 5353), original[4:])


@pytest.mark.parametrize("body", [b"", struct.pack("=BBH", 2, 0, 0), struct.pack("=BBH", 2, 0, 0) + attribute(1, b"")])
def test_what_has_no_ports_is_no_conversation(body: bytes) -> None:
    assert parse_conversation(body) is None


@pytest.mark.parametrize(
    ("frontend", "target", "forgotten"),
    [
        (Frontend(SERVICE, "udp", 53), (POD, 5353), True),
        (Frontend(SERVICE, "udp", 53), (OTHER_POD, 5353), False),  # another endpoint went
        (Frontend("10.96.0.11", "udp", 53), (POD, 5353), False),  # another Service with the same port
        (Frontend(SERVICE, "udp", 54), (POD, 5353), False),
        (Frontend("", "udp", 53), (POD, 5353), True),  # a node port, on any address
        (Frontend(SERVICE, "udp", 53), None, False),  # it is translated
    ],
)  # fmt: skip
def test_conversations_with_an_endpoint_that_is_gone(
    frontend: Frontend, target: tuple[str, int] | None, forgotten: bool
) -> None:
    assert bool(plan_forgotten([conversation()], [StaleFlow(frontend, target)])) is forgotten


def test_conversations_that_were_not_translated() -> None:
    untranslated = conversation(peer=(SERVICE, 53))
    assert plan_forgotten([untranslated, conversation()], [StaleFlow(Frontend(SERVICE, "udp", 53), None)]) == [
        untranslated
    ]


def test_tcp_ends_by_itself() -> None:
    assert not plan_forgotten([conversation(protocol=TCP)], [StaleFlow(Frontend(SERVICE, "udp", 53), (POD, 5353))])
