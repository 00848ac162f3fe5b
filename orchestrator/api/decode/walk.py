"""The slower way: a copy of a body with unknown fields left out and named, values in their canonical form."""

from __future__ import annotations

from typing import Any

from orchestrator.api.decode.scalars import (
    Refused,
    canonical_base64,
    int_or_string,
    integer,
    is_number,
    quantity,
    wrong_type,
)
from orchestrator.api.decode.times import canonical_time
from orchestrator.api.decode.unions import JSON_SCHEMA, OR_ARRAY, OR_BOOL, UNIONS, keeps_null
from orchestrator.api.schema import OBJECT_META, Schema, definition
from orchestrator.api.zero_values import ZERO_IS_UNSET

STRICT_ERRORS_MAX = 100
"""kube-apiserver stops counting strict errors here."""


class _Unset:
    """The value of a field that is not there."""


UNSET = _Unset()


class Walk:
    """One decoding: collects unknown fields; the first value of a wrong type ends it."""

    def __init__(self) -> None:
        self.unknown: list[str] = []

    def decode(self, value: Any, schema: Schema, path: str, go_path: str, struct: str) -> Any:
        """The decoded value; `path` names it for strict errors, `struct.go_path` for type errors."""
        kind = schema.kind
        if value is None:
            return UNSET
        if kind == "object":
            return self._object(value, schema, path, go_path, struct)
        if kind == "map":
            return self._map(value, schema, path, go_path, struct)
        if kind == "list":
            return self._list(value, schema, path, go_path, struct)
        if kind == "string":
            if type(value) is not str:
                raise wrong_type(value, schema, go_path, struct)
            return canonical_base64(value) if schema.format == "byte" else value
        if kind == "boolean":
            if type(value) is not bool:
                raise wrong_type(value, schema, go_path, struct)
            return value
        if kind == "integer":
            return integer(value, schema, go_path, struct)
        if kind == "number":
            if not is_number(value):
                raise wrong_type(value, schema, go_path, struct)
            return value
        if kind == "int-or-string":
            return int_or_string(value)
        if kind == "quantity":
            return quantity(value)
        if kind == "time":
            return canonical_time(value, micro=schema.format == "micro-time")
        return self._union(value, schema.definition) if schema.definition in UNIONS else value

    def _union(self, value: Any, name: str) -> Any:
        """A schema, or what may stand in its place; Go's own decoders here do not look for unknown fields."""
        inner, node = Walk(), definition(JSON_SCHEMA)
        if type(value) is dict:
            return inner.decode(value, node, "", "", "")
        if name == OR_BOOL:
            if type(value) is not bool:
                raise Refused("boolean or JSON schema expected")
            return value
        if type(value) is not list:
            return UNSET
        if name == OR_ARRAY:
            decoded = [inner.decode(one, node, "", "", "") for one in value]
            return [{} if one is UNSET else one for one in decoded]
        if not all(type(one) is str for one in value):
            raise Refused("json: cannot unmarshal into Go value of type []string")
        return value

    def _object(self, value: Any, schema: Schema, path: str, go_path: str, struct: str) -> Any:
        if type(value) is not dict:
            raise wrong_type(value, schema, go_path, struct)
        properties, required = schema.properties, schema.required
        omitted = ZERO_IS_UNSET.get(schema.definition, frozenset())
        struct_name = schema.struct_name
        out: dict[str, Any] = {}
        for name, child in value.items():
            child_path = f"{path}.{name}" if path else name
            node = properties.get(name)
            if node is None:
                self.add_unknown(child_path)
                continue
            decoded = self.decode(child, node, child_path, f"{go_path}.{name}" if go_path else name, struct_name)
            if decoded is UNSET:
                if keeps_null(schema, node):
                    out[name] = None
                continue
            if not decoded and (name in omitted or (node.kind in ("list", "map") and name not in required)):
                continue  # an empty optional list or map is not encoded again, nor is zero where it means unset
            out[name] = decoded
        return out

    def _map(self, value: Any, schema: Schema, path: str, go_path: str, struct: str) -> Any:
        if type(value) is not dict:
            raise wrong_type(value, schema, go_path, struct)
        node = schema.values
        if node is None:
            return value
        out: dict[str, Any] = {}
        for name, child in value.items():
            decoded = self.decode(child, node, f"{path}.{name}", go_path, struct)
            out[name] = _zero_of(node) if decoded is UNSET else decoded
        return out

    def _list(self, value: Any, schema: Schema, path: str, go_path: str, struct: str) -> Any:
        if type(value) is not list:
            raise wrong_type(value, schema, go_path, struct)
        node = schema.items
        if node is None:
            return value
        out: list[Any] = []
        for position, child in enumerate(value):
            decoded = self.decode(child, node, f"{path}[{position}]", go_path, struct)
            out.append(_zero_of(node) if decoded is UNSET else decoded)
        return out

    # --- custom resources ---

    def prune(self, value: Any, schema: Schema | None, path: str) -> Any:
        """A custom resource without the fields that its schema does not specify; types are not looked at."""
        if type(value) is list:
            items = schema.items if schema is not None else None
            if schema is not None and schema.preserve_unknown and items is None:
                return value
            return [self.prune(child, items, f"{path}[{position}]") for position, child in enumerate(value)]
        if type(value) is not dict:
            return value
        properties = schema.properties if schema is not None else {}
        values = schema.values if schema is not None else None
        keep = schema is not None and schema.preserve_unknown
        embedded = schema is not None and schema.embedded_resource
        out: dict[str, Any] = {}
        for name, child in value.items():
            child_path = f"{path}.{name}" if path else name
            node = properties.get(name)
            if embedded and name in ("apiVersion", "kind"):
                out[name] = child
            elif embedded and name == "metadata":
                out[name] = self.metadata(child, child_path)
            elif node is not None:
                out[name] = self.prune(child, node, child_path)
            elif values is not None:
                out[name] = self.prune(child, values, child_path)
            elif keep:
                out[name] = child
            else:
                self.add_unknown(child_path)
        return out

    def metadata(self, value: Any, path: str) -> Any:
        """The metadata of a custom resource, which is typed like that of any kind."""
        decoded = self.decode(value, definition(OBJECT_META), path, "", "ObjectMeta")
        return {} if decoded is UNSET else decoded

    def add_unknown(self, path: str) -> None:
        if len(self.unknown) < STRICT_ERRORS_MAX:
            self.unknown.append(path)


def _zero_of(schema: Schema) -> Any:
    """What Go leaves in a list or map whose entry is null."""
    if schema.kind in ("list", "map", "any", "raw", "time") or schema.format == "byte":
        return None
    zeros: dict[str, Any] = {
        "string": "", "boolean": False, "integer": 0, "number": 0, "quantity": "0", "int-or-string": 0,
    }  # fmt: skip
    return zeros.get(schema.kind, {})
