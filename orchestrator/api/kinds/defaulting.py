"""The verbs that the defaults of all kinds are written in.

Every function changes its argument in place and treats null like a missing field, as decoding into
the types of Kubernetes does. Never looks at anything but the object at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.api.objects import Object
from orchestrator.api.quantity import QuantityError, canonical, canonical_amount


def struct(parent: dict[str, Any], *path: str) -> dict[str, Any]:
    """The object under the keys; created empty where it is missing.

    Fields that are structs (not pointers) in Kubernetes' types are always present on the wire.
    """
    for key in path:
        value = parent.get(key)
        if not isinstance(value, dict):
            value = parent[key] = {}
        parent = value
    return parent


def fill(parent: dict[str, Any], **values: Any) -> None:
    """Set the fields that are missing (pointers: zero and the empty string count as given)."""
    for key, value in values.items():
        if parent.get(key) is None:
            parent[key] = value


def fill_empty(parent: dict[str, Any], **values: Any) -> None:
    """Set the fields that are missing or have their zero value (plain strings, numbers, lists)."""
    for key, value in values.items():
        if not parent.get(key):
            parent[key] = value


def drop_empty(parent: dict[str, Any], *keys: str) -> None:
    """Remove the fields that have their zero value, which the wire format leaves out."""
    for key in keys:
        if key in parent and not parent[key]:
            del parent[key]


def items(parent: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """The objects of a list that may be missing."""
    return [item for item in (parent or {}).get(key) or () if isinstance(item, dict)]


def canonical_quantity(parent: dict[str, Any] | None, key: str) -> None:
    """Rewrite one quantity as it is stored; one that cannot be parsed stays for validation."""
    if parent and parent.get(key) is not None:
        try:
            parent[key] = canonical(parent[key])
        except QuantityError:
            return


def canonical_quantities(quantities: dict[str, Any] | None) -> None:
    """Rewrite every quantity of a resource list as it is stored: in thousandths at the finest."""
    if not quantities:
        return
    for key, text in quantities.items():
        if text is not None:
            try:
                quantities[key] = canonical_amount(text)
            except QuantityError:
                continue


def spec_and_status(obj: Object) -> None:
    """`spec` and `status` are structs of most kinds."""
    struct(obj, "spec")
    struct(obj, "status")


def condition_times(*times: str) -> Callable[[Object], None]:
    """A rule for statuses: their conditions show these times, as null where they are unset.

    They are structs in Kubernetes' types, which Go encodes even when they are empty.
    """

    def fill_in(obj: Object) -> None:
        for condition in items(obj.get("status"), "conditions"):
            for time in times:
                condition.setdefault(time, None)

    return fill_in


def clear_status(obj: Object) -> None:
    """Users may not set status on create."""
    obj["status"] = {}
