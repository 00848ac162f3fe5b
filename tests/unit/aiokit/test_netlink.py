"""Netlink messages and attributes, as the kernel's headers lay them out."""

from __future__ import annotations

import errno
import struct

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aiokit import netlink


def test_an_attribute_has_its_length_and_type_and_is_padded() -> None:
    assert netlink.attribute(3, b"lo\0") == struct.pack("=HH", 7, 3) + b"lo\0\0"
    assert netlink.string(3, "lo") == netlink.attribute(3, b"lo\0")


def test_a_nested_attribute_is_marked() -> None:
    inner = netlink.attribute(1, b"\1\0\0\0")
    assert netlink.nested(18, inner, inner) == struct.pack("=HH", 20, 18 | 0x8000) + inner + inner


@given(st.dictionaries(st.integers(1, 200), st.binary(max_size=40), max_size=8))
def test_attributes_are_found_again(values: dict[int, bytes]) -> None:
    data = b"head" + b"".join(netlink.attribute(number, value) for number, value in values.items())
    assert netlink.attributes(data, 4) == values


@given(st.binary(max_size=200))
def test_nonsense_is_read_without_an_error_and_to_an_end(data: bytes) -> None:
    list(netlink.messages(data))
    netlink.attributes(data, 0)


def test_messages_of_one_datagram_are_told_apart() -> None:
    refusal = struct.pack("=IHHIIi", 20, netlink.MESSAGE_ERROR, 0, 7, 1, -errno.EEXIST)
    done = struct.pack("=IHHIIi", 20, netlink.MESSAGE_DONE, netlink.MULTI, 8, 1, 0)
    first, second = netlink.messages(refusal + done)
    assert (first.kind, first.sequence, first.error) == (netlink.MESSAGE_ERROR, 7, errno.EEXIST)
    assert (second.kind, second.flags, second.sequence) == (netlink.MESSAGE_DONE, netlink.MULTI, 8)
