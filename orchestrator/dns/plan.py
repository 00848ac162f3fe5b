"""The records of one Service; pure. Source: Kubernetes DNS-Based Service Discovery, schema version 1.1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from typing import Any

from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.dns.message import Type, address_data, encode_name, service_data

Records = dict[str, dict[int, list[bytes]]]
"""Name → type → data of each record."""

SRV_PRIORITY = 0
SRV_WEIGHT_TOTAL = 100


def reverse_name(address: str) -> str:
    """`4.3.2.1.in-addr.arpa` for 1.2.3.4."""
    return IPv4Address(address).reverse_pointer


def plan_records(service: Object | None, slices: Iterable[Object], *, domain: str) -> Records:
    """Everything that a Service brings into the zone; empty when there is none."""
    if service is None:
        return {}
    spec = service.get("spec") or {}
    base = f"{name_of(service)}.{namespace_of(service)}.svc.{domain}".lower()
    if spec.get("type") == "ExternalName":
        return _external(base, spec.get("externalName") or "")
    if is_headless(service):
        return _headless(base, slices)
    return _cluster_ip(base, spec)


def is_headless(service: Object) -> bool:
    """Whether its names lead to endpoints instead of to an address of its own."""
    return (service.get("spec") or {}).get("clusterIP") == "None"


def _external(base: str, target: str) -> Records:
    try:
        return {base: {Type.CNAME: [encode_name(target.lower())]}}
    except ValueError:
        return {}  # not a name that DNS could carry


def _cluster_ip(base: str, spec: dict[str, Any]) -> Records:
    records: Records = {}
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    for address in addresses:
        if _is_ipv4(address):
            _add(records, base, Type.A, address_data(address))
            _add(records, reverse_name(address), Type.PTR, encode_name(base))
    if not records:
        return records
    for port in spec.get("ports") or ():
        if port.get("name"):
            name = _service_name(port["name"], port.get("protocol"), base)
            _add(records, name, Type.SRV, service_data(SRV_PRIORITY, SRV_WEIGHT_TOTAL, port["port"], base))
    return records


def _headless(base: str, slices: Iterable[Object]) -> Records:
    """A record for each ready endpoint; without one the name does not exist, as the specification says."""
    records: Records = {}
    services: dict[str, dict[tuple[int, str], None]] = {}
    for one in slices:
        if one.get("addressType") != "IPv4":
            continue
        for address, host in _ready(one):
            name = f"{host}.{base}"
            _add(records, base, Type.A, address_data(address))
            _add(records, name, Type.A, address_data(address))
            _add(records, reverse_name(address), Type.PTR, encode_name(name))
            for port in one.get("ports") or ():
                if port.get("name") and port.get("port") is not None:
                    owner = _service_name(port["name"], port.get("protocol"), base)
                    services.setdefault(owner, {})[port["port"], name] = None
    for owner, targets in services.items():
        weight = max(SRV_WEIGHT_TOTAL // len(targets), 1)
        for port, name in targets:
            _add(records, owner, Type.SRV, service_data(SRV_PRIORITY, weight, port, name))
    return records


def _ready(one: Object) -> Iterator[tuple[str, str]]:
    """(address, host label) of each ready endpoint; one without a hostname is called by its address."""
    for endpoint in one.get("endpoints") or ():
        ready = (endpoint.get("conditions") or {}).get("ready")
        if ready is None or ready:
            for address in endpoint["addresses"]:
                yield address, (endpoint.get("hostname") or address.replace(".", "-")).lower()


def _service_name(port: str, protocol: str | None, base: str) -> str:
    return f"_{port}._{(protocol or 'TCP').lower()}.{base}"


def _add(records: Records, name: str, record_type: int, data: bytes) -> None:
    known = records.setdefault(name, {}).setdefault(record_type, [])
    if data not in known:
        known.append(data)


def _is_ipv4(address: str) -> bool:
    return bool(address) and address != "None" and ":" not in address
