"""Whether a device is what a CEL expression of a request or a class asks for.

Source: "Dynamic Resource Allocation", kubernetes.io, and the documentation of CELDeviceSelector.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from orchestrator.api.objects import Object
from orchestrator.scheduler.devices.pools import Device

_DOMAIN = re.compile(r"""\b(?:attributes|capacity)\s*\[\s*(["'])([^"']+)\1""")
_PROGRAMS_MAX = 1024


class SelectorError(Exception):
    """An expression does not compile, or has no value for a device."""


def is_selected(device: Device, selectors: Iterable[Object]) -> bool:
    """Whether all of these selectors are true of a device; SelectorError."""
    return all(_is_true(device, (selector.get("cel") or {}).get("expression") or "") for selector in selectors)


def _is_true(device: Device, expression: str) -> bool:
    # CEL is imported with the first claim: a start without any need not pay for it.
    from orchestrator.api.structural.cel.environment import DoesNotCompile, EvaluationFailed, evaluate_untyped

    try:
        result = evaluate_untyped(expression, {"device": _value(device, _domains_in(expression))})
    except (DoesNotCompile, EvaluationFailed) as error:
        raise SelectorError(f"CEL expression {expression!r} for device {'/'.join(device.id)}: {error}") from None
    if not isinstance(result, bool):
        raise SelectorError(f"CEL expression {expression!r} for device {'/'.join(device.id)}: no bool")
    return result


@lru_cache(maxsize=_PROGRAMS_MAX)
def _domains_in(expression: str) -> frozenset[str]:
    return frozenset(match[2] for match in _DOMAIN.finditer(expression))


def _value(device: Device, domains: Iterable[str]) -> dict[str, Any]:
    """The variable `device`; a domain that an expression asks for is there, if only as an empty map."""
    from orchestrator.api.structural.cel.library import quantity_value, semver_value

    attributes: dict[str, dict[str, Any]] = {domain: {} for domain in domains}
    capacity: dict[str, dict[str, Any]] = {domain: {} for domain in domains}
    for name, entry in (device.spec.get("attributes") or {}).items():
        domain, _, identifier = name.rpartition("/")
        kind, plain = next(iter(entry.items()))
        value = semver_value(plain) if kind == "version" else plain
        attributes.setdefault(domain or device.id.driver, {})[identifier] = value
    for name, entry in (device.spec.get("capacity") or {}).items():
        domain, _, identifier = name.rpartition("/")
        capacity.setdefault(domain or device.id.driver, {})[identifier] = quantity_value(str(entry["value"]))
    return {
        "driver": device.id.driver,
        "attributes": attributes,
        "capacity": capacity,
        "allowMultipleAllocations": bool(device.spec.get("allowMultipleAllocations")),
    }
