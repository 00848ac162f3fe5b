"""From a structural schema to the types that CEL expressions are checked against.

Objects become message types of a descriptor pool, so that the checker knows their fields; lists and maps
keep their element types. Mirrors SchemaDeclType of k8s.io/apiserver/pkg/cel/common.
# Simplified: lists of lists, and maps of lists or maps, have elements of type dyn below an object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.api.structural.cel.library import OPAQUE, OPAQUE_PACKAGE
from orchestrator.api.structural.cel.names import escape
from orchestrator.api.structural.cel.values import as_resource
from orchestrator.api.structural.values import Node

_PACKAGE = "object"
_STRING, _BYTES, _BOOL, _DOUBLE, _INT64, _MESSAGE = 9, 12, 8, 1, 3, 11
_SCALARS = {"string": _STRING, "boolean": _BOOL, "number": _DOUBLE, "integer": _INT64}
_FORMATTED = {
    "byte": (_BYTES, ""),
    "duration": (_MESSAGE, ".google.protobuf.Duration"),
    "date": (_MESSAGE, ".google.protobuf.Timestamp"),
    "date-time": (_MESSAGE, ".google.protobuf.Timestamp"),
}
_ANYTHING = (_MESSAGE, ".google.protobuf.Value")


class TypeRegistry:
    """The types of one or several schemas; build all of them first, then take the pool.

    `resolve` leads from the name in a `$ref` to its node; structural schemas have none.
    """

    def __init__(self, resolve: Callable[[str], Node] | None = None) -> None:
        from google.protobuf import descriptor_pb2, duration_pb2, struct_pb2, timestamp_pb2

        self._wellknown = [module.DESCRIPTOR.serialized_pb for module in (struct_pb2, timestamp_pb2, duration_pb2)]
        self._file = descriptor_pb2.FileDescriptorProto(
            name="schema.proto",
            package=_PACKAGE,
            syntax="proto3",
            dependency=[module.DESCRIPTOR.name for module in (struct_pb2, timestamp_pb2, duration_pb2)],
        )
        self._count = 0
        self._resolve = resolve
        self._named: dict[str, str] = {}
        """`$ref` → message type; also of those that are still being built, as definitions may be recursive."""

    def pool(self) -> Any:
        """The descriptor pool with every type declared so far."""
        from google.protobuf import descriptor_pb2, descriptor_pool

        pool = descriptor_pool.DescriptorPool()
        for serialized in self._wellknown:
            pool.AddSerializedFile(serialized)
        library = descriptor_pb2.FileDescriptorProto(name="library.proto", package=OPAQUE_PACKAGE, syntax="proto3")
        for name in OPAQUE:
            library.message_type.add(name=name)
        pool.AddSerializedFile(library.SerializeToString())
        pool.AddSerializedFile(self._file.SerializeToString())
        return pool

    def type_of(self, schema: Node, *, is_resource: bool = False) -> Any:
        """The CEL type of a node, or None for what expressions cannot see."""
        from cel_expr_python import cel

        types = cel.Type
        schema, reference = self._resolved(schema)
        if schema.get("x-kubernetes-int-or-string"):
            return types.DYN
        if is_resource:
            schema = as_resource(schema)
        kind = schema.get("type")
        if kind == "array":
            items = schema.get("items")
            if not isinstance(items, Mapping):
                return None
            inner = self.type_of(items, is_resource=bool(items.get("x-kubernetes-embedded-resource")))
            return None if inner is None else types.List(inner)
        if kind == "object":
            additional = schema.get("additionalProperties")
            if isinstance(additional, Mapping):
                inner = self.type_of(additional, is_resource=bool(additional.get("x-kubernetes-embedded-resource")))
                return None if inner is None else types.Map(types.STRING, inner)
            return types(f"{_PACKAGE}.{self._message(schema, reference)}")
        if kind == "string":
            formatted = {
                "byte": types.BYTES, "duration": types.DURATION, "date": types.TIMESTAMP, "date-time": types.TIMESTAMP,
            }  # fmt: skip
            return formatted.get(schema.get("format") or "", types.STRING)
        return {"boolean": types.BOOL, "number": types.DOUBLE, "integer": types.INT}.get(str(kind))

    def _resolved(self, schema: Node) -> tuple[Node, str]:
        """The node that a reference leads to, and the reference."""
        reference = str(schema.get("$ref") or "")
        if not reference or self._resolve is None:
            return schema, ""
        return self._resolve(reference), reference

    def _message(self, schema: Node, reference: str = "") -> str:
        if reference in self._named:
            return self._named[reference]
        self._count += 1
        name = f"T{self._count}"
        if reference:
            self._named[reference] = name
        message = self._file.message_type.add(name=name)
        # `a_b` and `aB` are two fields; that protobuf derives one JSON name from both is of no interest here.
        message.options.deprecated_legacy_json_field_conflicts = True
        for property_name, node in (schema.get("properties") or {}).items():
            escaped = escape(property_name)
            if escaped is not None:
                self._field(message, escaped, node)
        return name

    def _field(self, message: Any, name: str, node: Node) -> None:
        number = len(message.field) + 1
        node, reference = self._resolved(node)
        kind, additional = node.get("type"), node.get("additionalProperties")
        # protobuf forbids two fields whose JSON names are equal (a_b, aB); an explicit one keeps them apart
        json_name = f"f{number}"
        if kind == "array" and not node.get("x-kubernetes-int-or-string"):
            items = node.get("items")
            if isinstance(items, Mapping) and (element := self._element(items)) is not None:
                _typed(message.field.add(name=name, number=number, label=3, json_name=json_name), element)
            return
        if kind == "object" and isinstance(additional, Mapping):
            element = self._element(additional)
            if element is None:
                return
            entry_name = _entry_name(name)
            if any(one.name == entry_name for one in message.nested_type):
                # Two maps whose names differ in underscores alone: the second one is of type dyn.
                _typed(message.field.add(name=name, number=number, label=1, json_name=json_name), _ANYTHING)
                return
            entry = message.nested_type.add(name=entry_name)
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, label=1, type=_STRING)
            _typed(entry.field.add(name="value", number=2, label=1), element)
            field = message.field.add(name=name, number=number, label=3, type=_MESSAGE, json_name=json_name)
            field.type_name = f".{_PACKAGE}.{message.name}.{entry_name}"
            return
        element = self._element(node, reference)
        if element is not None:
            _typed(message.field.add(name=name, number=number, label=1, json_name=json_name), element)

    def _element(self, node: Node, reference: str = "") -> tuple[int, str] | None:
        if not reference:
            node, reference = self._resolved(node)
        if node.get("x-kubernetes-int-or-string"):
            return _ANYTHING
        kind = node.get("type")
        if kind == "array" or (kind == "object" and isinstance(node.get("additionalProperties"), Mapping)):
            return _ANYTHING
        if kind == "object":
            seen = as_resource(node) if node.get("x-kubernetes-embedded-resource") else node
            return _MESSAGE, f".{_PACKAGE}.{self._message(seen, reference)}"
        if kind == "string" and node.get("format") in _FORMATTED:
            return _FORMATTED[str(node["format"])]
        scalar = _SCALARS.get(str(kind))
        return (scalar, "") if scalar is not None else None


def _entry_name(field_name: str) -> str:
    """The name that protobuf demands for the entries of a map field: its name in camel case, and `Entry`."""
    return "".join(part[:1].upper() + part[1:] for part in field_name.split("_")) + "Entry"


def _typed(field: Any, element: tuple[int, str]) -> None:
    field.type = element[0]
    if element[1]:
        field.type_name = element[1]
