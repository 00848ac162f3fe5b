"""The names of the cluster (Kubernetes DNS-Based Service Discovery, schema 1.1)."""

from __future__ import annotations

import struct
from ipaddress import IPv4Network
from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.dns.message import Rcode, Type, encode_name
from orchestrator.dns.plan import plan_records
from orchestrator.dns.zone import Answer, Zone

DOMAIN = "cluster.local"


def service(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "prod"}, "spec": spec}


def endpoints(*items: dict[str, Any], **port: Any) -> list[Object]:
    return [{"addressType": "IPv4", "ports": [port] if port else [], "endpoints": list(items)}]


def zone_with(*pairs: tuple[Object, list[Object]]) -> Zone:
    ranges = [IPv4Network("10.96.0.0/16"), IPv4Network("10.244.0.0/16")]
    zone = Zone(domain=DOMAIN, address="10.96.0.10", reverse=ranges)
    zone.namespaces.add("prod")
    for one, slices in pairs:
        zone.update(one["metadata"]["name"], plan_records(one, slices, domain=DOMAIN))
    return zone


def text(answer: Answer) -> set[str]:
    """The data of the answers as people write it."""
    return {_text(record.type, record.data) for record in answer.answers}


def _text(kind: int, data: bytes) -> str:
    if kind == Type.A:
        return ".".join(map(str, data))
    if kind == Type.SRV:
        return " ".join(map(str, struct.unpack("!HHH", data[:6]))) + " " + _name(data[6:])
    if kind == Type.TXT:
        return data[1:].decode()
    return _name(data)


def _name(wire: bytes) -> str:
    labels = []
    while wire[0]:
        labels.append(wire[1 : 1 + wire[0]].decode())
        wire = wire[1 + wire[0] :]
    return ".".join(labels)


WEB = service("web", clusterIP="10.96.0.20", ports=[{"name": "http", "port": 80, "protocol": "TCP"}, {"port": 81}])
DB = service("db", clusterIP="None")
DB_ENDPOINTS = endpoints(
    {"addresses": ["10.244.0.7"], "hostname": "db-0", "conditions": {"ready": True}},
    {"addresses": ["10.244.1.9"], "conditions": {"ready": True}},
    {"addresses": ["10.244.1.10"], "conditions": {"ready": False}},
    name="sql", port=5432, protocol="TCP",
)  # fmt: skip
OUTSIDE = service("outside", type="ExternalName", externalName="Example.COM")
INSIDE = service("inside", type="ExternalName", externalName="web.prod.svc.cluster.local")


@pytest.fixture
def zone() -> Zone:
    return zone_with((WEB, []), (DB, DB_ENDPOINTS), (OUTSIDE, []), (INSIDE, []))


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        ("web.prod.svc.cluster.local", Type.A, {"10.96.0.20"}),
        ("_http._tcp.web.prod.svc.cluster.local", Type.SRV, {"0 100 80 web.prod.svc.cluster.local"}),
        ("20.0.96.10.in-addr.arpa", Type.PTR, {"web.prod.svc.cluster.local"}),
        ("db.prod.svc.cluster.local", Type.A, {"10.244.0.7", "10.244.1.9"}),
        ("db-0.db.prod.svc.cluster.local", Type.A, {"10.244.0.7"}),
        ("10-244-1-9.db.prod.svc.cluster.local", Type.A, {"10.244.1.9"}),
        (
            "_sql._tcp.db.prod.svc.cluster.local",
            Type.SRV,
            {
                "0 50 5432 db-0.db.prod.svc.cluster.local",
                "0 50 5432 10-244-1-9.db.prod.svc.cluster.local",
            },
        ),
        ("7.0.244.10.in-addr.arpa", Type.PTR, {"db-0.db.prod.svc.cluster.local"}),
        ("10-244-3-4.prod.pod.cluster.local", Type.A, {"10.244.3.4"}),
        ("dns-version.cluster.local", Type.TXT, {"1.1.0"}),
        ("inside.prod.svc.cluster.local", Type.A, {"web.prod.svc.cluster.local", "10.96.0.20"}),
        ("inside.prod.svc.cluster.local", Type.CNAME, {"web.prod.svc.cluster.local"}),
        ("cluster.local", Type.NS, {"ns.dns.cluster.local"}),
    ],
)
def test_records(zone: Zone, name: str, kind: Type, wanted: set[str]) -> None:
    answer = zone.answer(name, kind)
    assert answer.rcode == Rcode.NOERROR
    assert text(answer) == wanted


@pytest.mark.parametrize(
    "name",
    [
        "nothing.prod.svc.cluster.local",
        "web.other.svc.cluster.local",
        "_https._tcp.web.prod.svc.cluster.local",
        "db-9.db.prod.svc.cluster.local",
        "other.svc.cluster.local",
        "10-244-3-4.other.pod.cluster.local",
        "no-address.prod.pod.cluster.local",
        "99.0.96.10.in-addr.arpa",
        "web.cluster.local",
    ],
)
def test_names_that_do_not_exist(zone: Zone, name: str) -> None:
    answer = zone.answer(name, Type.A)
    assert answer.rcode == Rcode.NXDOMAIN
    assert [record.type for record in answer.authorities] == [Type.SOA]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("web.prod.svc.cluster.local", Type.AAAA),
        ("prod.svc.cluster.local", Type.A),
        ("svc.cluster.local", Type.A),
        ("_tcp.web.prod.svc.cluster.local", Type.A),
        ("_http._tcp.web.prod.svc.cluster.local", Type.A),
    ],
)
def test_names_that_exist_without_such_a_record(zone: Zone, name: str, kind: Type) -> None:
    """Resolvers go on with their search list only when a name does not exist at all."""
    answer = zone.answer(name, kind)
    assert answer.rcode == Rcode.NOERROR
    assert not answer.answers
    assert [record.type for record in answer.authorities] == [Type.SOA]


def test_an_alias_that_leads_out_is_followed_outside(zone: Zone) -> None:
    answer = zone.answer("outside.prod.svc.cluster.local", Type.A)
    assert text(answer) == {"example.com"}
    assert answer.alias == "example.com"


def test_service_records_come_with_the_addresses(zone: Zone) -> None:
    answer = zone.answer("_http._tcp.web.prod.svc.cluster.local", Type.SRV)
    assert [(record.name, record.type) for record in answer.additionals] == [("web.prod.svc.cluster.local", Type.A)]


def test_aliases_in_a_circle_are_a_failure() -> None:
    first = service("a", type="ExternalName", externalName="b.prod.svc.cluster.local")
    second = service("b", type="ExternalName", externalName="a.prod.svc.cluster.local")
    zone = zone_with((first, []), (second, []))
    assert zone.answer("a.prod.svc.cluster.local", Type.A).rcode == Rcode.SERVFAIL


def test_a_headless_service_without_ready_endpoints_has_no_name() -> None:
    assert zone_with((DB, [])).answer("db.prod.svc.cluster.local", Type.A).rcode == Rcode.NXDOMAIN


def test_a_service_that_goes_takes_its_names_with_it(zone: Zone) -> None:
    serial, names = zone.serial, len(zone)
    zone.update("web", {})
    assert zone.serial == serial + 1
    assert len(zone) == names - 3
    assert zone.answer("web.prod.svc.cluster.local", Type.A).rcode == Rcode.NXDOMAIN
    assert zone.answer("_tcp.web.prod.svc.cluster.local", Type.A).rcode == Rcode.NXDOMAIN


def test_reverse_names_outside_of_the_ranges_are_ours_while_a_service_has_the_address() -> None:
    zone = zone_with((service("far", clusterIP="198.51.100.5"), []))
    name, next_name = "5.100.51.198.in-addr.arpa", "6.100.51.198.in-addr.arpa"
    assert text(zone.answer(name, Type.PTR)) == {"far.prod.svc.cluster.local"}
    assert (zone.is_ours(name), zone.is_ours(next_name)) == (True, False)
    zone.update("far", {})
    assert not zone.is_ours(name)


def test_two_headless_services_share_the_reverse_name_of_a_pod() -> None:
    other = service("other", clusterIP="None")
    zone = zone_with((DB, DB_ENDPOINTS), (other, DB_ENDPOINTS))
    reverse = "7.0.244.10.in-addr.arpa"
    assert text(zone.answer(reverse, Type.PTR)) == {f"db-0.{name}.prod.svc.cluster.local" for name in ("db", "other")}
    zone.update("other", {})
    assert text(zone.answer(reverse, Type.PTR)) == {"db-0.db.prod.svc.cluster.local"}


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("a.cluster.local", True), ("cluster.local", True), ("xcluster.local", False), ("example.com", False),
        ("1.0.244.10.in-addr.arpa", True), ("1.0.0.192.in-addr.arpa", False), ("244.10.in-addr.arpa", False),
    ],
)  # fmt: skip
def test_which_names_are_ours(zone: Zone, name: str, ours: bool) -> None:
    assert zone.is_ours(name) == ours


def test_addresses_take_turns(zone: Zone) -> None:
    firsts = {zone.answer("db.prod.svc.cluster.local", Type.A).answers[0].data for _ in range(60)}
    assert len(firsts) == 2


def test_a_name_that_dns_cannot_carry_brings_no_record() -> None:
    zone = zone_with((service("bad", type="ExternalName", externalName="a" * 64 + ".example"), []))
    assert zone.answer("bad.prod.svc.cluster.local", Type.A).rcode == Rcode.NXDOMAIN
    assert encode_name("a" * 63)
