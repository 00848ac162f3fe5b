"""The structure of objects as ownership sees it: list types, map types, keys of items, what Go always encodes.

A `Structure` is compiled from a schema node, its children when first met; `comparing`, `merging`, `applied` and
`checking` walk objects along it. Never looks at who owns what. Mirrors the schema of
sigs.k8s.io/structured-merge-diff.

Go encodes some fields even when they are unset (structs that are no pointers, lists that are not
`omitempty`), so for kube-apiserver they are there from the beginning and nobody owns them by adding what is
in them. `_always_there` knows these fields.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from orchestrator.api.contents import ContentMap
from orchestrator.api.managed_fields.field_set import FieldSet, item_key, item_key_of_text, value_key
from orchestrator.api.schema import OBJECT_META, Schema, definition

Form = Literal["scalar", "atomic", "struct", "map", "keyed", "set", "deduced"]

MISSING: Final = type("Missing", (), {"__repr__": lambda self: "MISSING"})()
"""The value of a field that is not there; null is a value."""

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
        self.shapes_added: dict[tuple[Any, ...], FieldSet] = {}
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


def indexed(structure: Structure, items: list[Any] | None) -> dict[str, list[Any]]:
    """The items of such a list by their path elements; several under one are duplicates."""
    index: dict[str, list[Any]] = {}
    for item in items or ():
        index.setdefault(element_of(structure, item), []).append(item)
    return index
