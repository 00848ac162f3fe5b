"""A configuration laid over a live object, and fields taken out of one.

Mirrors structured-merge-diff's `typed/merge.go` and `typed/remove.go`.
"""

from __future__ import annotations

from typing import Any

from orchestrator.api.managed_fields.field_set import FieldSet, has_member
from orchestrator.api.managed_fields.structure import MISSING, Structure, element_of, indexed


def merge(structure: Structure, live: Any, config: Any) -> Any:
    """The live value with a configuration laid over it; either may be MISSING. Shares what it can with both."""
    if config is MISSING:
        return live
    form = structure.form
    if form == "deduced" and isinstance(live, dict) and isinstance(config, dict):
        form = "map"
    if form in ("struct", "map"):
        if live is MISSING or live is None:
            live = {}
        if config is None and live:
            return live
        if not isinstance(config, dict) or not isinstance(live, dict) or not (live or config):
            return config
        out = dict(live)
        for name, value in config.items():
            out[name] = merge(structure.child(name), live.get(name, MISSING), value)
        return out
    if form in ("keyed", "set"):
        if live is MISSING or live is None:
            live = []
        if config is None and live:
            return live
        if not isinstance(config, list) or not isinstance(live, list) or not (live or config):
            return config
        return _merge_items(structure, live, config)
    return config


def _merge_items(structure: Structure, live: list[Any], config: list[Any]) -> list[Any]:
    """Items of both keep the configuration's order; those of the live list alone stay where they were among them."""
    live_elements = [element_of(structure, item) for item in live]
    wanted = {element_of(structure, item): item for item in config}
    live_index = indexed(structure, live)
    shared = iter([element for element in wanted if element in live_index])
    next_shared = next(shared, None)
    config_elements = list(wanted)
    merged: set[str] = set()
    out: list[Any] = []
    left = right = 0
    while left < len(live_elements) or right < len(config_elements):
        if left < len(live_elements):
            element = live_elements[left]
            if element not in wanted:
                out.append(live[left])
                left += 1
                continue
            if element in merged or (right < len(config_elements) and element != next_shared):
                left += 1  # comes, or came, where the configuration has it
                continue
        if right < len(config_elements):
            element = config_elements[right]
            before = live_index.get(element, [MISSING])
            # Duplicates are not merged with, they are replaced.
            out.append(merge(structure.items, before[0] if len(before) == 1 else MISSING, wanted[element]))
            merged.add(element)
            right += 1
            if element == next_shared:
                next_shared = next(shared, None)
    return out


def remove(structure: Structure, value: Any, fields: FieldSet) -> Any:
    """The value without these fields and items; None where nothing is left of a map or list."""
    form = structure.form
    if isinstance(value, dict) and form in ("struct", "map", "deduced"):
        out: dict[str, Any] = {}
        for name, child in value.items():
            element = f"f:{name}"
            if has_member(fields, element):
                continue
            below = fields.get(element)
            out[name] = remove(structure.child(name), child, below) if below else child
        return out or None
    if isinstance(value, list) and form in ("keyed", "set"):
        kept: list[Any] = []
        for item in value:
            element = element_of(structure, item)
            if has_member(fields, element):
                continue
            below = fields.get(element)
            kept.append(remove(structure.items, item, below) if below else item)
        return kept or None
    return value if form == "scalar" or (form == "deduced" and not isinstance(value, list)) else None
