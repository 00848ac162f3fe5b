"""Strategic merge patch: lists of the API merged by key, directives, two-way and three-way creation.

Owns the format that kubectl sends by default for built-in kinds: how a field is patched follows from its
patch strategy and merge key in the published schema, and `$patch`, `$retainKeys`, `$setElementOrder/<field>`
and `$deleteFromPrimitiveList/<field>` steer it. Never reads or writes anything but its arguments. Mirrors
k8s.io/apimachinery/pkg/util/strategicpatch and its documentation in
sig-api-machinery/strategic-merge-patch.md.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from orchestrator.api.errors import BadRequest
from orchestrator.api.fields import format_float
from orchestrator.api.objects import Object
from orchestrator.api.schema import Schema

from .equality import json_equal
from .outcome import PatchFailed, PatchRejected

Map: TypeAlias = dict[str, Any]

_DIRECTIVE: Final = "$patch"
_RETAIN_KEYS: Final = "$retainKeys"
_ORDER_PREFIX: Final = "$setElementOrder"
_DELETION_PREFIX: Final = "$deleteFromPrimitiveList"

_BAD_DOCUMENT = "invalid JSON document"
_BAD_PRIMITIVE_LIST = "invalid patch format of primitive list"
_BAD_RETAIN_KEYS = "invalid patch format of retainKeys"
_BAD_ELEMENT_ORDER = "invalid patch format of setElementOrder list"


class _Field(NamedTuple):
    """How one field is patched."""

    schema: Schema | None
    strategy: str
    merge_key: str
    retain_keys: bool


_PLAIN = _Field(None, "", "", False)


def apply_strategic_merge_patch(obj: Object, patch: Any, schema: Schema) -> Object:
    """The object with the patch merged into it by the rules of its schema.

    BadRequest for a malformed directive, PatchFailed (500, as the real server answers) for a list element
    without its merge key or an unknown directive.
    """
    if not isinstance(patch, dict):
        raise BadRequest(_BAD_DOCUMENT)
    return _merge_map(obj, patch, schema, resolving=True)


# --- application ---------------------------------------------------------------------------------
# `resolving`: the patch is applied to an object, so directives and nulls take effect. Otherwise two
# patches are merged into one (the three-way form), and both are carried over.


def _field_of(schema: Schema | None, name: str) -> _Field:
    if schema is None:
        return _PLAIN
    if schema.kind == "map":
        return _Field(schema.values, "", "", False)
    node = schema.properties.get(name)
    if node is None:
        return _PLAIN
    strategies = node.patch_strategies
    strategy = "merge" if "merge" in strategies else "replace" if "replace" in strategies else ""
    return _Field(node, strategy, node.merge_key, "retainKeys" in strategies)


def _merge_map(original: Map, patch: Map, schema: Schema | None, *, resolving: bool) -> Map:
    if _DIRECTIVE in patch:
        directive = patch[_DIRECTIVE]
        if directive == "replace":
            return {name: value for name, value in patch.items() if name != _DIRECTIVE}
        if directive == "delete":
            return {}
        raise _unknown_directive(directive, patch)
    merged = dict(original)
    pending = dict(patch)
    if _RETAIN_KEYS in pending:
        _retain_keys(merged, pending, resolving=resolving)
    for name in [name for name in pending if name.startswith(_ORDER_PREFIX)]:
        _merge_ordered_list(merged, pending, name, schema, resolving=resolving)
    for name, value in pending.items():
        deleting = name.startswith(_DELETION_PREFIX)
        if deleting:
            if not resolving:
                merged[name] = value
                continue
            name = _target_of(name, _DELETION_PREFIX, _BAD_PRIMITIVE_LIST)
        if value is None:
            merged.pop(name, None)
            if not resolving:
                merged[name] = None
            continue
        if name not in merged:
            if not deleting:
                merged[name] = _resolved(value) if resolving else value
            continue
        current = merged[name]
        field = _field_of(schema, name)
        if isinstance(current, dict) and isinstance(value, dict):
            if field.strategy == "replace":
                merged[name] = _resolved(value) if resolving else value
            else:
                merged[name] = _merge_map(current, value, field.schema, resolving=resolving)
        elif isinstance(current, list) and isinstance(value, list):
            merged[name] = _merge_list(current, value, field, resolving=resolving, deleting=deleting)
        elif not deleting:
            merged[name] = _resolved(value) if resolving else value
    return merged


def _resolved(value: Any) -> Any:
    """A new value without the nulls and directives that mean nothing where nothing was before."""
    if value.__class__ is dict:
        return {
            name: _resolved(child) if child.__class__ is dict or child.__class__ is list else child
            for name, child in value.items()
            if child is not None and not (name.startswith("$") and _is_directive(name))
        }
    if value.__class__ is list:
        return [
            _resolved(child)
            for child in value
            if not (isinstance(child, dict) and (child.get(_DIRECTIVE) == "delete" or set(child) == {_DIRECTIVE}))
        ]
    return value


def _is_directive(name: str) -> bool:
    return name in (_DIRECTIVE, _RETAIN_KEYS) or name.startswith((_ORDER_PREFIX + "/", _DELETION_PREFIX + "/"))


def _retain_keys(merged: Map, patch: Map, *, resolving: bool) -> None:
    keys = patch.pop(_RETAIN_KEYS)
    if not resolving:
        if not json_equal(merged.setdefault(_RETAIN_KEYS, keys), keys):
            raise PatchFailed(
                f"{go_format(merged[_RETAIN_KEYS])} and {go_format(keys)} are not deep equal: "
                "this may happen when calculating the 3-way diff patch"
            )
        return
    if not isinstance(keys, list):
        raise BadRequest(_BAD_RETAIN_KEYS)
    kept = {key for key in keys if isinstance(key, str)}
    for name, value in patch.items():
        if value is None or name.startswith((_DELETION_PREFIX, _ORDER_PREFIX)):
            continue
        if name not in kept:
            raise BadRequest(_BAD_RETAIN_KEYS)
    for name in [name for name in merged if name not in kept]:
        del merged[name]


def _target_of(name: str, prefix: str, complaint: str) -> str:
    head, slash, field = name.partition("/")
    if not slash or head != prefix:
        raise BadRequest(complaint)
    return field


def _merge_ordered_list(merged: Map, patch: Map, directive: str, schema: Schema | None, *, resolving: bool) -> None:
    """Take one `$setElementOrder/<field>` and the list it is about out of the patch and into `merged`."""
    order = patch.pop(directive)
    if not resolving and not json_equal(merged.setdefault(directive, order), order):
        raise BadRequest(_BAD_ELEMENT_ORDER)
    name = _target_of(directive, _ORDER_PREFIX, _BAD_ELEMENT_ORDER)
    if not isinstance(order, list):
        raise _bad_type("[]interface {}", order)
    current, changes = merged.get(name), patch.get(name)
    for value in (current, changes):
        if value is not None and not isinstance(value, list):
            raise _bad_type("[]interface {}", value)
    field = _field_of(schema, name)
    _check_against_order(changes or [], order, field.merge_key)
    if current is None and changes is None:
        return
    if current is None or changes is None:
        combined = current if changes is None else changes
        if current is None and resolving:
            combined = _resolved(combined)
    else:
        combined = _merge_list(current, changes, field, resolving=resolving, deleting=False)
    deleted = patch.get(f"{_DELETION_PREFIX}/{name}") if resolving else None
    if isinstance(deleted, list):
        gone = {_token(item) for item in deleted}
        combined = [item for item in combined or [] if _token(item) not in gone]
        del patch[f"{_DELETION_PREFIX}/{name}"]
    merged[name] = _ordered(combined or [], order, current or [], field.merge_key)
    patch.pop(name, None)


def _check_against_order(changes: list[Any], order: list[Any], merge_key: str) -> None:
    """The patch's elements must come in the order that the directive names."""
    if not order or not changes:
        return
    wanted = iter([_key_of(item, merge_key) for item in order])
    for item in changes:
        if merge_key:
            if not isinstance(item, dict):
                raise _bad_type("map[string]interface {}", item)
            if _DIRECTIVE in item:
                continue
        token = _key_of(item, merge_key)
        if not any(token == candidate for candidate in wanted):
            raise PatchFailed(
                f"The order in patch list:\n{go_format(changes)}\n doesn't match {_ORDER_PREFIX} list:\n"
                f"{go_format(order)}\n"
            )


def _merge_list(current: list[Any], changes: list[Any], field: _Field, *, resolving: bool, deleting: bool) -> list[Any]:
    if field.strategy != "merge":
        return _resolved(changes) if resolving else changes
    if not current and not changes:
        return current
    _check_element_types(current, changes)
    merge_key = field.merge_key
    if not isinstance((current or changes)[0], dict):
        if resolving and deleting:
            gone = {_token(item) for item in changes}
            return [item for item in current if _token(item) not in gone]
        merged = list({_token(item): item for item in [*current, *changes]}.values())
        return _ordered(merged, changes, current, "")
    if not merge_key:
        raise PatchFailed("cannot merge lists without merge key for type struct")
    current, changes = _apply_list_directives(current, changes, merge_key)
    merged = list(current)
    positions = {_token(item[merge_key]): place for place, item in reversed([*enumerate(merged)]) if merge_key in item}
    items = field.schema.items if field.schema is not None else None
    for item in changes:
        token = _key_of(item, merge_key)
        place = positions.get(token)
        if place is None:
            positions[token] = len(merged)
            merged.append(_resolved(item) if resolving else item)
        else:
            merged[place] = _merge_map(merged[place], item, items, resolving=resolving)
    return _ordered(merged, changes, current, merge_key)


def _apply_list_directives(current: list[Any], changes: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    """The list without what `$patch: delete` names (all of it for `$patch: replace`), and the plain changes."""
    plain: list[Any] = []
    gone: set[Any] = set()
    replace = False
    for item in changes:
        if _DIRECTIVE not in item:
            plain.append(item)
            continue
        directive = item[_DIRECTIVE]
        if directive == "delete":
            gone.add(_key_of(item, merge_key))
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise PatchFailed("merging lists cannot yet be specified in the patch")
        else:
            raise _unknown_directive(directive, item)
    if replace:
        return [_resolved(item) for item in plain], []
    if gone:
        current = [entry for entry in current if merge_key not in entry or _token(entry[merge_key]) not in gone]
    return current, plain


def _ordered(merged: list[Any], patch_order: list[Any], server_order: list[Any], merge_key: str) -> list[Any]:
    """The elements in the patch's order; those it does not name keep their place relative to the old list."""
    patch_rank = _ranks(patch_order, merge_key)
    server_rank = _ranks(server_order, merge_key)
    named: list[tuple[Any, Any]] = []
    others: list[tuple[Any, Any]] = []
    deletions: list[Any] = []
    for item in merged:
        token = _key_of(item, merge_key)
        if merge_key and item.get(_DIRECTIVE) == "delete":
            deletions.append(item)
        elif token in patch_rank:
            named.append((token, item))
        else:
            others.append((token, item))
    named.sort(key=lambda pair: patch_rank[pair[0]])
    others.sort(key=lambda pair: server_rank.get(pair[0], len(server_rank)))
    out: list[Any] = []
    left = right = 0
    while left < len(others) or right < len(named):
        if left >= len(others):
            take_other = False
        elif right >= len(named):
            take_other = True
        else:
            other_rank, named_rank = server_rank.get(others[left][0]), server_rank.get(named[right][0])
            take_other = other_rank is not None and named_rank is not None and other_rank < named_rank
        if take_other:
            out.append(others[left][1])
            left += 1
        else:
            out.append(named[right][1])
            right += 1
    return out + deletions


def _ranks(items: list[Any], merge_key: str) -> dict[Any, int]:
    ranks: dict[Any, int] = {}
    for position, item in enumerate(items):
        ranks.setdefault(_key_of(item, merge_key), position)
    return ranks


def _token(value: Any) -> Any:
    """A hashable stand-in for a JSON value; true is not 1."""
    if isinstance(value, bool) or value is None:
        return (value,)
    if isinstance(value, dict | list):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return value


def _key_of(item: Any, merge_key: str) -> Any:
    if not merge_key:
        return _token(item)
    if not isinstance(item, dict):
        raise _bad_type("map[string]interface {}", item)
    if merge_key not in item:
        raise PatchFailed(f"map: {go_format(item)} does not contain declared merge key: {merge_key}")
    return _token(item[merge_key])


def _check_element_types(*lists: list[Any]) -> None:
    kind = ""
    for items in lists:
        for item in items:
            found = _go_type(item)
            if found == "[]interface {}":
                raise PatchRejected("lists of lists are not supported")
            if kind and found != kind:
                raise PatchFailed(f"list element types are not identical: {go_format(list(lists))}")
            kind = found


# --- creation ------------------------------------------------------------------------------------


class _Diff(NamedTuple):
    """Which differences a patch is made of."""

    deletions: bool = True
    changes: bool = True
    element_order: bool = True


def create_two_way_merge_patch(original: Object, modified: Object, schema: Schema) -> Map:
    """The strategic merge patch that turns `original` into `modified`; empty when they are equal."""
    return _diff_maps(original, modified, schema, _Diff(), retain_keys=False)


def three_way_merge_patch(original: Object, modified: Object, current: Object, schema: Schema) -> Map:
    """The strategic merge patch of `apply`: brings `current` to `modified`, and removes what `modified` dropped.

    `original` is what was applied last; what is only in `current` stays, because others may have set it.
    """
    changes = _diff_maps(current, modified, schema, _Diff(deletions=False), retain_keys=False)
    deletions = _diff_maps(original, modified, schema, _Diff(changes=False), retain_keys=False)
    return _merge_map(deletions, changes, schema, resolving=False)


def _diff_maps(original: Map, modified: Map, schema: Schema | None, diff: _Diff, *, retain_keys: bool) -> Map:
    patch: Map = {}
    for name, value in modified.items():
        if name not in original:
            if diff.changes:
                patch[name] = value
            continue
        before = original[name]
        field = _field_of(schema, name)
        if isinstance(before, dict) and isinstance(value, dict) and field.strategy != "replace":
            inner = _diff_maps(before, value, field.schema, diff, retain_keys=field.retain_keys)
            if inner:
                patch[name] = inner
        elif isinstance(before, list) and isinstance(value, list) and field.strategy == "merge":
            _diff_lists(name, before, value, field, diff, patch)
        elif diff.changes and not json_equal(before, value):
            patch[name] = value
    if diff.deletions:
        for name in original:
            if name not in modified:
                patch[name] = None
    if retain_keys:
        kept = sorted(name for name, value in modified.items() if value is not None)
        dropped = any(value is not None and name not in modified for name, value in original.items())
        if kept and (patch or dropped):
            patch[_RETAIN_KEYS] = kept
    return patch


def _diff_lists(name: str, original: list[Any], modified: list[Any], field: _Field, diff: _Diff, patch: Map) -> None:
    """Put what differs between two lists that are merged by key or by value into `patch`."""
    if not original:
        if modified and diff.changes:
            patch[name] = modified
        return
    _check_element_types(original, modified)
    merge_key = field.merge_key
    order: list[Any] = []
    if isinstance(original[0], dict):
        changes, deletions = _diff_lists_of_maps(original, modified, field, diff)
        tokens_before = [_key_of(item, merge_key) for item in original]
        same_order = tokens_before == [_key_of(item, merge_key) for item in modified]
        changes = changes + deletions
        if (diff.changes and (changes or not same_order)) or (diff.deletions and changes):
            order = [{merge_key: item[merge_key]} for item in modified]
    else:
        before = {_token(item) for item in original}
        after = {_token(item) for item in modified}
        changes = [item for item in modified if _token(item) not in before] if diff.changes else []
        removed = [item for item in original if _token(item) not in after] if diff.deletions else []
        if (diff.deletions and removed) or (diff.changes and not json_equal(original, modified)):
            order = modified
        if removed:
            patch[f"{_DELETION_PREFIX}/{name}"] = removed
    if changes:
        patch[name] = changes
    if order and diff.element_order:
        patch[f"{_ORDER_PREFIX}/{name}"] = order


def _diff_lists_of_maps(
    original: list[Any], modified: list[Any], field: _Field, diff: _Diff
) -> tuple[list[Any], list[Any]]:
    merge_key = field.merge_key
    items = field.schema.items if field.schema is not None else None
    before = {_key_of(item, merge_key): item for item in original}
    after = {_key_of(item, merge_key) for item in modified}
    changes: list[Any] = []
    for item in modified:
        known = before.get(_key_of(item, merge_key))
        if known is None:
            if diff.changes:
                changes.append(item)
            continue
        inner = _diff_maps(known, item, items, diff, retain_keys=field.retain_keys)
        if inner:
            inner[merge_key] = item[merge_key]
            changes.append(inner)
    deletions: list[Any] = []
    if diff.deletions:
        gone = [item[merge_key] for token, item in before.items() if token not in after]
        deletions = [{_DIRECTIVE: "delete", merge_key: value} for value in sorted(gone, key=go_format)]
    return changes, deletions


# --- messages ------------------------------------------------------------------------------------


def go_format(value: Any) -> str:
    """A JSON value as Go's `%v` prints it: `map[a:1 b:[x y]]`."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{name}:{go_format(value[name])}' for name in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(go_format, value))}]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return format_float(value) if isinstance(value, float) else str(value)


def _go_type(value: Any) -> str:
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "float64" if isinstance(value, float) else "int64"


def _bad_type(expected: str, actual: Any) -> PatchFailed:
    return PatchFailed(f"expected a {expected}, but received a {_go_type(actual)}")


def _unknown_directive(directive: Any, item: Map) -> PatchFailed:
    return PatchFailed(f"unknown patch type: {go_format(directive)} in map: {go_format(item)}")
