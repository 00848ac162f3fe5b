"""Netlink messages say what the text for nft says."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.aiokit.netlink import MESSAGE_ERROR
from orchestrator.proxy import netlink
from orchestrator.proxy.encoding import encode, has_own_chains, take_new_picks
from orchestrator.proxy.plan import plan_service
from orchestrator.proxy.ruleset import STANDING_PICKS, Changes, Ruleset

from .kernel import Kernel
from .services import LAYOUT, NODES, service, slices

PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
SHAPES = {
    "targets": "apqn", "targets_node_ports": "pqn", "ways": "apq", "ways_node_ports": "pq", "refused": "apq",
    "refused_node_ports": "pq", "cluster_ips": "a", "hairpin": "aa",
}  # fmt: skip


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length, number = struct.unpack_from("=HH", data)
        yield number & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


def words(data: bytes, shape: str) -> str:
    """Registers of four bytes each as nft writes them."""
    readers: dict[str, Callable[[bytes], str]] = {
        "a": socket.inet_ntoa,
        "p": lambda raw: PROTOCOLS[struct.unpack("=Bxxx", raw)[0]],
        "q": lambda raw: str(struct.unpack("!Hxx", raw)[0]),
        "n": lambda raw: str(struct.unpack("=I", raw)[0]),
    }
    assert len(data) == 4 * len(shape)
    return " . ".join(readers[kind](data[4 * n : 4 * n + 4]) for n, kind in enumerate(shape))


def text_of(messages: list[bytes]) -> str:
    """The messages as commands for nft, one element a line; sequence and lengths are checked on the way."""
    lines = []
    data = netlink.batch(messages)
    for sequence in range(len(messages) + 2):
        length, kind, _flags, number, _ = struct.unpack_from("=IHHII", data)
        assert number == sequence
        body, data = data[20:length], data[length:]
        if sequence in (0, len(messages) + 1):
            assert kind == (16 if sequence == 0 else 17)
            continue
        fields = dict(attributes(body))
        table = fields[1].rstrip(b"\0").decode()
        kind &= 0xFF
        if kind in (netlink.NEW_CHAIN, netlink.DELETE_CHAIN):
            verb = "add" if kind == netlink.NEW_CHAIN else "delete"
            lines.append(f"{verb} chain ip {table} {fields[3].rstrip(bytes(1)).decode()}")
        elif kind in (netlink.NEW_RULE, netlink.DELETE_RULE):
            chain = fields[2].rstrip(b"\0").decode()
            lines.append(f"add rule ip {table} {chain} rule" if 4 in fields else f"flush chain ip {table} {chain}")
        else:
            name = fields[2].rstrip(b"\0").decode()
            verb = "add" if kind == netlink.NEW_ELEMENT else "delete"
            for _, element in attributes(fields[3]):
                lines.append(f"{verb} element ip {table} {name} {{ {element_of(name, dict(attributes(element)))} }}")
    assert not data
    return "\n".join(lines)


def element_of(name: str, parts: dict[int, bytes]) -> str:
    key = words(dict(attributes(parts[1]))[1], SHAPES[name])
    if 2 not in parts:
        return key
    value = dict(attributes(parts[2]))
    if 1 in value:
        return f"{key} : {words(value[1], 'aq')}"
    verdict = dict(attributes(value[2]))
    (code,) = struct.unpack("!i", verdict[1])
    chain = verdict.get(2, b"").rstrip(b"\0").decode()
    return f"{key} : {({-4: 'goto ', -3: 'jump ', 0: 'drop'})[code]}{chain}"


_services = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.none() | st.sampled_from(["TCP", "UDP", "SCTP"]),
        st.integers(0, 2 * STANDING_PICKS),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(_services, max_size=5))
def test_both_ways_lead_to_the_same_table(transactions: list[list[tuple[int, Any, int]]]) -> None:
    ruleset, by_text, by_messages = Ruleset(LAYOUT), Kernel(), Kernel()
    for updates in transactions:
        changes = Changes()
        for number, protocol, count in updates:
            ports = [{"port": 80, "protocol": protocol, "nodePort": 30000 + number}]
            one = None if protocol is None else service(f"s{number}", ip=f"10.96.0.{number}", ports=ports)
            pods = [f"10.244.0.{last}" for last in range(2, 2 + count)]
            rules = plan_service(one, slices(*pods, protocol=protocol or "TCP"), NODES)
            ruleset.update(f"default/s{number}", rules, changes)
        assert not has_own_chains(changes)
        by_text.run(changes.text(LAYOUT.table))
        by_messages.run(text_of(encode(LAYOUT.table, changes)))
        assert by_messages.elements == by_text.elements
        assert by_messages.chains.keys() == by_text.chains.keys()
        assert by_messages.sets == by_text.sets


def test_more_elements_than_one_message_holds() -> None:
    changes = Changes()
    for number in range(5_000):
        changes.add(("cluster_ips", f"10.96.{number // 250}.{number % 250}"), "")
    messages = encode(LAYOUT.table, changes)
    assert len(messages) > 1
    assert all(len(one) < 1 << 16 for one in messages)
    assert text_of(messages).count("add element") == 5_000


def test_chains_that_pick_go_before_text_that_leads_to_them() -> None:
    """nft 1.0 cannot add a rule that looks up a map which the kernel already has."""
    ruleset, changes = Ruleset(LAYOUT), Changes()
    pods = [f"10.244.0.{number}" for number in range(2, 4 + STANDING_PICKS)]
    no_affinity: dict[str, Any] = {}
    for number, spec in enumerate((no_affinity, {"sessionAffinity": "ClientIP"})):
        one = service(f"s{number}", ip=f"10.96.0.{number + 1}", **spec)
        ruleset.update(f"default/s{number}", plan_service(one, slices(*pods), NODES), changes)
    assert has_own_chains(changes)
    name = f"pick_{len(pods)}"
    first = text_of(take_new_picks(LAYOUT.table, changes))
    assert first == f"add chain ip t {name}\nadd rule ip t {name} rule"
    rest = changes.text(LAYOUT.table)
    assert f"chain ip t {name}" not in rest
    assert f"goto {name}" in rest


@pytest.mark.parametrize("code", [0, errno.EEXIST])
def test_refusals_name_their_message(code: int) -> None:
    request = struct.pack("=IHHII", 20, 10 << 8 | 12, 0, 3, 0)
    answer = struct.pack("=IHHIIi", 36, MESSAGE_ERROR, 0, 3, 0, -code) + request[:16]
    assert [*netlink.errors(answer)] == ([(3, code)] if code else [])
