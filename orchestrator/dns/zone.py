"""All names of the cluster, and what is answered to a question about them; no I/O.

Owns the difference between "no such name" and "no such record": resolvers go on with their search list only
after the first. Mirrors CoreDNS' kubernetes plug-in with `pods insecure`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from msgspec import Struct

from orchestrator.dns.message import (
    Rcode,
    Record,
    Type,
    address_data,
    authority_data,
    encode_name,
    text_data,
)
from orchestrator.dns.plan import Records

SCHEMA_VERSION = "1.1.0"
TTL_SECONDS = 5
"""As CoreDNS has it by default: a change is seen by everybody within this time."""
ADDITIONAL_RECORDS_MAX = 32
_REVERSE = ".in-addr.arpa"


class Answer(Struct, frozen=True):
    """What the zone knows about a question."""

    rcode: int
    answers: Sequence[Record] = ()
    authorities: Sequence[Record] = ()
    additionals: Sequence[Record] = ()
    alias: str = ""
    """The question continues with this name, which is outside of the zone."""


class Zone:
    """The zone of one cluster, and the reverse names of its addresses."""

    def __init__(self, *, domain: str, address: str, reverse: Sequence[IPv4Network] = ()) -> None:
        """`address` is that of the server itself; `reverse` are the ranges whose reverse names are ours."""
        self.domain = domain.lower()
        self.serial = 1
        self.namespaces: set[str] = set()
        self._suffix = f".{self.domain}"
        self._pods_suffix = f".pod{self._suffix}"
        self._reverse = tuple(reverse)
        self._names: dict[str, dict[str, dict[int, list[bytes]]]] = {}
        self._below: Counter[str] = Counter()
        self._records: dict[str, Records] = {}
        server = f"ns.dns{self._suffix}"
        self.update(
            "",
            {
                self.domain: {Type.NS: [encode_name(server)]},
                server: {Type.A: [address_data(address)]},
                f"dns-version{self._suffix}": {Type.TXT: [text_data(SCHEMA_VERSION)]},
                f"svc{self._suffix}": {},
                f"pod{self._suffix}": {},
            },
        )

    def __len__(self) -> int:
        return len(self._names)

    def update(self, key: str, records: Records) -> None:
        """Replace what one Service, known by its key, has in the zone."""
        old = self._records.get(key, {})
        if old == records:
            return
        for name in old:
            owners = self._names[name]
            del owners[key]
            if not owners:
                del self._names[name]
                self._count(name, -1)
        for name, sets in records.items():
            if name not in self._names:
                self._names[name] = {}
                self._count(name, 1)
            self._names[name][key] = sets
        if records:
            self._records[key] = records
        else:
            self._records.pop(key, None)
        self.serial = (self.serial + 1) & 0xFFFFFFFF

    def _count(self, name: str, change: int) -> None:
        for parent in _parents(name):
            self._below[parent] += change
            if not self._below[parent]:
                del self._below[parent]

    def is_ours(self, name: str) -> bool:
        """Whether this zone, and nobody else, knows about a name."""
        if name.endswith(self._suffix) or name == self.domain:
            return True
        # A Service may have its address from a further range, an endpoint may be anywhere: what is known is answered.
        return name.endswith(_REVERSE) and (name in self._names or self._reverse_network(name) is not None)

    def answer(self, name: str, qtype: int) -> Answer:
        """Answer a question about a name of ours, following aliases within the zone."""
        answers: list[Record] = []
        for _ in range(8):
            sets = self._sets(name)
            if sets is None:
                return Answer(Rcode.NXDOMAIN if not answers else Rcode.NOERROR, answers, [self._authority(name)])
            found = self._matching(name, sets, qtype)
            answers += found
            if found:
                return Answer(Rcode.NOERROR, answers, additionals=self._additionals(found))
            alias = sets.get(Type.CNAME)
            if not alias:
                return Answer(Rcode.NOERROR, answers, [self._authority(name)])
            answers.append(Record(name, Type.CNAME, TTL_SECONDS, alias[0]))
            name = _decoded(alias[0])
            if not self.is_ours(name):
                return Answer(Rcode.NOERROR, answers, alias=name)
        return Answer(Rcode.SERVFAIL)  # aliases that lead in a circle

    def _sets(self, name: str) -> dict[int, list[bytes]] | None:
        """The record sets of a name: empty when only longer names exist, None when the name does not."""
        owners = self._names.get(name)
        if owners is not None:
            if len(owners) == 1:
                return next(iter(owners.values()))
            merged: dict[int, list[bytes]] = {}
            for sets in owners.values():
                for record_type, data in sets.items():
                    merged.setdefault(record_type, []).extend(data)
            return merged
        if name in self._below or name == self.domain:
            return {}
        if name.endswith(self._suffix):
            return self._namespace(name)
        return None

    def _namespace(self, name: str) -> dict[int, list[bytes]] | None:
        """Names that no Service brings: namespaces, and pods by their address."""
        labels = name[: -len(self._suffix)].split(".")
        if len(labels) == 2 and labels[1] in ("svc", "pod"):
            return {} if labels[0] in self.namespaces else None
        if len(labels) == 3 and labels[2] == "pod" and labels[1] in self.namespaces:
            try:
                return {Type.A: [address_data(labels[0].replace("-", "."))]}
            except AddressValueError:
                return None
        return None

    def _matching(self, name: str, sets: dict[int, list[bytes]], qtype: int) -> list[Record]:
        if qtype == Type.SOA and name == self.domain:
            return [self._authority(name)]
        if qtype == Type.ANY:
            return [Record(name, kind, TTL_SECONDS, data) for kind, every in sets.items() for data in every]
        every = sets.get(qtype)
        if not every:
            return []
        if len(every) > 1:
            # Clients that take the first one share the endpoints.
            start = random.randrange(len(every))
            every = every[start:] + every[:start]
        return [Record(name, qtype, TTL_SECONDS, data) for data in every]

    def _additionals(self, found: Sequence[Record]) -> list[Record]:
        """The addresses behind SRV records, so that nobody has to ask again."""
        additionals: dict[str, list[Record]] = {}
        for record in found[:ADDITIONAL_RECORDS_MAX]:
            if record.type == Type.SRV:
                target = _decoded(record.data[6:])
                if target not in additionals and self.is_ours(target):
                    sets = self._sets(target) or {}
                    additionals[target] = [Record(target, Type.A, TTL_SECONDS, data) for data in sets.get(Type.A, ())]
        return [record for records in additionals.values() for record in records]

    def _authority(self, name: str) -> Record:
        """The SOA record of the zone that a name is in; how long nothing may be remembered."""
        owner = self.domain
        if not name.endswith(self._suffix) and name != self.domain:
            network = self._reverse_network(name)
            if network is not None:
                octets = str(network.network_address).split(".")[: network.prefixlen // 8]
                owner = ".".join([*reversed(octets), _REVERSE[1:]])
        data = authority_data(f"ns.dns{self._suffix}", f"hostmaster{self._suffix}", self.serial, TTL_SECONDS)
        return Record(owner, Type.SOA, TTL_SECONDS, data)

    def _reverse_network(self, name: str) -> IPv4Network | None:
        labels = name[: -len(_REVERSE)].split(".")
        if len(labels) != 4:
            return None
        try:
            address = IPv4Address(".".join(reversed(labels)))
        except AddressValueError:
            return None
        return next((network for network in self._reverse if address in network), None)


def _parents(name: str) -> Iterator[str]:
    while (dot := name.find(".")) >= 0:
        name = name[dot + 1 :]
        yield name


def _decoded(wire: bytes) -> str:
    labels, position = [], 0
    while wire[position]:
        labels.append(wire[position + 1 : position + 1 + wire[position]].decode("latin-1"))
        position += 1 + wire[position]
    return ".".join(labels)
