"""Protobuf messages of the interfaces that drivers implement, declared as tables instead of generated.

    PluginInfo = {"type": "1 string", "supported_versions": "4 repeated string"}

A field is its number and its type: a scalar of proto3, a message of the same package, `repeated` one of them, or
`map` (from texts to that type). Fields of a oneof are written as plain ones, enums as int32: the wire is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

Fields = Mapping[str, str]
"""Field name → its number and type."""

_SCALARS = {
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "string": FieldDescriptorProto.TYPE_STRING,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
}


def declare(package: str, messages: Mapping[str, Fields]) -> dict[str, Any]:
    """The classes of all messages of a package, by name."""
    file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, text in fields.items():
            number, *kind, type_name = text.split()
            _add_field(package, message, field, int(number), kind, type_name)
    pool = DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}


def _add_field(
    package: str, message: DescriptorProto, name: str, number: int, kind: list[str], type_name: str
) -> None:  # fmt: skip
    field = message.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if kind:
        field.label = FieldDescriptorProto.LABEL_REPEATED
    if kind == ["map"]:
        entry = message.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _add_field(package, entry, "key", 1, [], "string")
        _add_field(package, entry, "value", 2, [], type_name)
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{package}.{message.name}.{entry.name}"
    elif type_name in _SCALARS:
        field.type = _SCALARS[type_name]
    else:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{package}.{type_name}"
