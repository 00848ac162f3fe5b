"""Addresses in objects: which are valid where.

Mirrors the IP checks of k8s.io/kubernetes/pkg/apis/core/validation.
"""

from __future__ import annotations

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
