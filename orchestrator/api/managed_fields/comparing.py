"""How two states of an object differ: which fields were added, modified, removed.

Answers about values that were not there before are remembered by their shape: most conditions, references and specs
are like others. Mirrors structured-merge-diff's `typed/compare.go`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from orchestrator.api.managed_fields.field_set import LEAF, FieldSet, in_order
from orchestrator.api.managed_fields.structure import MISSING, Structure, indexed

_PLAIN_MAX = 64
"""Different sets of names that are remembered for one structure."""

_Shape: TypeAlias = tuple[Any, ...]
"""Names of fields, and for those with parts the shape of these."""

Difference = tuple["FieldSet | None", "FieldSet | None"]
"""(added or modified, removed): nodes, or None where nothing is."""


def compare(structure: Structure, old: dict[str, Any], new: dict[str, Any]) -> tuple[FieldSet, FieldSet]:
    """(what was added or modified, what was removed) from one object to another; NotTyped when it cannot be said."""
    changed, removed = _compare_fields(structure, old, new)
    return changed or LEAF, removed or LEAF


def _compare(structure: Structure, old: Any, new: Any) -> Difference:
    """Compare two values that are both there and known to differ."""
    form = structure.form
    if form == "scalar" or form == "atomic":
        return LEAF, None
    if form == "keyed" or form == "set":
        return _compare_items(structure, old, new)
    if form == "deduced" and not (isinstance(old, dict) and isinstance(new, dict)):
        return LEAF, None
    return _compare_fields(structure, old, new)


def _compare_fields(structure: Structure, old: Any, new: Any) -> Difference:
    if not old and not new:
        return (LEAF, None) if old != new else (None, None)
    old, new = old or {}, new or {}
    if not isinstance(old, dict) or not isinstance(new, dict):
        return LEAF, None
    return _compare_each_field(structure, old, new) if old else (_added(structure, new), None)


def _added(structure: Structure, new: dict[str, Any]) -> FieldSet | None:
    """What a value adds to an empty one; None for nothing."""
    if structure.added is None:
        return _each_added(structure, new)
    return structure.added.of(new, lambda: _each_added(structure, new) or LEAF) or None


def _each_added(structure: Structure, new: dict[str, Any]) -> FieldSet | None:
    shape = _shape_of(structure, new) if structure.declared else None
    if shape is not None and (known := structure.shapes_added.get(shape)) is not None:
        return known
    added, _ = _compare_each_field(structure, {}, new)
    if added and shape is not None:
        _remember(structure.shapes_added, shape, added)
    return added


def _shape_of(structure: Structure, value: dict[str, Any]) -> _Shape | None:
    """All that decides which fields a value adds to nothing; None when what it is decides, too, as in keyed lists."""
    shape: list[Any] = []
    for name, child in value.items():
        if child.__class__ is not dict and child.__class__ is not list:
            if child is not None:
                shape.append(name)
            elif not structure.encodes_nulls:
                return None
            continue
        found = structure.field(name)
        if not child or found is None:
            return None
        form = found[1].form
        if form == "atomic":
            shape.append(name)
        elif form == "struct" and child.__class__ is dict:
            inner = _shape_of(found[1], child)
            if inner is None:
                return None
            shape.append((name, inner))
        elif form == "map" and child.__class__ is dict and _is_plain(child) and None not in child.values():
            shape.append((name, tuple(child)))
        else:
            return None
    return tuple(shape)


def _compare_each_field(structure: Structure, old: dict[str, Any], new: dict[str, Any]) -> Difference:
    changed: FieldSet = {}
    removed: FieldSet = {}
    declared = structure.declared
    for name, value in new.items():
        before = old.get(name, MISSING)
        if before is value or before == value:
            continue
        found = structure.field(name) if declared else None
        if found is None:
            element, child, always = f"f:{name}", structure.values, False
        else:
            element, child, always = found
        if before is MISSING:
            if value is None and structure.encodes_nulls:
                continue  # what Go encodes as null was null before, too
            if not always:
                changed[element] = _whole(child, value)
                continue
            before = _unset(child)
            if before == value:
                continue
        more, less = _compare(child, before, value)
        if more is not None:
            changed[element] = more
        if less is not None:
            removed[element] = less
    for name, before in old.items():
        if name in new:
            continue
        found = structure.field(name) if declared else None
        if found is None:
            removed[f"f:{name}"] = _whole(structure.values, before)
            continue
        element, child, always = found
        if not always:
            removed[element] = _whole(child, before)
            continue
        value = _unset(child)
        if before != value:
            more, less = _compare(child, before, value)
            if more is not None:
                changed[element] = more
            if less is not None:
                removed[element] = less
    return _by_name(changed) if changed else None, _by_name(removed) if removed else None


def _by_name(fields: FieldSet) -> FieldSet:
    """Fields in the canonical order, which is that of their names where nothing else is among them."""
    return {element: fields[element] for element in sorted(fields)}


def _unset(structure: Structure) -> Any:
    """What Go encodes for an unset field that is always there."""
    return {} if structure.scalar == "object" else None


def _compare_items(structure: Structure, old: Any, new: Any) -> Difference:
    if (not old and not new) or not isinstance(old or [], list) or not isinstance(new or [], list):
        return LEAF, None
    before, after = indexed(structure, old), indexed(structure, new)
    changed: FieldSet = {}
    removed: FieldSet = {}
    items = structure.items
    for element, values in after.items():
        previous = before.get(element)
        if previous == values:
            continue
        if len(values) > 1 or (previous is not None and len(previous) > 1):
            changed[element] = LEAF  # duplicates are compared as one
        elif previous is None:
            changed[element] = _whole_item(items, values[0])
        else:
            more, less = _compare(items, previous[0], values[0])
            if more is not None:
                changed[element] = more
            if less is not None:
                removed[element] = less
    for element, values in before.items():
        if element not in after:
            removed[element] = LEAF if len(values) > 1 else _whole_item(items, values[0])
    return in_order(changed) if changed else None, in_order(removed) if removed else None


def _whole_item(structure: Structure, value: Any) -> FieldSet:
    return _whole(structure, value) if isinstance(value, dict) else LEAF


def _whole(structure: Structure, value: Any) -> FieldSet:
    """The node of a value that is there on one side only: the field itself and all that is in it."""
    if not value or value.__class__ is str:
        return LEAF
    form = structure.form
    if form == "scalar" or form == "atomic":
        return LEAF
    if value.__class__ is list:
        if form != "keyed" and form != "set":
            return LEAF
        out: FieldSet = {".": LEAF}
        items = structure.items
        for element, values in indexed(structure, value).items():
            out[element] = LEAF if len(values) > 1 else _whole_item(items, values[0])
        return in_order(out) if len(out) > 2 else out
    if value.__class__ is not dict or form == "keyed" or form == "set":
        return LEAF
    names = tuple(value)
    known = structure.plain_nodes.get(names)
    if known is not None and _is_plain(value):
        return known
    out = {".": LEAF}
    declared = structure.declared
    for name in sorted(value):
        found = structure.field(name) if declared else None
        if found is None:
            out[f"f:{name}"] = _whole(structure.values, value[name])
        else:
            out[found[0]] = _whole(found[1], value[name])
    if declared and known is None and _is_plain(value):
        _remember(structure.plain_nodes, names, out)
    return out


def _is_plain(value: dict[str, Any]) -> bool:
    """Whether nothing in it has parts: then its names say all about its fields."""
    for child in value.values():  # noqa: SIM110 - the loop is half the time of all() with a generator
        if child.__class__ is dict or child.__class__ is list:
            return False
    return True


def _remember(known: dict[tuple[Any, ...], FieldSet], names: tuple[Any, ...], fields: FieldSet) -> None:
    if len(known) < _PLAIN_MAX:
        known[names] = fields
