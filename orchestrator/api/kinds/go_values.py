"""Rejected values as messages show them when they are structs of Kubernetes' internal types.

Those types carry no JSON names, so their fields appear under the Go names, all of them, in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def go_struct(value: Mapping[str, Any] | None, **fields: Any) -> dict[str, Any] | None:
    """`{"Type": ..., "RollingUpdate": ...}`: every named field of the value, or its given zero."""
    if value is None:
        return None
    return {name: value.get(name[0].lower() + name[1:], zero) for name, zero in fields.items()}
