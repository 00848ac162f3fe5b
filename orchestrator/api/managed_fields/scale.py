"""Owners of an object's number of replicas, as the `scale` subresource sees them and back.

Mirrors the scale handler of k8s.io/apimachinery/pkg/util/managedfields. Source: KEP-2155.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.api.managed_fields.entries import Entry, id_of, in_order, new_entry, with_fields
from orchestrator.api.managed_fields.field_set import LEAF, FieldSet, difference, has_member

_REPLICAS_OF_SCALE = {"f:spec": {"f:replicas": LEAF}}

Path = tuple[str, ...]
"""Path elements: `("f:spec", "f:replicas")`."""


def _set_of(path: Path) -> FieldSet:
    fields: FieldSet = LEAF
    for element in reversed(path):
        fields = {element: fields}
    return fields


def _owns(entry: Entry, path: Path) -> bool:
    node: FieldSet = entry["fieldsV1"]
    for element in path[:-1]:
        node = node.get(element) or LEAF
    return has_member(node, path[-1])


def to_scale(entries: Sequence[Entry], path: Path, scale_version: str) -> list[Entry]:
    """The entries of a parent that own its replicas, as entries of its Scale."""
    return [
        {**entry, "apiVersion": scale_version, "fieldsV1": _REPLICAS_OF_SCALE}
        for entry in entries
        if _owns(entry, path)
    ]


def from_scale(
    entries: Sequence[Entry], scale_entries: Sequence[Entry], path: Path, scale_version: str, parent_version: str
) -> list[Entry]:
    """The entries of a parent after those of its Scale became `scale_entries`."""
    replicas = _set_of(path)
    after = {id_of(entry): entry for entry in scale_entries if _owns(entry, ("f:spec", "f:replicas"))}
    out: list[Entry] = []
    for entry in entries:
        if not _owns(entry, path):
            out.append(entry)
            continue
        kept = after.pop(id_of({**entry, "apiVersion": scale_version}), None)
        if kept is not None:
            out.append(entry)
            continue
        rest = difference(entry["fieldsV1"], replicas)
        if rest:
            out.append(with_fields(entry, rest))
    for owner, entry in after.items():
        version = parent_version if entry["apiVersion"] == scale_version else entry["apiVersion"]
        owner = owner._replace(api_version=version if owner.operation == "Update" else "")
        out.append(new_entry(owner, version, None, replicas))  # kube-apiserver loses the time on this way, too
    return in_order(out)
