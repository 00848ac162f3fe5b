"""Changes of the Services' table as netlink messages; pure. Knows how keys and values of its maps look in registers.

Only elements and the chains that pick targets can be written this way; what is for single Services (`has_own_chains`)
is text for nft. Mirrors nothing in Kubernetes: kube-proxy leaves this to nft.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping

from orchestrator.proxy import netlink
from orchestrator.proxy.changes import Element
from orchestrator.proxy.ruleset import NODE_PORTS, Changes, is_pick_chain

PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
JUMP, GOTO, DROP = -3, -4, 0


def has_own_chains(changes: Changes) -> bool:
    """Chains or sets of single Services change; only text describes those."""
    return bool(changes.sets) or not all(map(is_pick_chain, changes.chains))


def encode(table: str, changes: Changes) -> list[bytes]:
    """The messages of one transaction, in the order in which they must come; without `has_own_chains` only."""
    return [
        *_new_picks(table, changes),
        *_element_messages(netlink.DELETE_ELEMENT, table, changes.deleted),
        *_element_messages(netlink.NEW_ELEMENT, table, changes.added),
        *(one for name, rules in changes.chains.items() if rules is None for one in netlink.delete_chain(table, name)),
    ]


def take_new_picks(table: str, changes: Changes) -> list[bytes]:
    """Take the new chains that pick targets out of the changes, as a transaction to go before the rest.

    nft 1.0 cannot add their rules: it reads the type of the map back from the kernel and finds `conflicting protocols`.
    """
    messages = _new_picks(table, changes)
    for name in [name for name, rules in changes.chains.items() if rules is not None and is_pick_chain(name)]:
        changes.new_chains.discard(name)
        del changes.chains[name]
    return messages


def _new_picks(table: str, changes: Changes) -> list[bytes]:
    names = sorted(filter(is_pick_chain, changes.new_chains))
    return [one for name in names for one in (netlink.new_chain(table, name), _pick_rule(table, name))]


def _pick_rule(table: str, name: str) -> bytes:
    """The same as the text of `ruleset`: key, random number, look-up, translation."""
    kind, _, count = name.rpartition("_")
    is_node_port = kind.endswith(NODE_PORTS)
    loads: list[Callable[[int], bytes]] = [netlink.load_protocol, netlink.load_port]
    if not is_node_port:
        loads.insert(0, netlink.load_destination)
    start = netlink.REGISTER
    return netlink.new_rule(
        table,
        name,
        *(load(start + number) for number, load in enumerate(loads)),
        netlink.load_random(start + len(loads), int(count)),
        netlink.look_up(f"targets{NODE_PORTS if is_node_port else ''}", start),
        netlink.translate_destination(start),
    )


# ---------------------------------------------------------------- elements


def _address(text: str) -> bytes:
    return socket.inet_aton(text)


def _protocol(text: str) -> bytes:
    return struct.pack("=Bxxx", PROTOCOLS[text])


def _port(text: str) -> bytes:
    return struct.pack("!Hxx", int(text))


def _number(text: str) -> bytes:
    return struct.pack("=I", int(text))


_NODE_PORT = (_protocol, _port)
_FRONTEND = (_address, *_NODE_PORT)
_TARGET = (_address, _port)
_KEYS: dict[str, tuple[Callable[[str], bytes], ...]] = {
    "targets": (*_FRONTEND, _number),
    f"targets{NODE_PORTS}": (*_NODE_PORT, _number),
    "ways": _FRONTEND,
    f"ways{NODE_PORTS}": _NODE_PORT,
    "refused": _FRONTEND,
    f"refused{NODE_PORTS}": _NODE_PORT,
    "firewalls": _FRONTEND,
    "cluster_ips": (_address,),
    "hairpin": (_address, _address),
}
_PLAIN_VALUES = {"targets", f"targets{NODE_PORTS}"}


def _element_messages(kind: int, table: str, elements: Mapping[Element, str]) -> Iterator[bytes]:
    by_map: dict[str, list[tuple[str, str]]] = {}
    for (name, key), value in elements.items():
        by_map.setdefault(name, []).append((key, value))
    for name, items in by_map.items():
        encoded = _encode_elements(name, items, has_values=kind == netlink.NEW_ELEMENT)
        yield from netlink.element_messages(kind, table, name, encoded)


def _encode_elements(name: str, items: Iterable[tuple[str, str]], *, has_values: bool) -> Iterator[bytes]:
    fields = _KEYS[name]
    size = 4 * len(fields)
    data = _value_of(name) if has_values else None
    # The same frontends, numbers and values come again and again.
    starts: dict[str, bytes] = {"": b""}
    ends: dict[str, bytes] = {}
    tails: dict[str, bytes] = {"": b""}
    heads: dict[int, bytes] = {}
    for key, value in items:
        first, _, last = key.rpartition(" . ")
        start = starts.get(first)
        if start is None:
            start = starts[first] = b"".join(map(_field, fields, first.split(" . ")))
        end = ends.get(last)
        if end is None:
            end = ends[last] = fields[-1](last)
        tail = tails.get(value) if data is not None else b""
        if tail is None:
            assert data is not None
            tail = tails[value] = data(value)
        head = heads.get(len(tail))
        if head is None:
            head = heads[len(tail)] = netlink.element_head(size, len(tail))
        yield head + start + end + tail


def _field(encode: Callable[[str], bytes], text: str) -> bytes:
    return encode(text)


def _value_of(name: str) -> Callable[[str], bytes]:
    return _plain_value if name in _PLAIN_VALUES else _verdict


def _plain_value(value: str) -> bytes:
    address, port = value.split(" . ")
    return netlink.data(_address(address) + _port(port))


def _verdict(value: str) -> bytes:
    verb, _, chain = value.partition(" ")
    return netlink.verdict({"goto": GOTO, "jump": JUMP, "drop": DROP}[verb], chain)
