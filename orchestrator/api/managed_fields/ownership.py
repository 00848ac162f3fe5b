"""Who owns which field after an update, and what an apply makes of an object.

Pure: from the old object, the new one or the applied configuration, and the entries so far, to entries
and object. Knows nothing of requests or kinds; what may not be owned comes in a `Scope`. Mirrors
sigs.k8s.io/structured-merge-diff/merge and the chain of managers around it in apimachinery.

# Simplified: entries that were made in another version of the same kind are compared by the same paths, as if
# both versions had the same structure; and a field whose list or map type changed is not re-attributed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from orchestrator.api import errors
from orchestrator.api.errors import Cause
from orchestrator.api.managed_fields import entries as entries_of
from orchestrator.api.managed_fields.applied import field_set_of, with_named_parents
from orchestrator.api.managed_fields.comparing import compare
from orchestrator.api.managed_fields.entries import (
    BEFORE_FIRST_APPLY,
    Entry,
    ManagerId,
    capped,
    equal_but_for_times,
    id_of,
    new_entry,
    with_fields,
)
from orchestrator.api.managed_fields.field_set import (
    LEAF,
    FieldSet,
    difference,
    intersection,
    path_text,
    paths,
    union,
)
from orchestrator.api.managed_fields.merging import merge, remove
from orchestrator.api.managed_fields.structure import NotTyped, Structure
from orchestrator.api.objects import Object

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
KUBECTL = "kubectl"
"""The applier that takes over from client-side apply."""

_NEVER_OWNED = frozenset(
    f"f:{name}"
    for name in (
        "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation",
        "managedFields", "resourceVersion",
    )
)  # fmt: skip


class Scope(Struct, frozen=True):
    """Which fields a write of one kind through one (sub)resource can own."""

    hidden: frozenset[str] = frozenset()
    """Top-level elements that this write resets: `f:status` of the main resource."""
    only: frozenset[str] | None = None
    """If set, the only top-level elements that can be owned."""
    only_metadata: frozenset[str] | None = None
    """If set, the only elements of metadata that can be owned."""

    def restrict(self, fields: FieldSet) -> FieldSet:
        """The fields that this write touches at all."""
        if self.only is not None:
            fields = {key: node for key, node in fields.items() if key in self.only}
        elif not self.hidden.isdisjoint(fields):
            fields = {key: node for key, node in fields.items() if key not in self.hidden}
        if self.only_metadata is not None and "f:metadata" in fields:
            allowed = {key: node for key, node in fields["f:metadata"].items() if key in self.only_metadata}
            fields = {key: node for key, node in fields.items() if key != "f:metadata"}
            if allowed:
                fields = {"f:metadata": allowed, **fields}
        return fields


def owned(fields: FieldSet) -> FieldSet:
    """The fields without those that nobody ever owns: type, name, uid, resourceVersion and their like."""
    if "f:metadata" not in fields and "f:kind" not in fields and "f:apiVersion" not in fields:
        return fields
    out: FieldSet = {}
    for key, node in fields.items():
        if key == "f:metadata":
            rest = {name: child for name, child in node.items() if name not in _NEVER_OWNED and name != "."}
            if rest:
                out[key] = rest
        elif key != "f:kind" and key != "f:apiVersion":
            out[key] = node
    return out


# --- updates -------------------------------------------------------------------------------------


def plan_update(
    structure: Structure,
    old: Object,
    new: Object,
    *,
    entries: list[Entry],
    manager: ManagerId,
    time: str,
    scope: Scope,
) -> list[Entry]:
    """The entries after a create (`old` is empty), an update or a patch of any kind but apply.

    The manager owns what it added or changed; nobody owns any more what it removed or, but for the
    manager, what it changed. `entries` itself is returned when nothing of this happened.
    """
    changed, removed = _compare(structure, old, new, scope)
    if not changed and not removed:
        return entries
    kept = [entry for entry in map(_without(changed, removed), entries) if entry["fieldsV1"]]
    mine = owned(changed)
    if mine:
        previous = next((entry for entry in kept if id_of(entry) == manager), None)
        if previous is not None:
            kept = [entry for entry in kept if entry is not previous]
            mine = union(previous["fieldsV1"], mine)
        kept.append(new_entry(manager, manager.api_version, time, mine))
    elif len(kept) == len(entries) and all(map(_is, kept, entries)):
        return entries
    return entries_of.in_order(capped(kept))


def _is(left: Entry, right: Entry) -> bool:
    return left is right


def _compare(structure: Structure, old: Object, new: Object, scope: Scope) -> tuple[FieldSet, FieldSet]:
    changed, removed = compare(structure, _without_entries(old), _without_entries(new))
    return scope.restrict(changed), scope.restrict(removed)


def _without_entries(obj: Object) -> Object:
    metadata = obj.get("metadata")
    if not metadata or "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def _without(*taken: FieldSet) -> Callable[[Entry], Entry]:
    """A function that takes these fields from an entry."""

    def take(entry: Entry) -> Entry:
        fields = entry["fieldsV1"]
        for some in taken:
            if some:
                fields = difference(fields, some)
        return with_fields(entry, fields)

    return take


def settle(new: Object, old: Object) -> None:
    """Keep the old entries when a write changed nothing but their times; changes `new` in place."""
    before, after = old["metadata"].get("managedFields"), new["metadata"].get("managedFields")
    if before is after or not before or not after or not equal_but_for_times(after, before):
        return
    if _without_entries(new) == _without_entries(old):
        new["metadata"]["managedFields"] = before


# --- apply ---------------------------------------------------------------------------------------


class FieldConflict(Struct, frozen=True):
    """A field that an apply would change while another manager owns it."""

    manager: ManagerId
    path: tuple[str, ...]


class ApplyConflict(Exception):
    """An apply that needs force."""

    def __init__(self, conflicts: list[FieldConflict]) -> None:
        super().__init__(f"{len(conflicts)} conflicts")
        self.conflicts = conflicts


class Applied(Struct, frozen=True):
    """What an apply makes: the object, still to be decoded and defaulted, without its entries, and the entries."""

    obj: Object
    entries: list[Entry]


def plan_apply(
    structure: Structure,
    live: Object | None,
    config: Object,
    *,
    entries: list[Entry],
    manager: ManagerId,
    api_version: str,
    time: str,
    scope: Scope,
    force: bool,
) -> Applied:
    """Lay a configuration over an object; ApplyConflict when another manager's value would change without `force`.

    Fields that this manager applied before and now leaves out go, unless another applier or updater owns
    them. `config` must have passed `check_typed`.
    """
    live = {} if live is None else _without_entries(live)
    if not entries and live:
        before = ManagerId(BEFORE_FIRST_APPLY, "Update", api_version, manager.subresource)
        # Everything that is there belongs to somebody, though nobody knows to whom.
        entries = plan_update(structure, {}, live, entries=[], manager=before, time=time, scope=scope)
    try:
        return _apply(structure, live, config, entries, manager, api_version, time, scope, force=force)
    except ApplyConflict as error:
        if manager.manager != KUBECTL:
            raise
        allowed = _fields_of_client_side_apply(structure, live)
        left = [conflict for conflict in error.conflicts if not _contains(allowed, conflict.path)]
        if left:
            raise ApplyConflict(left) from None
        return _apply(structure, live, config, entries, manager, api_version, time, scope, force=True)


def _apply(
    structure: Structure,
    live: Object,
    config: Object,
    entries: list[Entry],
    manager: ManagerId,
    api_version: str,
    time: str,
    scope: Scope,
    *,
    force: bool,
) -> Applied:
    previous = next((entry for entry in entries if id_of(entry) == manager), None)
    others = [entry for entry in entries if entry is not previous]
    mine = scope.restrict(field_set_of(structure, config))
    merged = merge(structure, live, config)
    if previous is not None:
        owned_by_any = mine
        for entry in others:
            owned_by_any = union(owned_by_any, entry["fieldsV1"])
        merged = _pruned(structure, merged, last=previous["fieldsV1"], current=mine, owned_by_any=owned_by_any)
    changed, removed = _compare(structure, live, merged, scope)
    if not force:
        conflicts = [
            FieldConflict(id_of(entry), path)
            for entry in sorted(others, key=lambda entry: id_of(entry).sort_text())
            for path in paths(intersection(entry["fieldsV1"], changed))
        ]
        if conflicts:
            raise ApplyConflict(conflicts)
    kept = [entry for entry in map(_without(changed, removed), others) if entry["fieldsV1"]]
    mine = owned(difference(mine, removed))
    if mine:
        unchanged = previous is not None and merged == live and previous["fieldsV1"] == mine
        if previous is not None and unchanged and previous.get("apiVersion") == api_version:
            kept.append(previous)
        else:
            kept.append(new_entry(manager, api_version, time, mine))
    return Applied(merged, entries_of.in_order(kept))


def _pruned(structure: Structure, merged: Object, *, last: FieldSet, current: FieldSet, owned_by_any: FieldSet) -> Any:
    """The merged object without what the applier left out this time and nobody else owns."""
    if not difference(last, current):
        return merged
    last_named = with_named_parents(structure, last)
    merged_fields = with_named_parents(structure, field_set_of(structure, merged))

    def fields_of(value: Any) -> FieldSet:
        return with_named_parents(structure, field_set_of(structure, value)) if value else LEAF

    without_last = remove(structure, merged, last_named)
    kept = union(fields_of(without_last), with_named_parents(structure, owned_by_any))
    # Back comes what somebody owns ...
    with_owned = remove(structure, merged, difference(merged_fields, kept))
    # ... and what was never this applier's, such as defaults beside the fields that it left out.
    gone = intersection(difference(merged_fields, fields_of(with_owned)), last_named)
    return remove(structure, merged, gone) or {}


def _fields_of_client_side_apply(structure: Structure, live: Object) -> FieldSet:
    """The fields that client-side apply set last and that still have its values."""
    import orjson

    annotation = (live.get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED)
    if not annotation:
        return LEAF
    try:
        last = orjson.loads(annotation)
        if not isinstance(last, dict):
            return LEAF
        changed, removed = compare(structure, last, live)
        return difference(difference(field_set_of(structure, last), changed), removed)
    except (orjson.JSONDecodeError, NotTyped):
        return LEAF


def _contains(fields: FieldSet, path: tuple[str, ...]) -> bool:
    node = fields
    for key in path:
        child = node.get(key)
        if child is None:
            return False
        node = child
    return not node or "." in node


def conflict_error(conflicts: list[FieldConflict]) -> errors.Conflict:
    """The 409 that names every conflicting field and its owner."""
    causes = tuple(
        Cause("FieldManagerConflict", f"conflict with {conflict.manager}", path_text(conflict.path))
        for conflict in conflicts
    )
    if len(conflicts) == 1:
        message = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
        return errors.Conflict(message, causes=causes)
    lines: list[str] = []
    for position, conflict in enumerate(conflicts):
        if position == 0 or conflict.manager != conflicts[position - 1].manager:
            lines.append(f"conflicts with {conflict.manager}:")
        lines.append(f"- {path_text(conflict.path)}")
    message = f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)
    return errors.Conflict(message, causes=causes)
