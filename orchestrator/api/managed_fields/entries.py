"""The entries of `metadata.managedFields`: who they belong to, their order, how many there may be.

Entries are plain dicts and immutable; one whose fields did not change is passed on as it is. Mirrors
k8s.io/apimachinery/pkg/util/managedfields/internal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import orjson

from orchestrator.api.fields import quote
from orchestrator.api.managed_fields.field_set import FieldSet, NotAFieldSet, parse, union

Entry: TypeAlias = dict[str, Any]
"""A `metav1.ManagedFieldsEntry`."""

UPDATE_ENTRIES_MAX = 10
"""More entries of updates than this are merged, oldest first."""
ANCIENT_CHANGES = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"


class ManagerId(NamedTuple):
    """What tells one manager of an object from another."""

    manager: str
    operation: str
    """`Apply` or `Update`."""
    api_version: str
    """The version that an update was made in; empty for appliers, who stay the same in every version."""
    subresource: str = ""

    def __str__(self) -> str:
        """As conflict messages name it: `"kubectl" using apps/v1`."""
        text = quote(self.manager)
        if self.subresource:
            text = f"{text} with subresource {quote(self.subresource)}"
        return f"{text} using {self.api_version}" if self.operation == "Update" else text

    def sort_text(self) -> str:
        """What conflicts are sorted by."""
        keys = ("manager", self.manager), ("operation", self.operation)
        more = ("apiVersion", self.api_version), ("subresource", self.subresource)
        return orjson.dumps(dict(keys) | {key: value for key, value in more if value}).decode()


def id_of(entry: Entry) -> ManagerId:
    """The manager that an entry belongs to."""
    operation = entry.get("operation") or ""
    return ManagerId(
        entry.get("manager") or "",
        operation,
        "" if operation == "Apply" else entry.get("apiVersion") or "",
        entry.get("subresource") or "",
    )


def new_entry(manager: ManagerId, api_version: str, time: str | None, fields: FieldSet) -> Entry:
    """An entry, its keys in the order in which kube-apiserver writes them."""
    entry: Entry = {"manager": manager.manager, "operation": manager.operation, "apiVersion": api_version}
    if not manager.manager:
        del entry["manager"]
    if time:
        entry["time"] = time
    entry["fieldsType"] = "FieldsV1"
    entry["fieldsV1"] = fields
    if manager.subresource:
        entry["subresource"] = manager.subresource
    return entry


def with_fields(entry: Entry, fields: FieldSet) -> Entry:
    """The entry with other fields; itself when they are the same ones."""
    return entry if entry.get("fieldsV1") is fields else {**entry, "fieldsV1": fields}


def is_reset(entries: Any) -> bool:
    """Whether a client asks for all ownership to be forgotten: one empty entry."""
    return isinstance(entries, list) and len(entries) == 1 and not any(entries[0].values())


def read(entries: Any) -> list[Entry] | None:
    """A client's entries in canonical form; None when they say nothing or are not well-formed."""
    found: dict[ManagerId, Entry] = {}
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("operation") not in ("Apply", "Update"):
            return None
        if entry.get("fieldsType") != "FieldsV1":
            return None
        try:
            fields = parse(entry.get("fieldsV1") or {})
        except NotAFieldSet:
            return None
        manager = id_of(entry)
        found[manager] = new_entry(manager, entry.get("apiVersion") or "", entry.get("time"), fields)
    return list(found.values()) or None


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Appliers first, then by time, manager, version and subresource."""
    return sorted(entries, key=_order)


def _order(entry: Entry) -> tuple[str, str, str, str, str]:
    return (
        entry["operation"],
        entry.get("time") or "",
        entry.get("manager") or "",
        entry.get("apiVersion") or "",
        entry.get("subresource") or "",
    )


def capped(entries: list[Entry]) -> list[Entry]:
    """The entries with the oldest updates merged into one per version, until no more than ten updates are left.

    Source: KEP-555 and the limit of 10 in kube-apiserver's `capManagersManager`.
    """
    updates = [entry for entry in entries if entry["operation"] == "Update"]
    if len(updates) <= UPDATE_ENTRIES_MAX:
        return entries
    kept = [entry for entry in entries if entry["operation"] != "Update"]
    updates.sort(key=lambda entry: (entry.get("time") or "", id_of(entry).sort_text()))
    length = len(updates)
    merged: dict[str, list[Entry]] = {}
    """What goes into the bucket of each version, oldest first."""
    position = 0
    while position < len(updates) and length > UPDATE_ENTRIES_MAX:
        bucket = merged.setdefault(updates[position]["apiVersion"], [])
        length -= bool(bucket)
        bucket.append(updates[position])
        position += 1
    rest = updates[position:]
    for version, bucket in merged.items():
        if len(bucket) == 1:
            rest.append(bucket[0])
            continue
        fields: FieldSet = {}
        for entry in bucket:
            fields = union(fields, entry["fieldsV1"])
        owner = ManagerId(ANCIENT_CHANGES, "Update", version)
        # An earlier bucket of this version has the same name; it is the oldest and therefore in the new one.
        rest = [entry for entry in rest if id_of(entry) != owner]
        rest.append(new_entry(owner, version, bucket[-1].get("time"), fields))
    return kept + rest


def equal_but_for_times(left: Any, right: Any) -> bool:
    """Whether two lists of entries differ in nothing but the times."""
    if len(left) != len(right):
        return False
    for mine, theirs in zip(left, right, strict=True):
        if mine is theirs:
            continue
        if mine["fieldsV1"] != theirs.get("fieldsV1") or id_of(mine) != id_of(theirs):
            return False
        if mine.get("apiVersion") != theirs.get("apiVersion"):
            return False
    return True
