"""Sets of fields, in the very form in which `fieldsV1` shows them.

A set is a trie of dicts: the key `f:name` is a field, `k:{...}` the item of a list with these keys,
`v:...` a value of a list that is a set, `i:n` a position. A node is in the set itself when it has a
`.`, or when it is empty (a leaf); the root is only a container, so an empty root is the empty set. Being what
the API shows, sets are neither parsed nor encoded when nothing changes. They are immutable: every
operation returns its first operand itself when that already is the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeAlias

import orjson

FieldSet: TypeAlias = dict[str, Any]
"""`{"f:data": {".": {}, "f:a": {}}}`; values are FieldSets."""

LEAF: FieldSet = {}
"""The node of a field that is in the set, without anything below it. Shared; never modify."""
MEMBER = {".": LEAF}

DEPTH_MAX = 128
"""How deep a set from a client may be nested."""


class NotAFieldSet(ValueError):
    """What a client sent as `fieldsV1` is none."""


# --- algebra -------------------------------------------------------------------------------------


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """Everything that is in one of two sets."""
    if not right:
        return left
    if not left:
        return right
    return _union_children(left, right)


def _union_children(left: FieldSet, right: FieldSet) -> FieldSet:
    out: FieldSet | None = None
    added = False
    for key, theirs in right.items():
        mine = left.get(key)
        if mine is None:
            if out is None:
                out = dict(left)
            out[key] = theirs
            added = True
            continue
        merged = _union_nodes(mine, theirs)
        if merged is not mine:
            if out is None:
                out = dict(left)
            out[key] = merged
    if out is None:
        return left
    return in_order(out) if added else out


def _union_nodes(left: FieldSet, right: FieldSet) -> FieldSet:
    if left is right:
        return left
    if not left:
        return left if not right else _union_children(MEMBER, right)
    if not right:
        return left if "." in left else {".": LEAF, **left}
    return _union_children(left, right)


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """What is in the first set and not in the second; fields below a field of the second stay."""
    return _difference_children(left, right)


def _difference_children(left: FieldSet, right: FieldSet) -> FieldSet:
    out: FieldSet | None = None
    few, many = (left, right) if len(left) <= len(right) else (right, left)
    for key in few:
        if key not in many:
            continue
        mine = left[key]
        rest = _difference_nodes(mine, right[key])
        if rest is mine:
            continue
        if out is None:
            out = dict(left)
        if rest is None:
            del out[key]
        else:
            out[key] = rest
    return left if out is None else out


def _difference_nodes(left: FieldSet, right: FieldSet) -> FieldSet | None:
    if not left:
        return None if not right or "." in right else left
    if not right:
        if "." not in left:
            return left
        if len(left) == 1:
            return None
        return {key: node for key, node in left.items() if key != "."}
    rest = _difference_children(left, right)
    if rest is left:
        return left
    if not rest:
        return None
    return LEAF if len(rest) == 1 and "." in rest else rest


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    """What is in both sets."""
    out: FieldSet = {}
    for key, mine in left.items():
        theirs = right.get(key)
        if theirs is None:
            continue
        both = _intersection_nodes(mine, theirs)
        if both is not None:
            out[key] = both
    return out


def _intersection_nodes(left: FieldSet, right: FieldSet) -> FieldSet | None:
    if not left:
        return LEAF if not right or "." in right else None
    if not right:
        return LEAF if "." in left else None
    both = intersection(left, right)
    if not both:
        return None
    return LEAF if len(both) == 1 and "." in both else both


def has_member(node: FieldSet, key: str) -> bool:
    """Whether the field `key` of a node is itself in the set."""
    child = node.get(key)
    return child is not None and (not child or "." in child)


# --- order ---------------------------------------------------------------------------------------

_RANKS = {".": 0, "f": 1, "k": 2, "v": 3, "i": 4}


@lru_cache(maxsize=16_384)
def _order(key: str) -> tuple[Any, ...]:
    """Fields come first, then keyed items, values and positions; keys and values by type, then size."""
    rank = _RANKS.get(key[:1], 5)
    if rank == 2:
        try:
            keys = orjson.loads(key[2:])
        except orjson.JSONDecodeError:
            return (5, key)
        return (2, tuple((name, _value_order(value)) for name, value in keys.items()))
    if rank == 3:
        try:
            return (3, _value_order(orjson.loads(key[2:])))
        except orjson.JSONDecodeError:
            return (5, key)
    if rank == 4:
        return (4, int(key[2:])) if key[2:].lstrip("-").isdigit() else (5, key)
    return (rank, key)


def _value_order(value: Any) -> tuple[int, Any]:
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, (int, float)):
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    return (3, orjson.dumps(value).decode())


def in_order(node: FieldSet) -> FieldSet:
    """The same node with its keys in the canonical order; not below it."""
    if len(node) < 2:
        return node
    return {key: node[key] for key in sorted(node, key=_order)}


# --- path elements -------------------------------------------------------------------------------


def value_key(value: Any) -> str:
    """The element of a list that is a set: `v:"x.io/a"`."""
    return "v:" + orjson.dumps(value).decode()


def item_key(keys: dict[str, Any]) -> str:
    """The element of a list with keys, which are given in the order of their names."""
    return "k:" + orjson.dumps(keys).decode()


@lru_cache(maxsize=4096)
def item_key_of_text(name: str, value: str) -> str:
    """The element of a list with one key that is a text: types of conditions, names of containers."""
    return item_key({name: value})


def path_text(path: tuple[str, ...]) -> str:
    """A path as messages show it: `.spec.containers[name="c"].args`."""
    out = []
    for key in path:
        kind, rest = key[:2], key[2:]
        if kind == "f:":
            out.append(f".{rest}")
        elif kind == "k:":
            keys = orjson.loads(rest)
            shown = ",".join(f"{name}={orjson.dumps(value).decode()}" for name, value in sorted(keys.items()))
            out.append(f"[{shown}]")
        elif kind == "v:":
            out.append(f"[={rest}]")
        else:
            out.append(f"[{rest}]")
    return "".join(out)


def paths(node: FieldSet, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every field of a set; of each level the fields themselves, then what is below them."""
    for key, child in node.items():
        if key != "." and (not child or "." in child):
            yield (*prefix, key)
    for key, child in node.items():
        if child:
            yield from paths(child, (*prefix, key))


# --- what clients send ---------------------------------------------------------------------------


def parse(fields: Any, depth: int = 0) -> FieldSet:
    """A client's `fieldsV1` in canonical form; NotAFieldSet when it is none."""
    if not isinstance(fields, dict) or depth > DEPTH_MAX:
        raise NotAFieldSet("fieldsV1 must be nested objects")
    out: FieldSet = {}
    for key, child in fields.items():
        if key == ".":
            if depth == 0:
                continue  # the root is no field
            out["."] = LEAF
            continue
        out[_parse_key(key)] = parse(child, depth + 1)
    if depth and len(out) == 1 and "." in out:
        return LEAF
    return in_order(out)


@lru_cache(maxsize=4096)
def _parse_key(key: str) -> str:
    kind, rest = key[:2], key[2:]
    if kind == "f:":
        return key
    try:
        if kind == "k:":
            keys = orjson.loads(rest)
            if isinstance(keys, dict) and keys:
                return item_key(dict(sorted(keys.items())))
        elif kind == "v:":
            return value_key(orjson.loads(rest))
        elif kind == "i:":
            return f"i:{int(rest)}"
    except ValueError as error:
        raise NotAFieldSet(f"{key!r} is no path element: {error}") from None
    raise NotAFieldSet(f"{key!r} is no path element")
