"""Objects seen through their schema: which fields they have, how two differ, how they merge.

Owns the walks of server-side apply over one object or two, driven by list types, map types and list-map
keys. Never looks at who owns what. A `Structure` is compiled from a schema node, its children when first
met. Mirrors sigs.k8s.io/structured-merge-diff/typed.

Go encodes some fields even when they are unset (structs that are no pointers, lists that are not
`omitempty`), so for kube-apiserver they are there from the beginning and nobody owns them by adding what is
in them. `_always_there` knows these fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias

from orchestrator.api.contents import ContentMap
from orchestrator.api.managed_fields.field_set import (
    LEAF,
    FieldSet,
    has_member,
    in_order,
    item_key,
    item_key_of_text,
    path_text,
    value_key,
)
from orchestrator.api.schema import OBJECT_META, Schema, definition

_PLAIN_MAX = 64
"""Different sets of names that are remembered for one structure."""

Form = Literal["scalar", "atomic", "struct", "map", "keyed", "set", "deduced"]

MISSING: Final = type("Missing", (), {"__repr__": lambda self: "MISSING"})()
"""The value of a field that is not there; null is a value."""

_META_V1 = "io.k8s.apimachinery.pkg.apis.meta.v1"
_CORE = "io.k8s.api.core.v1"
_APPS = "io.k8s.api.apps.v1"
_STRUCTS_ALWAYS_THERE: Final[frozenset[tuple[str, str]]] = frozenset(
    {
        (f"{_CORE}.Container", "resources"),
        (f"{_CORE}.EphemeralContainer", "resources"),
        (f"{_CORE}.ContainerStatus", "state"),
        (f"{_CORE}.ContainerStatus", "lastState"),
        (f"{_CORE}.Event", "source"),
        (f"{_CORE}.NodeDaemonEndpoints", "kubeletEndpoint"),
        (f"{_CORE}.NodeStatus", "daemonEndpoints"),
        (f"{_CORE}.NodeStatus", "nodeInfo"),
        (f"{_CORE}.PersistentVolumeClaimSpec", "resources"),
        (f"{_CORE}.PodTemplate", "template"),
        (f"{_CORE}.PodTemplateSpec", "spec"),
        (f"{_CORE}.ServiceStatus", "loadBalancer"),
        (f"{_APPS}.DaemonSetSpec", "updateStrategy"),
        (f"{_APPS}.DeploymentSpec", "strategy"),
        (f"{_APPS}.ReplicaSetSpec", "template"),
        (f"{_APPS}.StatefulSetSpec", "updateStrategy"),
        ("io.k8s.api.batch.v1.JobTemplateSpec", "spec"),
        ("io.k8s.api.flowcontrol.v1.LimitedPriorityLevelConfiguration", "limitResponse"),
        ("io.k8s.api.networking.v1.IngressServiceBackend", "port"),
        ("io.k8s.api.networking.v1.IngressStatus", "loadBalancer"),
        ("io.k8s.api.networking.v1.NetworkPolicySpec", "podSelector"),
        ("io.k8s.api.resource.v1.ResourceClaimSpec", "devices"),
        ("io.k8s.api.resource.v1.AllocationResult", "devices"),
        (
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionStatus",
            "acceptedNames",
        ),
    }
)
"""Optional fields of the built-in types whose Go type is a plain struct, beyond what `_always_there` derives."""


class NotTyped(ValueError):
    """A value does not fit its schema; the text is that of kube-apiserver's typed patch errors."""


_Shape: TypeAlias = tuple[Any, ...]
"""Names of fields, and for those with parts the shape of these."""


class Structure:
    """One node of a kind's structure, as ownership sees it."""

    __slots__ = (
        "_fields",
        "_items",
        "_root",
        "_schema",
        "_values",
        "added",
        "declared",
        "form",
        "item_defaults",
        "item_keys",
        "plain_nodes",
        "scalar",
        "shapes_added",
    )

    def __init__(self, schema: Schema | None, *, root: bool = False) -> None:
        self._schema = schema
        self._root = root
        self._fields: dict[str, tuple[str, Structure, bool] | None] = {}
        self._items: Structure | None = None
        self._values: Structure | None = None
        self.form: Form = "deduced" if schema is None else _form_of(schema)
        if root and self.form in ("deduced", "map"):
            self.form = "struct"
        self.declared = self.form == "struct"
        """Whether fields have names that the schema declares."""
        self.item_keys: tuple[str, ...] = tuple(sorted(schema.list_map_keys)) if schema is not None else ()
        self.item_defaults: dict[str, Any] = {}
        if self.form == "keyed" and schema is not None and schema.items is not None:
            self.item_defaults = _item_defaults(schema)
        self.scalar = "" if schema is None else schema.kind
        self.added: ContentMap[FieldSet] | None = None
        """What whole values add to nothing, of specs: those of one template are the same."""
        self.shapes_added: dict[_Shape, FieldSet] = {}
        """What values add to nothing, by their shapes."""
        self.plain_nodes: dict[tuple[str, ...], FieldSet] = {}
        """The nodes of such values where nothing was: of conditions, of references."""

    def field(self, name: str) -> tuple[str, Structure, bool] | None:
        """(its path element, its structure, whether Go always encodes it); None when it is not declared."""
        try:
            return self._fields[name]
        except KeyError:
            found = self._find_field(name)
            if len(self._fields) < 10_000:
                self._fields[name] = found
            return found

    def _find_field(self, name: str) -> tuple[str, Structure, bool] | None:
        element = f"f:{name}"
        schema = self._schema
        if self._root and name in ("apiVersion", "kind"):
            return element, _STRING, False
        if (self._root or (schema is not None and schema.embedded_resource)) and name == "metadata":
            return element, _object_meta(), self._root and schema is not None and not schema.structural
        if schema is None:
            return None
        child = schema.properties.get(name)
        if child is None:
            return None
        structure = Structure(child)
        if self._root and name == "spec":
            structure.added = ContentMap()
        return element, structure, _always_there(schema, name, child, root=self._root)

    def child(self, name: str) -> Structure:
        """The structure of a field or of a map's value."""
        found = self.field(name) if self.declared else None
        return found[1] if found is not None else self.values

    def declared_child(self, name: str) -> Structure | None:
        """The structure of what is in an atomic map or struct; None when the schema knows no such field."""
        schema = self._schema
        if schema is None or schema.kind == "map":
            return self.values
        found = self.field(name)
        if found is not None:
            return found[1]
        return self.values if self.allows_undeclared or not schema.properties else None

    @property
    def values(self) -> Structure:
        """What a map holds, and what an undeclared field is."""
        if self._values is None:
            node = self._schema.values if self._schema is not None else None
            self._values = Structure(node) if node is not None else DEDUCED
        return self._values

    @property
    def items(self) -> Structure:
        """What a list holds."""
        if self._items is None:
            node = self._schema.items if self._schema is not None else None
            self._items = Structure(node) if node is not None else DEDUCED
        return self._items

    @property
    def encodes_nulls(self) -> bool:
        """Whether null is how an unset field of this type reads; in custom resources it is a value."""
        return self.declared and self._schema is not None and not self._schema.structural

    @property
    def allows_undeclared(self) -> bool:
        """Whether a field that the schema does not declare is allowed here."""
        schema = self._schema
        return schema is None or schema.preserve_unknown or schema.values is not None or schema.embedded_resource


def _form_of(schema: Schema) -> Form:
    kind = schema.kind
    if kind == "object":
        if schema.map_type == "atomic":
            return "atomic"
        if not schema.properties and schema.preserve_unknown:
            return "deduced"
        return "struct"
    if kind == "map":
        return "atomic" if schema.map_type == "atomic" else "map"
    if kind == "list":
        if schema.list_type == "map" and schema.list_map_keys:
            return "keyed"
        return "set" if schema.list_type == "set" else "atomic"
    if kind == "raw":
        return "atomic"
    if kind == "any":
        return "deduced" if schema.preserve_unknown else "atomic"
    return "scalar"


def _item_defaults(schema: Schema) -> dict[str, Any]:
    """The values that keys have in items that leave them out."""
    assert schema.items is not None
    defaults = dict(schema.list_map_key_defaults)
    for key in schema.list_map_keys:
        node = schema.items.properties.get(key)
        if key in defaults or node is None:
            continue
        if schema.structural:
            if "default" in node.raw:
                defaults[key] = node.raw["default"]
        elif key in schema.items.required:
            zeros = {"string": "", "integer": 0, "boolean": False}
            if node.kind in zeros:
                defaults[key] = zeros[node.kind]
    return defaults


def _always_there(parent: Schema, name: str, child: Schema, *, root: bool) -> bool:
    """Whether Go encodes this field of a built-in type even when nobody set it."""
    if parent.structural or child.kind not in ("object", "list", "map"):
        return False
    if child.definition == OBJECT_META or (root and name in ("spec", "status")):
        return True
    return name in parent.required or (parent.definition, name) in _STRUCTS_ALWAYS_THERE


def structure_of(schema: Schema) -> Structure:
    """The structure of a whole object of a kind."""
    return Structure(schema, root=True)


DEDUCED: Final = Structure(None)
"""What a schema says nothing about: maps are granular, lists atomic."""
_STRING: Final = Structure(Schema({"type": "string"}))
_meta: list[Structure] = []


def _object_meta() -> Structure:
    if not _meta:
        _meta.append(Structure(definition(OBJECT_META)))
    return _meta[0]


# --- items of lists ------------------------------------------------------------------------------


def element_of(structure: Structure, item: Any) -> str:
    """The path element of an item of a list that is a map or a set; NotTyped when it can have none."""
    if structure.form == "set":
        if isinstance(item, dict):
            raise NotTyped("associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise NotTyped("not supported: associative list with lists as elements")
        if item is None:
            raise NotTyped("associative list without keys has an element that's an explicit null")
        return value_key(item)
    if item is None:
        raise NotTyped("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise NotTyped("associative list with keys may not have non-map elements")
    if len(structure.item_keys) == 1 and (value := item.get(structure.item_keys[0])).__class__ is str:
        return item_key_of_text(structure.item_keys[0], value)
    keys = {}
    for name in structure.item_keys:
        value = item.get(name)
        if value is None:
            if name not in structure.item_defaults:
                raise NotTyped(
                    f'associative list with keys has an element that omits key field "{name}"'
                    " (and doesn't have default value)"
                )
            value = structure.item_defaults[name]
        keys[name] = value
    return item_key(keys)


def _indexed(structure: Structure, items: list[Any] | None) -> dict[str, list[Any]]:
    index: dict[str, list[Any]] = {}
    for item in items or ():
        index.setdefault(element_of(structure, item), []).append(item)
    return index


# --- comparing -----------------------------------------------------------------------------------

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
    before, after = _indexed(structure, old), _indexed(structure, new)
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
        for element, values in _indexed(structure, value).items():
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


# --- the fields of an applied configuration ------------------------------------------------------


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
        for element, values in _indexed(structure, value).items():
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


# --- merging -------------------------------------------------------------------------------------


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
    live_index = _indexed(structure, live)
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


# --- removing ------------------------------------------------------------------------------------


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


# --- checking a configuration --------------------------------------------------------------------


def check_typed(structure: Structure, config: dict[str, Any]) -> None:
    """Raise NotTyped, with every reason, unless a configuration fits its schema and names no item twice."""
    problems = list(_problems(structure, config, ()))
    if len(problems) == 1:
        raise NotTyped(problems[0])
    if problems:
        raise NotTyped("\n".join(["errors:", *(f"  {problem}" for problem in problems)]))


_GO_TYPES = {bool: "bool", str: "string", int: "int64", float: "float64", dict: "map[string]interface {}"}


def _problem(path: tuple[str, ...], text: str) -> str:
    return f"{path_text(path)}: {text}" if path else text


def _problems(structure: Structure, value: Any, path: tuple[str, ...]) -> Iterator[str]:
    if value is None:
        return
    form = structure.form
    if form == "scalar":
        wanted = _scalar_problem(structure.scalar, value)
        if wanted:
            got = _GO_TYPES.get(type(value), "[]interface {}")
            yield _problem(path, f"expected {wanted}, got {got}")
    elif form == "struct" or form == "map" or (form == "deduced" and isinstance(value, dict)):
        if not isinstance(value, dict):
            yield _problem(path, f"expected map, got &{{{value}}}")
            return
        for name in sorted(value):
            found = structure.field(name) if structure.declared else None
            if found is None and structure.declared and not structure.allows_undeclared:
                yield _problem((*path, f"f:{name}"), "field not declared in schema")
            else:
                child = found[1] if found is not None else structure.values
                yield from _problems(child, value[name], (*path, f"f:{name}"))
    elif form == "keyed" or form == "set":
        if not isinstance(value, list):
            yield _problem(path, f"expected list, got &{{{value}}}")
            return
        seen: set[str] = set()
        for position, item in enumerate(value):
            try:
                element = element_of(structure, item)
            except NotTyped as error:
                yield _problem(path, f"element {position}: {error}")
                continue
            if element in seen:
                yield _problem(path, f"duplicate entries for key {path_text((element,))}")
            seen.add(element)
            yield from _problems(structure.items, item, (*path, element))
    elif form == "atomic":
        yield from _atomic_problems(structure, value, path)


def _atomic_problems(structure: Structure, value: Any, path: tuple[str, ...]) -> Iterator[str]:
    """Atomic lists and maps are one field, but what is in them is typed all the same."""
    if structure.scalar == "list":
        if not isinstance(value, list):
            yield _problem(path, f"expected list, got &{{{value}}}")
            return
        for position, item in enumerate(value):
            yield from _problems(structure.items, item, (*path, f"i:{position}"))
    elif structure.scalar in ("object", "map"):
        if not isinstance(value, dict):
            yield _problem(path, f"expected map, got &{{{value}}}")
            return
        for name in sorted(value):
            child = structure.declared_child(name)
            if child is None:
                yield _problem((*path, f"f:{name}"), "field not declared in schema")
            else:
                yield from _problems(child, value[name], (*path, f"f:{name}"))


def _scalar_problem(kind: str, value: Any) -> str:
    if kind == "string":
        return "" if isinstance(value, str) else "string"
    if kind == "boolean":
        return "" if isinstance(value, bool) else "boolean"
    if kind in ("integer", "number"):
        numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
        return "" if numeric else "numeric (int or float)"
    return "any scalar" if isinstance(value, (dict, list)) else ""
