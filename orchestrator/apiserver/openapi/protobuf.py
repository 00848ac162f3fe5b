"""`/openapi/v2` as protobuf: the OpenAPIv2 `Document` message of the gnostic project.

Clients built on client-go ask for this form (`application/com.github.proto-openapi.spec.v2@v1.0+protobuf`)
because it parses faster than JSON. Pure: a document as a value goes in, bytes come out. Only what
`orchestrator.apiserver.openapi` writes is understood; anything else raises KeyError rather than
getting lost. Field numbers are those of the message's public definition.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

import orjson

Encoder = Callable[[Any], bytes]


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _chunk(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _text(value: str) -> bytes:
    return value.encode()


def _any(value: Any) -> bytes:
    # An Any carries its value as YAML, of which JSON is a subset.
    return _chunk(2, orjson.dumps(value) + b"\n")


def _named(encode: Encoder) -> Callable[[str, Any], bytes]:
    def named(name: str, value: Any) -> bytes:
        return _chunk(1, name.encode()) + _chunk(2, encode(value))

    return named


class _Message:
    """Encodes a JSON object as one message.

    `fields` gives, for each key of the object, its number and how it is encoded; `x-` keys are vendor
    extensions under one number.
    """

    def __init__(self, extensions: int = 0) -> None:
        self.fields: dict[str, Callable[[Any], bytes]] = {}
        self.extensions = extensions

    def texts(self, **numbers: int) -> _Message:
        for name, number in numbers.items():
            self.one(name, number, _text)
        return self

    def one(self, name: str, number: int, encode: Encoder) -> _Message:
        self.fields[name] = lambda value: _chunk(number, encode(value))
        return self

    def each(self, name: str, number: int, encode: Encoder) -> _Message:
        self.fields[name] = lambda values: b"".join([_chunk(number, encode(value)) for value in values])
        return self

    def integer(self, name: str, number: int) -> _Message:
        tag = _varint(number << 3)
        self.fields[name] = lambda value: tag + _varint(int(value))
        return self

    def double(self, name: str, number: int) -> _Message:
        tag = _varint(number << 3 | 1)
        self.fields[name] = lambda value: tag + struct.pack("<d", value)
        return self

    def __call__(self, value: Mapping[str, Any]) -> bytes:
        parts: list[bytes] = []
        for name, item in value.items():
            if name.startswith("x-") and self.extensions:
                parts.append(_chunk(self.extensions, _named(_any)(name, item)))
            else:
                parts.append(self.fields[name](item))
        return b"".join(parts)


def _map_of(number: int, encode: Encoder) -> Encoder:
    named = _named(encode)
    return lambda value: b"".join([_chunk(number, named(name, item)) for name, item in value.items()])


def _type_item(value: Any) -> bytes:
    return b"".join([_chunk(1, _text(item)) for item in ([value] if isinstance(value, str) else value)])


def _additional_properties(value: Any) -> bytes:
    return b"\x10" + _varint(int(value)) if isinstance(value, bool) else _chunk(1, _schema(value))


def _numeric_limits(message: _Message, first: int) -> _Message:
    """maximum, exclusiveMaximum, ... uniqueItems stand in this order in several messages."""
    message.double("maximum", first).integer("exclusiveMaximum", first + 1)
    message.double("minimum", first + 2).integer("exclusiveMinimum", first + 3)
    message.integer("maxLength", first + 4).integer("minLength", first + 5).texts(pattern=first + 6)
    return message.integer("maxItems", first + 7).integer("minItems", first + 8).integer("uniqueItems", first + 9)


_schema = _Message(extensions=31)
_numeric_limits(_schema, 7)
_schema.texts(**{"$ref": 1, "format": 2, "title": 3, "description": 4, "discriminator": 26})
_schema.one("default", 5, _any).double("multipleOf", 6)
_schema.integer("maxProperties", 17).integer("minProperties", 18).each("required", 19, _text).each("enum", 20, _any)
_schema.one("additionalProperties", 21, _additional_properties).one("type", 22, _type_item)
_schema.one("items", 23, lambda value: _chunk(1, _schema(value))).each("allOf", 24, _schema)
_schema.one("properties", 25, _map_of(1, _schema)).integer("readOnly", 27).one("example", 30, _any)
_schema.one("externalDocs", 29, _Message(extensions=3).texts(description=1, url=2))

_body_parameter = _Message(extensions=6).texts(description=1, name=2, **{"in": 3}).integer("required", 4)
_body_parameter.one("schema", 5, _schema)
_query_parameter = _numeric_limits(_Message(extensions=23), 11).integer("required", 1)
_query_parameter.texts(**{"in": 2, "description": 3, "name": 4, "type": 6, "format": 7})
_path_parameter = _numeric_limits(_Message(extensions=22), 10).integer("required", 1)
_path_parameter.texts(**{"in": 2, "description": 3, "name": 4, "type": 5, "format": 6})


def _parameter(value: Mapping[str, Any]) -> bytes:
    """ParametersItem{parameter: Parameter{body_parameter or non_body_parameter{query or path}}}."""
    if value["in"] == "body":
        return _chunk(1, _chunk(1, _body_parameter(value)))
    if value["in"] == "query":
        return _chunk(1, _chunk(2, _chunk(3, _query_parameter(value))))
    return _chunk(1, _chunk(2, _chunk(4, _path_parameter(value))))


_response = _Message(extensions=5).texts(description=1).one("schema", 2, lambda value: _chunk(1, _schema(value)))
_responses = _map_of(1, lambda value: _chunk(1, _response(value)))
_security = _map_of(1, lambda scopes: b"".join([_chunk(1, _text(scope)) for scope in scopes]))

_operation = _Message(extensions=13).texts(summary=2, description=3, operationId=5).each("tags", 1, _text)
_operation.each("produces", 6, _text).each("consumes", 7, _text).each("parameters", 8, _parameter)
_operation.one("responses", 9, _responses).each("schemes", 10, _text).integer("deprecated", 11)

_path_item = _Message(extensions=10).one("get", 2, _operation).one("put", 3, _operation).one("post", 4, _operation)
_path_item.one("delete", 5, _operation).one("options", 6, _operation).one("head", 7, _operation)
_path_item.one("patch", 8, _operation).each("parameters", 9, _parameter)

_api_key = _Message(extensions=5).texts(type=1, name=2, description=4, **{"in": 3})

_document = _Message(extensions=16).texts(swagger=1).one("info", 2, _Message(extensions=7).texts(title=1, version=2))
_document.one("paths", 8, _map_of(2, _path_item)).one("definitions", 9, _map_of(1, _schema))
_document.each("security", 12, _security)
_document.one("securityDefinitions", 13, _map_of(1, lambda value: _chunk(2, _api_key(value))))


def encode_document(document: Mapping[str, Any]) -> bytes:
    """The `Document` message of an OpenAPI v2 document."""
    return _document(document)
