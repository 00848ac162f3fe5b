"""EndpointSlice. Mirrors k8s.io/kubernetes/pkg/apis/discovery and its printer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, NAME, UNSET, age, ref
from orchestrator.api.kinds.defaulting import fill, items, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.label_selectors import validate_label_name
from orchestrator.api.kinds.network_values import validate_non_special_ip, warn_ip
from orchestrator.api.objects import Object, labels_of, name_of
from orchestrator.api.resources import ENDPOINT_SLICES

_ADDRESSES_MAX = 100
_ENDPOINTS_MAX = 1000
_PORTS_MAX = 20000
_TOPOLOGY_MAX = 16
_HINTS_MAX = 8
_SHOWN_MAX = 3
_TYPES = ("FQDN", "IPv4", "IPv6")
_PROTOCOLS = ("SCTP", "TCP", "UDP")


def default_endpoint_slice(obj: Object) -> None:
    """Ports have a name (maybe empty) and a protocol."""
    if obj.get("endpoints") is None:
        obj["endpoints"] = None
    if obj.get("ports") is None:
        obj["ports"] = None
    for endpoint in items(obj, "endpoints"):
        struct(endpoint, "conditions")
    for port in items(obj, "ports"):
        fill(port, name="", protocol="TCP")


def validate_endpoint_slice(obj: Object) -> list[Cause]:
    """Address type, endpoints, ports."""
    causes: list[Cause] = []
    kind = obj.get("addressType") or ""
    if not kind:
        causes.append(fields.required("addressType"))
    elif kind not in _TYPES:
        causes.append(fields.not_supported("addressType", kind, _TYPES))
    endpoints, ports = obj.get("endpoints") or (), obj.get("ports") or ()
    if len(endpoints) > _ENDPOINTS_MAX:
        return [*causes, fields.too_many("endpoints", len(endpoints), _ENDPOINTS_MAX)]
    for position, endpoint in enumerate(endpoints):
        causes += _validate_endpoint(endpoint, kind, fields.index("endpoints", position))
    return causes + _validate_ports(ports)


def _validate_endpoint(endpoint: dict[str, Any], kind: str, path: str) -> list[Cause]:
    causes: list[Cause] = []
    addresses = endpoint.get("addresses") or ()
    where = f"{path}.addresses"
    if not addresses:
        causes.append(fields.required(where, "must contain at least 1 address"))
    elif len(addresses) > _ADDRESSES_MAX:
        causes.append(fields.too_many(where, len(addresses), _ADDRESSES_MAX))
    seen: set[str] = set()
    for position, address in enumerate(addresses):
        spot = fields.index(where, position)
        if kind == "IPv4":
            complaints = names.is_ipv4(address)
        elif kind == "IPv6":
            complaints = names.is_ipv6(address)
        elif kind == "FQDN":
            complaints = names.is_fully_qualified_domain_name(address)
        else:
            continue
        causes += [fields.invalid(spot, address, text) for text in complaints]
        if kind != "FQDN" and not complaints:
            causes += validate_non_special_ip(address, spot)
        if address in seen:
            causes.append(fields.duplicate(spot, address))
        seen.add(address)
    if endpoint.get("nodeName") is not None:
        causes += [
            fields.invalid(f"{path}.nodeName", endpoint["nodeName"], text)
            for text in names.is_dns1123_subdomain(endpoint["nodeName"])
        ]
    topology = endpoint.get("deprecatedTopology") or {}
    if len(topology) > _TOPOLOGY_MAX:
        causes.append(fields.too_many(f"{path}.deprecatedTopology", len(topology), _TOPOLOGY_MAX))
    for key in sorted(topology):
        causes += validate_label_name(key, f"{path}.deprecatedTopology")
    if endpoint.get("hostname") is not None:
        causes += [
            fields.invalid(f"{path}.hostname", endpoint["hostname"], text)
            for text in names.is_dns1123_label(endpoint["hostname"])
        ]
    hints = endpoint.get("hints") or {}
    for key in ("forZones", "forNodes"):
        seen = set()
        values = hints.get(key) or ()
        if len(values) > _HINTS_MAX:
            return [*causes, fields.too_many(f"{path}.hints.{key}", len(values), _HINTS_MAX)]
        for position, hint in enumerate(values):
            spot = fields.index(f"{path}.hints.{key}", position) + ".name"
            name = hint.get("name") or ""
            if name in seen:
                causes.append(fields.duplicate(spot, name))
            seen.add(name)
            check = names.is_label_value if key == "forZones" else names.is_dns1123_subdomain
            causes += [fields.invalid(spot, name, text) for text in check(name)]
    return causes


def _validate_ports(ports: Any) -> list[Cause]:
    if len(ports) > _PORTS_MAX:
        return [fields.too_many("ports", len(ports), _PORTS_MAX)]
    causes: list[Cause] = []
    seen: set[str] = set()
    for position, port in enumerate(ports):
        path = fields.index("ports", position)
        name, protocol = port.get("name") or "", port.get("protocol")
        if name:
            causes += [fields.invalid(f"{path}.name", name, text) for text in names.is_dns1123_label(name)]
        if name in seen:
            causes.append(fields.duplicate(f"{path}.name", name))
        seen.add(name)
        if not protocol:
            causes.append(fields.required(f"{path}.protocol"))
        elif protocol not in _PROTOCOLS:
            causes.append(fields.not_supported(f"{path}.protocol", protocol, _PROTOCOLS))
        if port.get("port") is not None:
            causes += [
                fields.invalid(f"{path}.port", port["port"], text) for text in names.is_port_number(port["port"])
            ]
        if port.get("appProtocol") is not None:
            causes += validate_label_name(port["appProtocol"], f"{path}.appProtocol")
    return causes


def validate_endpoint_slice_update(new: Object, old: Object) -> list[Cause]:
    """The address type never changes."""
    causes = validate_endpoint_slice(new)
    if new.get("addressType") != old.get("addressType"):
        causes.append(fields.immutable("addressType", new.get("addressType")))
    return causes


def _ports_cell(ports: Any) -> str:
    if not ports:
        return UNSET
    shown = []
    for port in ports[:_SHOWN_MAX]:
        shown.append(str(port["port"]) if port.get("port") is not None else "*")
    text = ",".join(shown)
    return f"{text} + {len(ports) - _SHOWN_MAX} more..." if len(ports) > _SHOWN_MAX else text


def _endpoints_cell(endpoints: Any) -> str:
    addresses = [address for endpoint in endpoints or () for address in endpoint.get("addresses") or ()]
    if not addresses:
        return UNSET
    text = ",".join(addresses[:_SHOWN_MAX])
    return f"{text} + {len(addresses) - _SHOWN_MAX} more..." if len(addresses) > _SHOWN_MAX else text


def _row(obj: Object, now: datetime) -> list[Any]:
    return [
        name_of(obj),
        obj.get("addressType") or "",
        _ports_cell(obj.get("ports")),
        _endpoints_cell(obj.get("endpoints")),
        age(obj, now),
    ]


_CONTROLLERS = frozenset(("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"))


def _warn(new: Object, old: Object | None) -> list[str]:
    warnings = []
    if old is None and new.get("addressType") == "FQDN":
        warnings.append("spec.addressType: FQDN endpoints are deprecated")
    if labels_of(new).get("endpointslice.kubernetes.io/managed-by") in _CONTROLLERS:
        return warnings  # they write addresses as they are usually written
    for position, endpoint in enumerate(new.get("endpoints") or ()):
        for number, address in enumerate(endpoint.get("addresses") or ()):
            where = fields.index("endpoints", position)
            warnings += warn_ip(address, fields.index(f"{where}.addresses", number))
    return warnings


ENDPOINT_SLICE = Kind(
    ENDPOINT_SLICES,
    "io.k8s.api.discovery.v1.EndpointSlice",
    "endpointslice",
    has_generation=True,
    default=default_endpoint_slice,
    validate=validate_endpoint_slice,
    validate_update=validate_endpoint_slice_update,
    warn=_warn,
    columns=(
        NAME,
        Column("AddressType", description=ref("discovery.v1.EndpointSlice", "addressType")),
        Column("Ports", description=ref("discovery.v1.EndpointSlice", "ports")),
        Column("Endpoints", description=ref("discovery.v1.EndpointSlice", "endpoints")),
        AGE,
    ),
    row=_row,
)
