"""The definitions of types in their published form, built-in and custom.

Owns the way back from the definitions that `orchestrator.api.schema` reads (made for validators: nullable types, no
formats for Quantity and IntOrString, enums for apiVersion and kind). Keeps converted definitions, which are constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, Literal

import orjson
from msgspec import Struct

from orchestrator.api import schema
from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object

Version = Literal["v2", "v3"]

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
VERSION_INFO = "io.k8s.apimachinery.pkg.version.Info"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_SOURCE_PREFIX = "#/$defs/"
REFERENCE_PREFIX: Final[dict[Version, str]] = {"v2": "#/definitions/", "v3": "#/components/schemas/"}
_A_LIST: Final = "io.k8s.api.core.v1.PodList"


def _described(field: str, definition: str = "io.k8s.api.core.v1.Pod") -> Object:
    """The description of a field that all kinds have, in the published words."""
    return {"description": schema.definitions()[definition]["properties"][field]["description"]}


def _type_meta() -> Object:
    return {field: {"type": "string", **_described(field)} for field in ("apiVersion", "kind")}


def published(name: str, version: Version) -> Object:
    """One built-in definition in its published form; a fresh value."""
    node = schema.definitions()[name]
    if name == _QUANTITY:
        text = "A number with an optional suffix: 100m, 1.5Gi, 2e3. It keeps its format and its precision."
        if version == "v3":
            return {"description": text, "oneOf": [{"type": "string"}, {"type": "number"}]}
        return {"description": text, "type": "string"}
    if name == _INT_OR_STRING:
        text = "An int32 or a string; in JSON and YAML either may stand."
        if version == "v3":
            return {"description": text, "format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
        return {"description": text, "format": "int-or-string", "type": "string"}
    converted = _published_node(node, version)
    if "x-kubernetes-group-version-kind" in node:
        for field in ("apiVersion", "kind"):
            if field in converted.get("properties", {}):
                converted["properties"][field].pop("enum", None)
    return converted


def _published_node(node: Mapping[str, Any], version: Version) -> Object:
    result: Object = {}
    for key, value in node.items():
        if key == "$ref":
            continue
        if key == "type" and isinstance(value, list):
            result[key] = next(item for item in value if item != "null")
        elif key == "properties":
            result[key] = {name: _published_node(child, version) for name, child in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, Mapping):
            result[key] = _published_node(value, version)
        elif key in ("oneOf", "anyOf", "allOf"):
            result[key] = [_published_node(child, version) for child in value]
        elif value is not None:
            result[key] = value
    target = node.get("$ref")
    if target is not None:
        return _with_reference(result, REFERENCE_PREFIX[version] + target.removeprefix(_SOURCE_PREFIX), version)
    return result


def _with_reference(siblings: Object, target: str, version: Version) -> Object:
    # In OpenAPI 3.0 whatever stands beside a $ref is ignored; an allOf of one keeps the description.
    if version == "v3" and siblings:
        return {"allOf": [{"$ref": target}], **siblings}
    return {"$ref": target, **siblings}


def references_in(node: Any) -> set[str]:
    """The names of all definitions that a published node refers to."""
    found: set[str] = set()
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, Mapping):
            target = current.get("$ref")
            if isinstance(target, str):
                found.add(target.rpartition("/")[2])
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)
    return found


class Definition(Struct, frozen=True):
    """A type in published form."""

    value: Object
    encoded: bytes
    references: frozenset[str]

    @classmethod
    def of(cls, value: Object) -> Definition:
        """Encode once, and look up once what it refers to."""
        return cls(value, orjson.dumps(value, option=orjson.OPT_SORT_KEYS), frozenset(references_in(value)))


@cache  # bounded by the number of published definitions
def builtin_definition(name: str, version: Version) -> Definition:
    """A built-in type, converted and encoded once; KeyError when there is none."""
    return Definition.of(published(name, version))


def custom_definition_name(kind: Kind) -> str:
    """`com.example.stable.v1.CronTab`: a custom resource's type, named as Kubernetes names it."""
    resource = kind.resource
    return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])


def definition_name(kind: Kind) -> str:
    """The name of a kind's type."""
    return custom_definition_name(kind) if kind.schema is not None else kind.definition


def custom_definitions(kind: Kind, version: Version) -> dict[str, Definition]:
    """The types of a custom resource and of its list."""
    assert kind.schema is not None
    resource = kind.resource
    name = custom_definition_name(kind)
    item = {
        **_custom_item(kind.schema.raw, version),
        "x-kubernetes-group-version-kind": [
            {"group": resource.group, "kind": resource.kind, "version": resource.version}
        ],
    }
    listed: Object = {
        "description": f"{resource.kind}List is a list of {resource.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            **_type_meta(),
            "items": {
                "description": _described("items", _A_LIST)["description"].replace("pods", resource.plural),
                "type": "array",
                "items": {"$ref": REFERENCE_PREFIX[version] + name},
            },
            "metadata": _with_reference(
                _described("metadata", _A_LIST), f"{REFERENCE_PREFIX[version]}{META}ListMeta", version
            ),
        },
        "x-kubernetes-group-version-kind": [
            {"group": resource.group, "kind": f"{resource.kind}List", "version": resource.version}
        ],
    }
    return {name: Definition.of(item), f"{name}List": Definition.of(listed)}


def _custom_item(raw: Mapping[str, Any], version: Version) -> Object:
    """The type of a custom resource itself."""
    if version == "v2" and raw.get("x-kubernetes-preserve-unknown-fields"):
        # Clients that know some of the properties would take all others for mistakes.
        return {"type": "object"}
    item = _custom_node(raw, version)
    metadata = _with_reference(_described("metadata"), f"{REFERENCE_PREFIX[version]}{META}ObjectMeta", version)
    properties = {**item.get("properties", {}), **_type_meta(), "metadata": metadata}
    return {**item, "type": "object", "properties": properties}


_V2_DROPPED = ("oneOf", "anyOf", "not", "nullable", "default", "x-kubernetes-validations", "example")


def _custom_node(node: Mapping[str, Any], version: Version) -> Object:
    """A structural schema; for v2 without what Swagger 2.0 cannot say, so that old clients accept more, never less."""
    result: Object = {}
    for key, value in node.items():
        if version == "v2" and key in _V2_DROPPED:
            continue
        if key == "properties":
            result[key] = {name: _custom_node(child, version) for name, child in value.items()}
        elif key in ("items", "additionalProperties", "not") and isinstance(value, Mapping):
            result[key] = _custom_node(value, version)
        elif key in ("oneOf", "anyOf", "allOf"):
            result[key] = [_custom_node(child, version) for child in value]
        else:
            result[key] = value
    if version == "v2":
        if node.get("nullable") or node.get("x-kubernetes-int-or-string"):
            for key in ("type", "format", "items", "properties", "additionalProperties", "required"):
                result.pop(key, None)
        if node.get("x-kubernetes-preserve-unknown-fields"):
            for key in ("items", "properties", "additionalProperties", "required"):
                result.pop(key, None)
    if node.get("x-kubernetes-embedded-resource"):
        metadata: Object = {"$ref": f"{REFERENCE_PREFIX[version]}{META}ObjectMeta"}
        result["properties"] = {**result.get("properties", {}), **_type_meta(), "metadata": metadata}
    return result
