"""The structure of every kind: fields, types, list and map semantics, merge keys, descriptions.

Owns the reading of the OpenAPI definitions that the `kubernetes-validate` package carries (found on disk,
never imported, each definition parsed when first asked for) and of structural schemas of CustomResourceDefinitions.
Never holds defaults or validation rules. Mirrors the generated OpenAPI of kube-apiserver v1.36 and
k8s.io/apiextensions-apiserver/pkg/apiserver/schema. Nodes resolve their children when first looked at,
so a process pays only for the kinds it serves.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import orjson

Kind = Literal[
    "object", "map", "list", "string", "integer", "number", "boolean", "any", "int-or-string", "quantity", "time", "raw"
]  # fmt: skip

OBJECT_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

_API_VERSION = (1, 36)
_VERSION_DIRECTORY = re.compile(r"v(\d+)\.(\d+)\.(\d+)-local")
_REF_PREFIX = "#/$defs/"
_PLAIN_REFERENCE = frozenset(("$ref", "description"))

_SPECIAL_KINDS: dict[str, Kind] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "time",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "raw",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "raw",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch": "raw",
}
_MICRO_TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"
_GO_SCALARS = {
    "boolean": "bool", "string": "string", "number": "float64", "int-or-string": "intstr.IntOrString",
    "quantity": "resource.Quantity", "any": "interface {}",
}  # fmt: skip


class Schema:
    """One node of a kind's structure; immutable, shared, children resolved lazily."""

    __slots__ = (
        "_items",
        "_properties",
        "_raw",
        "_raw_items",
        "_values",
        "compiled",
        "definition",
        "embedded_resource",
        "format",
        "kind",
        "list_map_keys",
        "list_type",
        "map_type",
        "merge_key",
        "patch_strategies",
        "preserve_unknown",
        "required",
        "structural",
    )

    def __init__(self, node: Mapping[str, Any], *, structural: bool = False) -> None:
        raw = node
        name = ""
        if not structural and "$ref" in node:
            name = node["$ref"].removeprefix(_REF_PREFIX)
            raw = definitions().structure_of(name)
        self._raw = raw
        self.definition: str = name
        """The OpenAPI definition behind this node, such as `io.k8s.api.core.v1.PodSpec`; may be empty."""
        self.structural = structural
        """Whether this comes from a CustomResourceDefinition: fields are pruned, types are left to validation."""

        def extension(key: str, default: Any = None) -> Any:
            value = node.get(key)
            return raw.get(key, default) if value is None else value

        self.format: str = "micro-time" if name == _MICRO_TIME else raw.get("format") or ""
        self.preserve_unknown: bool = bool(extension("x-kubernetes-preserve-unknown-fields", False))
        self.embedded_resource: bool = bool(extension("x-kubernetes-embedded-resource", False))
        self.kind: Kind = _kind_of(raw, name)
        self.required: frozenset[str] = frozenset(raw.get("required") or ())
        self.list_type: str = extension("x-kubernetes-list-type", "atomic") or "atomic"
        """`atomic`, `set` or `map` (only meaningful for lists)."""
        self.list_map_keys: tuple[str, ...] = tuple(extension("x-kubernetes-list-map-keys", ()) or ())
        self.map_type: str = extension("x-kubernetes-map-type", "granular") or "granular"
        """`granular` or `atomic` (only meaningful for objects and maps)."""
        self.merge_key: str = extension("x-kubernetes-patch-merge-key", "") or ""
        strategies = extension("x-kubernetes-patch-strategy", "") or ""
        self.patch_strategies: frozenset[str] = frozenset(filter(None, strategies.split(",")))
        """Any of `merge`, `replace`, `retainKeys`: how strategic merge patches treat this field."""
        self._properties: dict[str, Schema] | None = None
        self._raw_items: Any = raw.get("items")
        self._items: Schema | None = None
        self._values: Schema | None = None
        self.compiled: Any = None
        """A slot for the decoder's compiled check of this node."""

    @property
    def properties(self) -> dict[str, Schema]:
        """The fields of an object, in the order in which they are published; empty for other kinds."""
        if self._properties is None:
            self._properties = {name: self._below(node) for name, node in (self._raw.get("properties") or {}).items()}
        return self._properties

    @property
    def items(self) -> Schema | None:
        """What a list holds."""
        if self._items is None and isinstance(self._raw_items, Mapping):
            self._items = self._below(self._raw_items)
        return self._items

    @property
    def values(self) -> Schema | None:
        """What a map holds."""
        if self._values is None:
            node = self._raw.get("additionalProperties")
            if isinstance(node, Mapping):
                self._values = self._below(node)
            elif node is True:
                self._values = Schema({"x-kubernetes-preserve-unknown-fields": True}, structural=self.structural)
        return self._values

    def _below(self, node: Mapping[str, Any]) -> Schema:
        """A node below this one; what is nothing but a reference to a definition has one node wherever it stands."""
        if not self.structural and node.keys() <= _PLAIN_REFERENCE:
            return definition(node["$ref"].removeprefix(_REF_PREFIX))
        return Schema(node, structural=self.structural)

    @property
    def raw(self) -> Mapping[str, Any]:
        """The OpenAPI node itself, for what has no attribute here (enum, default, validations). Do not modify.

        Those of built-in kinds have no descriptions: `definitions` has.
        """
        return self._raw

    @property
    def list_map_key_defaults(self) -> dict[str, Any]:
        """Values that list-map keys have when they are left out: the protocol of ports is TCP."""
        return {"protocol": "TCP"} if "protocol" in self.list_map_keys and not self.structural else {}

    @property
    def struct_name(self) -> str:
        """The bare type name that error messages show: `PodSpec`."""
        return self.definition.rpartition(".")[2]

    @property
    def go_type(self) -> str:
        """The type as the API server's messages name it: `int32`, `v1.PodSpec`, `[]v1.Container`.

        Simplified: named string types (`v1.RestartPolicy`) are not in the OpenAPI and read `string`.
        """
        kind = self.kind
        if kind == "integer":
            return self.format if self.format in ("int32", "int64") else "int64"
        if kind == "string" and self.format == "byte":
            return "[]uint8"
        if kind == "number" and self.format == "float":
            return "float32"
        if kind == "list":
            return f"[]{self.items.go_type if self.items else 'interface {}'}"
        if kind == "map":
            values = self.values
            if values is not None and values.kind == "quantity":
                return "v1.ResourceList"
            return f"map[string]{values.go_type if values else 'interface {}'}"
        if self.definition:
            return ".".join(self.definition.split(".")[-2:])
        return _GO_SCALARS.get(kind, "map[string]interface {}")

    def __repr__(self) -> str:
        return f"Schema({self.kind}, {self.definition or self.go_type})"


def _kind_of(raw: Mapping[str, Any], name: str) -> Kind:
    if special := _SPECIAL_KINDS.get(name):
        return special
    if raw.get("x-kubernetes-int-or-string"):
        return "int-or-string"
    declared = raw.get("type")
    if isinstance(declared, list):
        declared = next((item for item in declared if item != "null"), None)
    if declared == "array":
        return "list"
    if declared == "object" or (declared is None and ("properties" in raw or "additionalProperties" in raw)):
        if raw.get("properties"):
            return "object"
        additional = raw.get("additionalProperties")
        if isinstance(additional, Mapping) or additional is True:
            return "map"
        return "object"
    kinds: dict[str | None, Kind] = {
        "string": "string", "integer": "integer", "number": "number", "boolean": "boolean",
    }  # fmt: skip
    return kinds.get(declared, "any")


def _definitions_file() -> Path:
    spec = find_spec("kubernetes_validate")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package kubernetes-validate, which carries the API's structure, is not installed")
    root = Path(next(iter(spec.submodule_search_locations))) / "kubernetes-json-schema"
    found: dict[tuple[int, int, int], Path] = {}
    for directory in root.iterdir():
        if match := _VERSION_DIRECTORY.fullmatch(directory.name):
            found[(int(match[1]), int(match[2]), int(match[3]))] = directory
    if not found:
        raise RuntimeError(f"no API definitions below {root}")
    claimed = [version for version in found if version[:2] == _API_VERSION]
    return found[max(claimed or found)] / "_definitions.json"


class _File(msgspec.Struct):
    definitions: dict[str, msgspec.Raw] = msgspec.field(name="$defs")


class _Kinds(msgspec.Struct):
    kinds: list[dict[str, str]] = msgspec.field(name="x-kubernetes-group-version-kind", default_factory=list)


def _without_descriptions(node: Any) -> Any:
    if isinstance(node, dict):
        # A field may have this name: then it is no text.
        return {
            key: _without_descriptions(value)
            for key, value in node.items()
            if key != "description" or not isinstance(value, str)
        }
    return [_without_descriptions(value) for value in node] if isinstance(node, list) else node


class Definitions(Mapping[str, dict[str, Any]]):
    """The definitions by name, each parsed when it is looked at: a process looks at half of them, if at all.

    The rest stays where it is, in the file, and so do the descriptions of those whose structure is asked for.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._raw = msgspec.json.decode(self._content, type=_File).definitions
        self._let_go()
        self._structures: dict[str, dict[str, Any]] = {}

    def __getitem__(self, name: str) -> dict[str, Any]:
        parsed: dict[str, Any] = orjson.loads(memoryview(self._raw[name]))
        self._let_go()
        return parsed

    def structure_of(self, name: str) -> dict[str, Any]:
        """A definition without descriptions, which is kept. Do not modify."""
        found = self._structures.get(name)
        if found is None:
            found = self._structures[name] = _without_descriptions(self[name])
        return found

    def _let_go(self) -> None:
        """Have the system take back the pages that were read: it maps many around each."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._content.madvise(mmap.MADV_DONTNEED)

    def __contains__(self, name: object) -> bool:
        return name in self._raw

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def names_by_kind(self) -> dict[tuple[str, str, str], str]:
        """(group, version, kind) → name, of those that are kinds."""
        decoder = msgspec.json.Decoder(_Kinds)
        return {
            (entry["group"], entry["version"], entry["kind"]): name
            for name, raw in self._raw.items()
            for entry in decoder.decode(raw).kinds
        }


@lru_cache(maxsize=1)
def definitions() -> Definitions:
    """Every OpenAPI definition of the API. Do not modify."""
    return Definitions(_definitions_file())


@lru_cache(maxsize=1)
def _names_by_kind() -> dict[tuple[str, str, str], str]:
    return definitions().names_by_kind()


@cache  # bounded by the number of definitions
def definition(name: str) -> Schema:
    """The node of a definition such as `io.k8s.api.core.v1.Pod`; KeyError when there is none."""
    if name not in definitions():
        raise KeyError(name)
    return Schema({"$ref": _REF_PREFIX + name})


def for_kind(group: str, version: str, kind: str) -> Schema:
    """The node of a kind; KeyError when the published API has no such kind."""
    return definition(_names_by_kind()[(group, version, kind)])


def has_kind(group: str, version: str, kind: str) -> bool:
    """Whether the published API has this kind."""
    return (group, version, kind) in _names_by_kind()


def schema_from_openapi_v3(schema: Mapping[str, Any]) -> Schema:
    """The node of a CustomResourceDefinition's structural schema (`spec.versions[].schema.openAPIV3Schema`)."""
    return Schema(schema, structural=True)
