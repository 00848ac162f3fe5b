"""Endpoints: addresses and ports of a Service, one object per Service.

Mirrors ValidateEndpoints of k8s.io/kubernetes/pkg/apis/core/validation.
"""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, NAME, NONE, age, ref
from orchestrator.api.kinds.defaulting import drop_empty, fill_empty, items
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.label_selectors import validate_label_name
from orchestrator.api.kinds.network_values import validate_non_special_ip, warn_ip
from orchestrator.api.objects import Object, labels_of, name_of
from orchestrator.api.resources import ENDPOINTS

_SHOWN_MAX = 3
_PROTOCOLS = ("SCTP", "TCP", "UDP")


def default_endpoints(obj: Object) -> None:
    """Ports are TCP."""
    drop_empty(obj, "subsets")
    for subset in items(obj, "subsets"):
        for port in items(subset, "ports"):
            fill_empty(port, protocol="TCP")


def validate_endpoints(obj: Object) -> list[Cause]:
    """Addresses and ports of every subset."""
    causes: list[Cause] = []
    for position, subset in enumerate(obj.get("subsets") or ()):
        path = fields.index("subsets", position)
        ready, not_ready = subset.get("addresses") or (), subset.get("notReadyAddresses") or ()
        if not ready and not not_ready:
            causes.append(fields.required(path, "must specify `addresses` or `notReadyAddresses`"))
        for key, addresses in (("addresses", ready), ("notReadyAddresses", not_ready)):
            for number, address in enumerate(addresses):
                causes += _validate_address(address, fields.index(f"{path}.{key}", number))
        ports = subset.get("ports") or ()
        for number, port in enumerate(ports):
            causes += _validate_port(port, fields.index(f"{path}.ports", number), name_required=len(ports) > 1)
    return causes


def _validate_address(address: dict[str, Any], path: str) -> list[Cause]:
    ip = address.get("ip") or ""
    causes = [fields.invalid(f"{path}.ip", ip, text) for text in names.is_ip(ip)]
    if address.get("hostname"):
        causes += [
            fields.invalid(f"{path}.hostname", address["hostname"], text)
            for text in names.is_dns1123_label(address["hostname"])
        ]
    if address.get("nodeName") is not None:
        causes += [
            fields.invalid(f"{path}.nodeName", address["nodeName"], text)
            for text in names.is_dns1123_subdomain(address["nodeName"])
        ]
    return causes + validate_non_special_ip(ip, f"{path}.ip")


def _validate_port(port: dict[str, Any], path: str, *, name_required: bool) -> list[Cause]:
    causes: list[Cause] = []
    name, protocol = port.get("name") or "", port.get("protocol") or ""
    if not name:
        if name_required:
            causes.append(fields.required(f"{path}.name"))
    else:
        causes += [fields.invalid(f"{path}.name", name, text) for text in names.is_dns1123_label(name)]
    number = port.get("port") or 0
    causes += [fields.invalid(f"{path}.port", number, text) for text in names.is_port_number(number)]
    if not protocol:
        causes.append(fields.required(f"{path}.protocol"))
    elif protocol not in _PROTOCOLS:
        causes.append(fields.not_supported(f"{path}.protocol", protocol, _PROTOCOLS))
    if port.get("appProtocol") is not None:
        causes += validate_label_name(port["appProtocol"], f"{path}.appProtocol")
    return causes


def join_host_port(host: str, port: Any) -> str:
    """`1.2.3.4:80`, or `[::1]:80`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def endpoints_cell(obj: Object) -> str:
    """The first three ready addresses with ports, and how many more there are."""
    subsets = obj.get("subsets") or ()
    if not subsets:
        return NONE
    found = (
        join_host_port(address.get("ip") or "", port.get("port"))
        for subset in subsets
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    )
    text = ",".join(islice(found, _SHOWN_MAX))
    more = sum(len(one.get("ports") or ()) * len(one.get("addresses") or ()) for one in subsets) - _SHOWN_MAX
    return f"{text} + {more} more..." if more > 0 else text


def row(obj: Object, now: datetime) -> list[Any]:
    """The cells of an Endpoints object."""
    return [name_of(obj), endpoints_cell(obj), age(obj, now)]


def _warn(new: Object, old: Object | None) -> list[str]:
    if labels_of(new).get("endpoints.kubernetes.io/managed-by") == "endpoint-controller":
        return []  # it writes addresses as they are usually written
    warnings: list[str] = []
    for position, subset in enumerate(new.get("subsets") or ()):
        for key in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(key) or ()):
                where = fields.index(f"{fields.index('subsets', position)}.{key}", number)
                warnings += warn_ip(address.get("ip") or "", f"{where}.ip")
    return warnings


ENDPOINTS_KIND = Kind(
    ENDPOINTS,
    "io.k8s.api.core.v1.Endpoints",
    "endpoints",
    short_names=("ep",),
    create_on_update=True,
    default=default_endpoints,
    validate=validate_endpoints,
    warn=_warn,
    columns=(NAME, Column("Endpoints", description=ref("core.v1.Endpoints", "subsets")), AGE),
    row=row,
    deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
)
