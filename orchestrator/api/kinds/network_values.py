"""Addresses in objects: which are valid where, and which notations are not the usual ones.

Mirrors the IP checks of k8s.io/kubernetes/pkg/apis/core/validation and of k8s.io/apimachinery/pkg/util/validation.
"""

from __future__ import annotations

import ipaddress

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause


def validate_non_special_ip(value: str, path: str) -> list[Cause]:
    """Neither unspecified, loopback, link-local nor multicast: what an endpoint may be."""
    ip = names.parse_ip(value)
    if ip is None:
        return [fields.invalid(path, value, "must be a valid IP address")]
    causes: list[Cause] = []
    if ip.is_unspecified:
        causes.append(fields.invalid(path, value, f"may not be unspecified ({value})"))
    if ip.is_loopback:
        causes.append(fields.invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if ip.is_link_local:
        causes.append(fields.invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if ip.is_multicast and _is_link_local_multicast(value):
        causes.append(
            fields.invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
        )
    return causes


def _is_link_local_multicast(value: str) -> bool:
    ip = names.parse_ip(value)
    if ip is None:
        return False
    packed = ip.packed
    return packed[:3] == b"\xe0\x00\x00" if ip.version == 4 else packed[0] == 0xFF and packed[1] & 0x0F == 2


def warn_ip(value: str, path: str) -> list[str]:
    """A valid address that is not written as addresses usually are (KEP-4858)."""
    if names.is_plain_ipv4(value):
        return []
    ip = names.parse_ip(value)
    if ip is None:
        return []
    if ip.version == 4:
        return [
            f"{path}: non-standard IP address {fields.quote(value)} will be considered invalid in a future Kubernetes"
            f" release: use {fields.quote(str(ip))}"
        ]
    if str(ip) != value:
        return [
            f"{path}: IPv6 address {fields.quote(value)} should be in RFC 5952 canonical format"
            f" ({fields.quote(str(ip))})"
        ]
    return []


def warn_cidr(value: str, path: str) -> list[str]:
    """A valid CIDR that has bits behind its prefix, or is not written as CIDRs usually are (KEP-4858)."""
    network = names.parse_cidr(value)
    host = value.partition("/")[0]
    ip = names.parse_ip(host)
    if network is None or ip is None:
        return []
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    warnings: list[str] = []
    if (mapped or network.network_address) != ip:
        single = f"{ip}/{network.max_prefixlen}"
        warnings.append(
            f"{path}: CIDR value {fields.quote(value)} is ambiguous in this context (should be"
            f" {fields.quote(str(network))} or {fields.quote(single)}?)"
        )
    if ip.version == 4 and not names.is_plain_ipv4(host):
        usual = f"{network.network_address}/{network.prefixlen}"
        if mapped is not None:
            usual = f"{mapped}/{network.prefixlen - 96}"
        warnings.append(
            f"{path}: non-standard CIDR value {fields.quote(value)} will be considered invalid in a future Kubernetes"
            f" release: use {fields.quote(usual)}"
        )
    if not warnings and ip.version == 6 and str(network) != value:
        warnings.append(
            f"{path}: IPv6 CIDR value {fields.quote(value)} should be in RFC 5952 canonical format"
            f" ({fields.quote(str(network))})"
        )
    return warnings
