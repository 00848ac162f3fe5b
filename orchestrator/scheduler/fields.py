"""Checks of configuration maps: keys that nobody reads and values of the wrong type are errors with one clear line.

Knows no particular configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final


class ConfigurationError(ValueError):
    """The configuration is wrong; the message names the field."""


_TYPE_NAMES: Final = {str: "a text", list: "a list", int: "a whole number", dict: "a map", bool: "true or false"}


def check_fields(value: Any, fields: Mapping[str, type], where: str = "") -> None:
    """Refuse a map with other keys than these, or values of another type; null is as good as absent."""
    prefix = f"{where}." if where else ""
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where or 'the configuration'} must be a map, not {value!r}")
    for key, content in value.items():
        kind = fields.get(key)
        if kind is None:
            known = ", ".join(sorted(fields)) or "none"
            raise ConfigurationError(f'unknown field "{prefix}{key}"; known are {known}')
        if content is None:
            continue
        if not isinstance(content, kind) or (kind is int and isinstance(content, bool)):
            raise ConfigurationError(f"{prefix}{key} must be {_TYPE_NAMES[kind]}, not {content!r}")


def check_range(value: Any, smallest: int, largest: int, where: str) -> int:
    """A whole number within these bounds, both included."""
    if not isinstance(value, int) or isinstance(value, bool) or not smallest <= value <= largest:
        raise ConfigurationError(f"{where}: Invalid value: {value!r}: not in valid range [{smallest}-{largest}]")
    return value
