"""Named formats: `format.dns1123Label().validate(text)` (k8s.io/apiserver/pkg/cel/library/format.go)."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.api import names
from orchestrator.api.structural.formats import check_of, parse_date, parse_date_time


def _prefix(complaints: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """For what a name is generated from, which may end with a dash."""
    return lambda text: complaints(names.mask_trailing_dash(text))


def _of(is_valid: Callable[[str], bool], complaint: str) -> Callable[[str], list[str]]:
    return lambda text: [] if is_valid(text) else [complaint]


def _openapi(name: str) -> Callable[[str], bool]:
    check = check_of(name)
    assert check is not None
    return check


FORMATS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": names.is_dns1123_label,
    "dns1123Subdomain": names.is_dns1123_subdomain,
    "dns1035Label": names.is_dns1035_label,
    "qualifiedName": names.is_qualified_name,
    "dns1123LabelPrefix": _prefix(names.is_dns1123_label),
    "dns1123SubdomainPrefix": _prefix(names.is_dns1123_subdomain),
    "dns1035LabelPrefix": _prefix(names.is_dns1035_label),
    "labelValue": names.is_label_value,
    "uri": _of(_openapi("uri"), "invalid URI for request"),
    "uuid": _of(_openapi("uuid"), "does not match the UUID format"),
    "byte": _of(_openapi("byte"), "invalid base64"),
    "date": _of(lambda text: parse_date(text) is not None, "invalid date"),
    "datetime": _of(lambda text: parse_date_time(text) is not None, "invalid datetime"),
}
"""Name → what is wrong with a text, nothing if it is right."""
