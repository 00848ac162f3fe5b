"""The fields that an applied configuration sets. Mirrors structured-merge-diff's `typed/tofieldset.go`."""

from __future__ import annotations

from typing import Any

from orchestrator.api.managed_fields.field_set import LEAF, FieldSet, in_order
from orchestrator.api.managed_fields.structure import Structure, indexed


def field_set_of(structure: Structure, value: Any) -> FieldSet:
    """The fields that a configuration sets: leaves, items, values of maps; structs only when empty."""
    return _fields_in(structure, value) or LEAF


def _fields_in(structure: Structure, value: Any) -> FieldSet | None:
    """The node for a value, without the field itself unless it is a leaf; None: nothing."""
    form = structure.form
    if form == "scalar" or form == "atomic":
        return LEAF
    if isinstance(value, list):
        if form != "keyed" and form != "set":
            return LEAF
        out: FieldSet = {}
        for element, values in indexed(structure, value).items():
            inner = _fields_in(structure.items, values[0]) if len(values) == 1 else None
            out[element] = {".": LEAF, **inner} if inner else LEAF
        return in_order(out) or None
    if not isinstance(value, dict):
        return LEAF if form == "deduced" else None
    out = {}
    for name in sorted(value):
        child_value = value[name]
        found = structure.field(name) if structure.declared else None
        element, child = (f"f:{name}", structure.values) if found is None else found[:2]
        inner = _fields_in(child, child_value)
        if child_value is None or child_value == {} or found is None:
            out[element] = {".": LEAF, **inner} if inner else LEAF
        elif inner is not None:
            out[element] = inner
    return out or None


def with_named_parents(structure: Structure, fields: FieldSet) -> FieldSet:
    """The set together with every declared field that something in it lies below."""
    return _with_named_parents(structure, fields, named=False)


def _with_named_parents(structure: Structure, fields: FieldSet, *, named: bool) -> FieldSet:
    if not fields:
        return fields
    out: FieldSet = {}
    if named or "." in fields:
        out["."] = LEAF
    for element, child in fields.items():
        if element == ".":
            continue
        if element.startswith("f:"):
            name = element[2:]
            found = structure.field(name) if structure.declared else None
            inner = found[1] if found is not None else structure.values
            out[element] = _with_named_parents(inner, child, named=found is not None)
        else:
            out[element] = _with_named_parents(structure.items, child, named=False)
    return out
