"""Requests, selectors, constraints and configuration of devices: what claims and classes have in common.

Mirrors pkg/apis/resource/v1/defaults.go and pkg/apis/resource/validation. Source: "Dynamic Resource Allocation",
kubernetes.io; KEP-4381.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.core.taints import validate_tolerations
from orchestrator.api.kinds.defaulting import fill, items, struct

REQUESTS_MAX = 32
SELECTORS_MAX = 32
CONSTRAINTS_MAX = 32
CONFIGURATIONS_MAX = 32
FIRST_AVAILABLE_MAX = 8
TOLERATIONS_MAX = 16
EXPRESSION_BYTES_MAX = 10 * 1024
PARAMETERS_BYTES_MAX = 10 * 1024
ALLOCATION_MODES = ("All", "ExactCount")

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_IDENTIFIER_BYTES_MAX = 32


def _devices_of(claim: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Everything in a claim that asks for devices of one class."""
    for request in items(claim, "requests"):
        if isinstance(request.get("exactly"), dict):
            yield request["exactly"]
        yield from items(request, "firstAvailable")


def default_devices(spec: dict[str, Any]) -> None:
    """One device each; tolerations compare for equality."""
    for wanted in _devices_of(struct(spec, "devices")):
        fill(wanted, allocationMode="ExactCount")
        if wanted["allocationMode"] == "ExactCount" and not wanted.get("count"):
            wanted["count"] = 1
        for toleration in items(wanted, "tolerations"):
            fill(toleration, operator="Equal")


def validate_device_claim(claim: dict[str, Any], path: str) -> list[Cause]:
    """The `devices` of a claim: requests, constraints, configuration."""
    requests = claim.get("requests") or ()
    causes = _at_most(requests, REQUESTS_MAX, f"{path}.requests")
    known: set[str] = set()
    for position, request in enumerate(requests):
        where = fields.index(f"{path}.requests", position)
        name = request.get("name") or ""
        causes += _validate_request_name(name, known, f"{where}.name")
        causes += _validate_request(request, where, known)
    for position, constraint in enumerate(claim.get("constraints") or ()):
        causes += _validate_constraint(constraint, fields.index(f"{path}.constraints", position), known)
    causes += _at_most(claim.get("constraints") or (), CONSTRAINTS_MAX, f"{path}.constraints")
    for position, config in enumerate(claim.get("config") or ()):
        where = fields.index(f"{path}.config", position)
        causes += _validate_request_names(config.get("requests") or (), f"{where}.requests", known)
        causes += validate_configuration(config, where)
    causes += _at_most(claim.get("config") or (), CONFIGURATIONS_MAX, f"{path}.config")
    return causes


def _validate_request_name(name: str, known: set[str], path: str) -> list[Cause]:
    if not name:
        return [fields.required(path)]
    causes = [fields.invalid(path, name, text) for text in names.is_dns1123_label(name)]
    if name in known:
        causes.append(fields.duplicate(path, name))
    known.add(name)
    return causes


def _validate_request(request: dict[str, Any], path: str, known: set[str]) -> list[Cause]:
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or ()
    if exactly is not None and alternatives:
        text = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
        return [fields.invalid(path, None, text)]
    if exactly is not None:
        return validate_device_request(exactly, f"{path}.exactly")
    if not alternatives:
        return [fields.required(path, "exactly one of `exactly` or `firstAvailable` is required")]
    causes = _at_most(alternatives, FIRST_AVAILABLE_MAX, f"{path}.firstAvailable")
    seen: set[str] = set()
    for position, alternative in enumerate(alternatives):
        where = fields.index(f"{path}.firstAvailable", position)
        causes += _validate_request_name(alternative.get("name") or "", seen, f"{where}.name")
        causes += validate_device_request(alternative, where)
    known |= {f"{request.get('name') or ''}/{name}" for name in seen}
    return causes


def validate_device_request(wanted: dict[str, Any], path: str) -> list[Cause]:
    """Class, selectors and number of the devices of one request or of one alternative."""
    causes = _subdomain(wanted.get("deviceClassName") or "", f"{path}.deviceClassName")
    causes += validate_selectors(wanted.get("selectors") or (), f"{path}.selectors")
    mode, count = wanted.get("allocationMode") or "", wanted.get("count") or 0
    if mode == "All":
        if count:
            causes.append(fields.invalid(f"{path}.count", count, "must not be specified when allocationMode is 'All'"))
    elif mode == "ExactCount":
        if count <= 0:
            causes.append(fields.invalid(f"{path}.count", count, "must be greater than zero"))
    else:
        causes.append(fields.not_supported(f"{path}.allocationMode", mode, ALLOCATION_MODES))
    tolerations = wanted.get("tolerations") or []
    causes += validate_tolerations(tolerations, f"{path}.tolerations")
    causes += _at_most(tolerations, TOLERATIONS_MAX, f"{path}.tolerations")
    return causes


def validate_selectors(selectors: Any, path: str) -> list[Cause]:
    """CEL expressions over a device. That they compile is checked where CEL is evaluated."""
    causes = _at_most(selectors, SELECTORS_MAX, path)
    for position, selector in enumerate(selectors):
        where = fields.index(path, position)
        cel = selector.get("cel")
        if cel is None:
            causes.append(fields.required(f"{where}.cel"))
            continue
        expression = cel.get("expression") or ""
        if not expression:
            causes.append(fields.required(f"{where}.cel.expression"))
        elif len(expression.encode()) > EXPRESSION_BYTES_MAX:
            causes.append(fields.too_long(f"{where}.cel.expression", EXPRESSION_BYTES_MAX))
    return causes


def _validate_constraint(constraint: dict[str, Any], path: str, known: set[str]) -> list[Cause]:
    causes = _validate_request_names(constraint.get("requests") or (), f"{path}.requests", known)
    attribute, distinct = constraint.get("matchAttribute"), constraint.get("distinctAttribute")
    if attribute is not None:
        causes += validate_qualified_name(attribute, f"{path}.matchAttribute", needs_domain=True)
    elif distinct is not None:
        causes += validate_qualified_name(distinct, f"{path}.distinctAttribute", needs_domain=True)
    else:
        causes.append(
            fields.required(path, "one of `matchAttribute` or `distinctAttribute` must be set")
            if "distinctAttribute" in constraint
            else fields.required(f"{path}.matchAttribute")
        )
    return causes


def _validate_request_names(wanted: Any, path: str, known: set[str]) -> list[Cause]:
    causes = _at_most(wanted, REQUESTS_MAX, path)
    seen: set[str] = set()
    for position, name in enumerate(wanted):
        where = fields.index(path, position)
        if name in seen:
            causes.append(fields.duplicate(where, name))
        elif name not in known:
            text = (
                "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
            )
            causes.append(fields.invalid(where, name, text))
        seen.add(name)
    return causes


def validate_configuration(config: dict[str, Any], path: str) -> list[Cause]:
    """Parameters for a driver: any JSON object of bounded size."""
    opaque = config.get("opaque")
    if opaque is None:
        return [fields.required(f"{path}.opaque")]
    causes = validate_driver(opaque.get("driver") or "", f"{path}.opaque.driver")
    parameters = opaque.get("parameters")
    where = f"{path}.opaque.parameters"
    if parameters is None:
        causes.append(fields.required(where))
    elif not isinstance(parameters, dict):
        causes.append(fields.invalid(where, "<value omitted>", "parameters must be a valid JSON object"))
    elif len(str(parameters).encode()) > 2 * PARAMETERS_BYTES_MAX:
        causes.append(fields.too_long(where, PARAMETERS_BYTES_MAX))
    return causes


def validate_driver(name: str, path: str) -> list[Cause]:
    """The name of a driver: a DNS subdomain of at most 63 bytes."""
    causes = _subdomain(name, path)
    if len(name.encode()) > 63:
        causes.append(fields.too_long(path, 63))
    return causes


def validate_qualified_name(name: str, path: str, *, needs_domain: bool = False) -> list[Cause]:
    """The name of an attribute or a capacity: a C identifier, after a domain and a slash where there is one."""
    if not name:
        return [fields.required(path, "name required")]
    domain, slash, identifier = name.rpartition("/")
    causes: list[Cause] = []
    if needs_domain and not slash:
        causes.append(fields.invalid(path, name, "must include a domain"))
    if slash:
        if not domain:
            causes.append(fields.required(path, "the domain must not be empty"))
        else:
            causes += _subdomain(domain, path)
        if not identifier:
            causes.append(fields.required(path, "the name must not be empty"))
            return causes
    if len(identifier.encode()) > _IDENTIFIER_BYTES_MAX:
        causes.append(fields.too_long(path, _IDENTIFIER_BYTES_MAX))
    if not _IDENTIFIER.fullmatch(identifier):
        text = (
            "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric"
            " characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is"
            " '[A-Za-z_][A-Za-z0-9_]*')"
        )
        causes.append(fields.invalid(path, identifier, text))
    return causes


def _subdomain(name: str, path: str) -> list[Cause]:
    if not name:
        return [fields.required(path)]
    return [fields.invalid(path, name, text) for text in names.is_dns1123_subdomain(name)]


def _at_most(found: Any, limit: int, path: str) -> list[Cause]:
    return [fields.too_many(path, len(found), limit)] if len(found) > limit else []
