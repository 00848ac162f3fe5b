"""IntOrString: a number, or a percentage of a total (maxSurge, minAvailable, ports).

Owns the arithmetic. Never checks whether a field may hold a percentage. Mirrors
k8s.io/apimachinery/pkg/util/intstr.
"""

from __future__ import annotations

import re

_PERCENT = re.compile(r"([+-]?[0-9]+)%")


def scaled_value(value: int | str, total: int, *, round_up: bool) -> int:
    """The number itself, or its percentage of `total`; ValueError when a string is not a percentage."""
    if isinstance(value, int):
        return value
    match = _PERCENT.fullmatch(value)
    if match is None:
        raise ValueError("invalid value for IntOrString: invalid type: string is not a percentage")
    product = int(match[1]) * total
    return -(-product // 100) if round_up else product // 100


def is_percentage(value: int | str) -> bool:
    """Whether the value is a string of digits with a percent sign."""
    return isinstance(value, str) and _PERCENT.fullmatch(value) is not None


def int_value(value: int | str) -> int:
    """The number, also when it stands in a string; 0 for any other string."""
    if isinstance(value, int):
        return value
    try:
        return int(value)
    except ValueError:
        return 0
