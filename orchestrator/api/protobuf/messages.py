"""Messages: what stands under which number, compiled to readers and writers when first needed.

Owns `fields.json`: message → field number → [JSON name, type, kind]; kind is `list`, `map`
(string keys), `inline` (the fields stand in the parent in JSON) or `pointer`. The names of
messages are those of the OpenAPI definitions without their long prefixes (`core.v1.Pod`).
Never touches the envelope (see `envelope`) or validation.

Which zeros JSON has
--------------------
Go writes every field that is no pointer, also when it is zero, and writes a pointer only when it is
set. Go's JSON leaves a zero out where the field has `omitempty`. To get the JSON that a Go client
would have sent, the reader therefore keeps an empty text, 0 or false
- where the OpenAPI definition says that the field is required (then it has no `omitempty`), and
- where the table says `pointer`: to be on the wire at all means to be set. This keeps `replicas: 0`,
  `storageClassName: ""`, `holderIdentity: ""` and `optional: false`.
Everything else that is zero is dropped. For optional numbers and booleans the table says `pointer`
wherever the Go field is one, and also for the few that are none but have no `omitempty` (such as a
PriorityClass's value): when in doubt a number is kept, since an explicit zero may mean something
and a superfluous one does not. Optional texts are rarely pointers; the table names those that are.
Messages that are present stay, also empty (`emptyDir: {}`; for struct values Go's JSON shows `{}`
as well). A zero time is dropped (Go says null). Lists and maps cannot be told from empty ones on the
wire: a missing one is left out, or is empty where it is required.

Writers write what the object has. They leave out zeros that Go would write for fields that are not
there: a reader cannot tell the difference.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

from orchestrator.api import schema
from orchestrator.api.objects import Object
from orchestrator.api.protobuf.values import OMIT, SPECIAL, Read, read_base64, read_int_or_string_value, write_base64
from orchestrator.api.protobuf.wire import (
    BYTES,
    FIXED64,
    VARINT,
    Malformed,
    chunk,
    read_varint,
    skip,
    tag_of,
    to_int32,
    to_int64,
    varint,
)

DEPTH_MAX = 200
"""Messages within messages; a CustomResourceDefinition needs two for each level of its schema."""

RAW_EXTENSION: Final = "machinery.runtime.RawExtension"
_INT_OR_STRING: Final = "machinery.util.intstr.IntOrString"
_JSON_SCHEMA: Final = "apiextensions.v1.JSONSchemaProps"

_PREFIXES: Final = {
    "apiextensions.": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.",
    "apiregistration.": "io.k8s.kube-aggregator.pkg.apis.apiregistration.",
    "machinery.": "io.k8s.apimachinery.pkg.",
    "meta.": "io.k8s.apimachinery.pkg.apis.meta.",
}

Append = Callable[[bytes], None]
Writer = Callable[[Any, Append], None]
ReadNested = Callable[[bytes, int, int, int], Any]
"""(buffer, start, end, depth) → JSON value, or OMIT."""

# How a field is read. Those below _TEXT are numbers, the others have a length.
_INT32, _INT64, _BOOL, _DOUBLE, _NUMBER_ITEM = range(5)
_TEXT, _MESSAGE, _TEXT_ITEM, _MESSAGE_ITEM, _VALUE, _VALUE_ITEM = range(5, 11)
_TEXT_ENTRY, _VALUE_ENTRY, _INLINE, _PACKED = range(11, 15)
_NUMBERS: Final = {"int32": _INT32, "int64": _INT64, "bool": _BOOL}
_CONVERSIONS: Final[dict[str, Callable[[int], Any]]] = {"int32": to_int32, "int64": to_int64, "bool": bool}


@cache
def table() -> dict[str, dict[str, list[str]]]:
    """The whole of `fields.json`; read once."""
    loaded: dict[str, dict[str, list[str]]] = orjson.loads(Path(__file__).with_name("fields.json").read_bytes())
    return loaded


def definition_name(message: str) -> str:
    """The OpenAPI definition of a message: `io.k8s.api.core.v1.Pod` for `core.v1.Pod`."""
    for short, full in _PREFIXES.items():
        if message.startswith(short):
            return full + message.removeprefix(short)
    return f"io.k8s.api.{message}"


def message_name(definition: str) -> str:
    """The opposite of `definition_name`."""
    for short, full in sorted(_PREFIXES.items(), key=lambda item: -len(item[1])):
        if definition.startswith(full):
            return short + definition.removeprefix(full)
    return definition.removeprefix("io.k8s.api.")


class Message:
    """One message type; readers and writers are compiled when it is first used."""

    __slots__ = ("_required", "empties", "fields", "has_inline", "name", "numbers", "writers")

    def __init__(self, name: str, required: frozenset[str] | None = None) -> None:
        self.name = name
        self._required = required
        self.fields: dict[int, tuple[int, str, Any]] | None = None
        """Tag → (how to read it, JSON name, argument)."""
        self.numbers: frozenset[int] = frozenset()
        self.empties: tuple[tuple[str, type], ...] = ()
        """Required lists and maps, which are empty when they are not on the wire."""
        self.writers: list[tuple[str, Writer]] = []
        """(JSON name, writer) in the order of field numbers; an inline message has no name."""
        self.has_inline = False

    # Reading.

    def read(self, data: bytes, pos: int, end: int, depth: int) -> Object:
        """The JSON object of one message."""
        result: Object = {}
        self.read_into(result, data, pos, end, depth)
        return result

    def read_into(self, result: Object, data: bytes, pos: int, end: int, depth: int) -> None:
        """Add the fields of one message to an object; raises Malformed."""
        if depth > DEPTH_MAX:
            raise Malformed(f"messages are nested more than {DEPTH_MAX} deep")
        fields = self.fields
        if fields is None:
            fields = self._compile()
        while pos < end:
            tag = data[pos]
            pos += 1
            if tag > 127:
                tag, pos = read_varint(data, pos - 1)
            field = fields.get(tag)
            if field is None:
                if tag >> 3 in self.numbers:
                    raise Malformed(f"field {tag >> 3} of {self.name} has the wire type {tag & 7}")
                pos = skip(data, pos, end, tag)
                continue
            how, name, argument = field
            if how < _TEXT:
                if how == _DOUBLE:
                    number = struct.unpack_from("<d", data, pos)[0]
                    pos += 8
                    if number == number // 1 and abs(number) < 1 << 53:
                        number = int(number)
                    result[name] = number
                    continue
                number = data[pos]
                pos += 1
                if number > 127:
                    number, pos = read_varint(data, pos - 1)
                if how == _INT32:
                    if number or argument:
                        result[name] = to_int32(number) if number > 0x7FFFFFFF else number
                elif how == _BOOL:
                    if number or argument:
                        result[name] = number != 0
                elif how == _INT64:
                    if number or argument:
                        result[name] = to_int64(number)
                else:
                    result.setdefault(name, []).append(argument(number))
                continue
            size = data[pos]
            pos += 1
            if size > 127:
                size, pos = read_varint(data, pos - 1)
            stop = pos + size
            if stop > end:
                raise Malformed(f"unexpected end in field {tag >> 3} of {self.name}")
            if how == _TEXT:
                if size or argument:
                    result[name] = data[pos:stop].decode()
            elif how == _MESSAGE:
                result[name] = argument.read(data, pos, stop, depth + 1)
            elif how == _MESSAGE_ITEM:
                result.setdefault(name, []).append(argument.read(data, pos, stop, depth + 1))
            elif how == _TEXT_ITEM:
                result.setdefault(name, []).append(data[pos:stop].decode())
            elif how == _TEXT_ENTRY:
                key, start, finish = _read_entry(data, pos, stop)
                result.setdefault(name, {})[key] = data[start:finish].decode()
            elif how == _VALUE:
                value = argument(data, pos, stop, depth + 1)
                if value is not OMIT:
                    result[name] = value
            elif how == _VALUE_ITEM:
                value = argument(data, pos, stop, depth + 1)
                result.setdefault(name, []).append(None if value is OMIT else value)
            elif how == _VALUE_ENTRY:
                key, start, finish = _read_entry(data, pos, stop)
                value = argument(data, start, finish, depth + 1)
                result.setdefault(name, {})[key] = None if value is OMIT else value
            elif how == _INLINE:
                argument.read_into(result, data, pos, stop, depth + 1)
            else:
                _read_packed(result.setdefault(name, []), argument, data, pos, stop)
            pos = stop
        if pos != end:
            raise Malformed(f"unexpected end of {self.name}")
        for name, empty in self.empties:
            if name not in result:
                result[name] = empty()

    # Writing.

    def write(self, obj: Mapping[str, Any]) -> bytes:
        """The bytes of one message; fields that the message does not have are left out."""
        if self.fields is None:
            self._compile()
        parts: list[bytes] = []
        append = parts.append
        get = obj.get
        if self.has_inline:
            for name, write in self.writers:
                value = get(name) if name else obj
                if value is not None:
                    write(value, append)
        else:
            for name, write in self.writers:
                value = get(name)
                if value is not None:
                    write(value, append)
        return b"".join(parts)

    # Compiling.

    def _compile(self) -> dict[int, tuple[int, str, Any]]:
        required = self._required
        if required is None:
            name, known = definition_name(self.name), schema.definitions()
            required = frozenset(known.structure_of(name).get("required") or ()) if name in known else frozenset()
        fields: dict[int, tuple[int, str, Any]] = {}
        writers: list[tuple[str, Writer]] = []
        empties: list[tuple[str, type]] = []
        numbers = sorted((int(number), entry) for number, entry in table()[self.name].items())
        for number, (name, type_name, *rest) in numbers:
            kind = rest[0] if rest else ""
            if kind == "inline":
                # What is required of an inline message is said by the definition that it is part of.
                inner = Message(type_name, required)
                fields[number << 3 | BYTES] = (_INLINE, "", inner)
                writers.append(("", _inline_writer(tag_of(number, BYTES), inner)))
                self.has_inline = True
                continue
            if kind in ("list", "map") and name in required:
                empties.append((name, list if kind == "list" else dict))
            for wire_type, how, argument in _readers(type_name, kind, keeps_zero=kind == "pointer" or name in required):
                fields[number << 3 | wire_type] = (how, name, argument)
            writers.append((name, _writer(number, type_name, kind)))
        self.numbers = frozenset(number for number, _ in numbers)
        self.empties = tuple(empties)
        self.writers = writers
        self.fields = fields
        return fields


@cache
def message(name: str) -> Message:
    """The message of this name, shared; KeyError when there is none."""
    if name not in table():
        raise KeyError(name)
    return Message(name)


# Readers.


def _read_entry(data: bytes, pos: int, end: int) -> tuple[str, int, int]:
    """The key of a map entry, and where its value stands; a missing value is an empty one."""
    key, start, finish = "", end, end
    while pos < end:
        tag, pos = read_varint(data, pos)
        if tag not in (10, 18):
            pos = skip(data, pos, end, tag)
            continue
        size, pos = read_varint(data, pos)
        if pos + size > end:
            raise Malformed("unexpected end of a map entry")
        if tag == 10:
            key = data[pos : pos + size].decode()
        else:
            start, finish = pos, pos + size
        pos += size
    return key, start, finish


def _read_packed(items: list[Any], convert: Callable[[int], Any], data: bytes, pos: int, end: int) -> None:
    while pos < end:
        number, pos = read_varint(data, pos)
        items.append(convert(number))
    if pos != end:
        raise Malformed("unexpected end of a list of numbers")


def _payload_reader(read: Read) -> ReadNested:
    return lambda data, pos, end, depth: read(data[pos:end])


def _nested_reader(type_name: str, kind: str, keeps_zero: bool) -> ReadNested | None:
    """The reader of a type whose JSON is no object; None when it is one."""
    if type_name == "bytes":
        if kind in ("list", "map") or keeps_zero:
            return _payload_reader(read_base64)
        return _payload_reader(lambda payload: read_base64(payload) if payload else OMIT)
    if type_name == _INT_OR_STRING and not kind and not keeps_zero:
        return _payload_reader(read_int_or_string_value)
    if type_name == RAW_EXTENSION:
        return _read_raw_extension
    if type_name in _UNIONS:
        return _UNIONS[type_name][0]
    special = SPECIAL.get(type_name)
    return _payload_reader(special[0]) if special else None


def _readers(type_name: str, kind: str, *, keeps_zero: bool) -> list[tuple[int, int, Any]]:
    """(wire type, how, argument) of a field; lists of numbers may come packed or one by one."""
    if type_name in _NUMBERS:
        if kind == "list":
            convert = _CONVERSIONS[type_name]
            return [(VARINT, _NUMBER_ITEM, convert), (BYTES, _PACKED, convert)]
        return [(VARINT, _NUMBERS[type_name], keeps_zero)]
    if type_name == "double":
        return [(FIXED64, _DOUBLE, None)]
    if type_name == "string":
        how = {"list": _TEXT_ITEM, "map": _TEXT_ENTRY}.get(kind, _TEXT)
        return [(BYTES, how, keeps_zero)]
    read = _nested_reader(type_name, kind, keeps_zero)
    if read is None:
        nested = message(type_name)
        if kind == "map":
            return [(BYTES, _VALUE_ENTRY, nested.read)]
        return [(BYTES, _MESSAGE_ITEM if kind == "list" else _MESSAGE, nested)]
    return [(BYTES, {"list": _VALUE_ITEM, "map": _VALUE_ENTRY}.get(kind, _VALUE), read)]


# Writers.


def _payload_writer(type_name: str) -> Callable[[Any], bytes]:
    """JSON value → payload, of any type that has a length."""
    if type_name == "string":
        return str.encode
    if type_name == "bytes":
        return write_base64
    if type_name == RAW_EXTENSION:
        return SPECIAL["apiextensions.v1.JSON"][1]
    if type_name in _UNIONS:
        return _UNIONS[type_name][1]
    special = SPECIAL.get(type_name)
    return special[1] if special else message(type_name).write


def _inline_writer(tag: bytes, inner: Message) -> Writer:
    def write(obj: Any, append: Append) -> None:
        append(chunk(tag, inner.write(obj)))

    return write


def _writer(number: int, type_name: str, kind: str) -> Writer:
    if type_name in _NUMBERS:
        return _number_writer(tag_of(number, VARINT), kind)
    if type_name == "double":
        return _double_writer(tag_of(number, FIXED64))
    tag = tag_of(number, BYTES)
    encode = _payload_writer(type_name)
    if kind == "list":
        return _list_writer(tag, encode)
    if kind == "map":
        return _map_writer(tag, encode)

    def write(value: Any, append: Append) -> None:
        payload = encode(value)
        append(tag + varint(len(payload)) + payload)

    return write


def _number_writer(tag: bytes, kind: str) -> Writer:
    if kind == "list":

        def write_all(value: Any, append: Append) -> None:
            for item in value:
                append(tag + varint(int(item)))

        return write_all

    def write(value: Any, append: Append) -> None:
        append(tag + varint(int(value)))

    return write


def _double_writer(tag: bytes) -> Writer:
    def write(value: Any, append: Append) -> None:
        append(tag + struct.pack("<d", value))

    return write


def _list_writer(tag: bytes, encode: Callable[[Any], bytes]) -> Writer:
    def write(value: Any, append: Append) -> None:
        for item in value:
            payload = b"" if item is None else encode(item)
            append(tag + varint(len(payload)) + payload)

    return write


def _map_writer(tag: bytes, encode: Callable[[Any], bytes]) -> Writer:
    key_tag, value_tag = tag_of(1, BYTES), tag_of(2, BYTES)

    def write(value: Any, append: Append) -> None:
        # In the order of keys, as Go writes maps.
        for key in sorted(value):
            # Null stays in a map, as the zero value (a time, for example, has no other way to say that).
            payload = b"" if value[key] is None else encode(value[key])
            append(chunk(tag, chunk(key_tag, key.encode()) + chunk(value_tag, payload)))

    return write


# Types that are one of several things in JSON.


def _read_raw_extension(data: bytes, pos: int, end: int, depth: int) -> Any:
    """Raw bytes: JSON text, or an object in its own envelope."""
    found = OMIT
    while pos < end:
        tag, pos = read_varint(data, pos)
        if tag != 10:
            pos = skip(data, pos, end, tag)
            continue
        size, pos = read_varint(data, pos)
        if pos + size > end:
            raise Malformed("unexpected end of raw bytes")
        raw = data[pos : pos + size]
        if raw.startswith(b"k8s\x00"):
            from orchestrator.api.protobuf.envelope import read_envelope

            found = read_envelope(raw, depth + 1)
        elif raw:
            found = orjson.loads(raw)
        pos += size
    return found


def _read_schema_or_array(data: bytes, pos: int, end: int, depth: int) -> Any:
    obj = message("apiextensions.v1.JSONSchemaPropsOrArray").read(data, pos, end, depth)
    return obj["jSONSchemas"] if obj.get("jSONSchemas") else obj.get("schema", OMIT)


def _write_schema_or_array(value: Any) -> bytes:
    key = "jSONSchemas" if isinstance(value, list) else "schema"
    return message("apiextensions.v1.JSONSchemaPropsOrArray").write({key: value})


def _read_schema_or_bool(data: bytes, pos: int, end: int, depth: int) -> Any:
    obj = message("apiextensions.v1.JSONSchemaPropsOrBool").read(data, pos, end, depth)
    return obj["schema"] if "schema" in obj else bool(obj.get("allows"))


def _write_schema_or_bool(value: Any) -> bytes:
    # As Go's unmarshaler has it: a schema allows.
    fields = {"allows": value} if isinstance(value, bool) else {"allows": True, "schema": value}
    return message("apiextensions.v1.JSONSchemaPropsOrBool").write(fields)


def _read_schema_or_texts(data: bytes, pos: int, end: int, depth: int) -> Any:
    obj = message("apiextensions.v1.JSONSchemaPropsOrStringArray").read(data, pos, end, depth)
    return obj["property"] if obj.get("property") else obj.get("schema", OMIT)


def _write_schema_or_texts(value: Any) -> bytes:
    key = "property" if isinstance(value, list) else "schema"
    return message("apiextensions.v1.JSONSchemaPropsOrStringArray").write({key: value})


_UNIONS: Final[dict[str, tuple[ReadNested, Callable[[Any], bytes]]]] = {
    f"{_JSON_SCHEMA}OrArray": (_read_schema_or_array, _write_schema_or_array),
    f"{_JSON_SCHEMA}OrBool": (_read_schema_or_bool, _write_schema_or_bool),
    f"{_JSON_SCHEMA}OrStringArray": (_read_schema_or_texts, _write_schema_or_texts),
}
