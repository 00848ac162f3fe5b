"""How much a CEL expression may cost at most, from its checked form and the bounds in the schema.

A lower bound of what kube-apiserver estimates: every step costs one, a loop costs its body for every element that
the schema allows. So nothing is refused here that kube-apiserver accepts. Mirrors the limits of
k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation (KEP-2876, "Resource constraints").
# Simplified: the cost of long strings and of library functions counts as one step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.api.structural.cel.names import escape
from orchestrator.api.structural.values import Node

RULE_COST_MAX = 10_000_000
SCHEMA_COST_MAX = 100_000_000
_REQUEST_BYTES_MAX = 3 * 1024 * 1024
_COST_MAX = 1 << 62

# Fields of cel.expr.Expr and its parts (github.com/google/cel-spec/proto/cel/expr/syntax.proto).
_IDENT, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION = 4, 5, 6, 7, 8, 9


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message: number and value (bytes or integer)."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        wire = tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield tag >> 3, value
        elif wire == 2:
            length, position = _varint(data, position)
            yield tag >> 3, data[position : position + length]
            position += length
        else:
            width = 8 if wire == 1 else 4
            yield tag >> 3, data[position : position + width]
            position += width


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


def _first(data: bytes, number: int) -> Any:
    return next((value for found, value in _fields(data) if found == number), None)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else ""


class Estimator:
    """Costs of expressions over one schema node."""

    def __init__(self, self_schema: Node) -> None:
        self._schemas: dict[str, Node | None] = {"self": self_schema, "oldSelf": self_schema}

    def cost(self, serialized: bytes) -> int:
        """The cost of an expression in the form of `Expression.serialize()`: a CheckedExpr packed in an Any."""
        checked = _first(serialized, 2) or b""
        expression = _first(checked, 4) or _first(checked, 3)
        return min(self._cost(expression, self._schemas), _COST_MAX) if isinstance(expression, bytes) else 1

    def _cost(self, expression: bytes, scope: dict[str, Node | None]) -> int:
        total = 0
        for number, value in _fields(expression):
            if number == _IDENT:
                total += 1
            elif number == _SELECT:
                total += 1 + self._cost(_first(value, 1) or b"", scope)
            elif number == _CALL:
                total += 1 + sum(self._cost(part, scope) for field, part in _fields(value) if field in (1, 3))
            elif number == _LIST:
                total += sum(self._cost(part, scope) for field, part in _fields(value) if field == 1)
            elif number == _STRUCT:
                for field, entry in _fields(value):
                    if field == 2:
                        total += sum(self._cost(part, scope) for inner, part in _fields(entry) if inner in (3, 4))
            elif number == _COMPREHENSION:
                total += self._loop(value, scope)
        return total

    def _loop(self, loop: bytes, scope: dict[str, Node | None]) -> int:
        parts = dict(_fields(loop))
        source = parts.get(2, b"")
        node = self._schema_of(source, scope)
        inner = {**scope, _text(parts.get(1)): _element(node)}
        body = self._cost(parts.get(5, b""), inner) + self._cost(parts.get(6, b""), inner)
        size = max_elements(node) if node is not None else _literal_length(source)
        return min(self._cost(source, scope) + size * body + self._cost(parts.get(7, b""), scope), _COST_MAX)

    def _schema_of(self, expression: bytes, scope: dict[str, Node | None]) -> Node | None:
        for number, value in _fields(expression):
            if number == _IDENT:
                return scope.get(_text(_first(value, 1)))
            if number == _SELECT and not _first(value, 3):
                parent = self._schema_of(_first(value, 1) or b"", scope)
                return _property(parent, _text(_first(value, 2)))
            if number == _CALL and _text(_first(value, 2)) == "_[_]":
                operand = next((part for field, part in _fields(value) if field == 3), b"")
                return _element(self._schema_of(operand, scope))
        return None


def _property(node: Node | None, name: str) -> Node | None:
    if node is None:
        return None
    additional = node.get("additionalProperties")
    if isinstance(additional, Mapping):
        return additional
    for key, child in (node.get("properties") or {}).items():
        if escape(key) == name:
            found: Node = child
            return found
    return None


def _element(node: Node | None) -> Node | None:
    if node is None:
        return None
    inner = node.get("items") if node.get("type") == "array" else None
    return inner if isinstance(inner, Mapping) else None


def _literal_length(expression: bytes) -> int:
    for number, value in _fields(expression):
        if number == _LIST:
            return sum(1 for field, _ in _fields(value) if field == 1)
    return 1


def max_elements(node: Node) -> int:
    """How many items or entries a list or map may have: its bound, or what fits into one request."""
    if node.get("type") == "array":
        bound, child = node.get("maxItems"), node.get("items")
        extra = 1
    else:
        bound, child = node.get("maxProperties"), node.get("additionalProperties")
        extra = 4
    if bound is not None:
        return int(bound)
    smallest = _bytes_min(child) if isinstance(child, Mapping) else 1
    return _REQUEST_BYTES_MAX // (smallest + extra)


def _bytes_min(node: Node) -> int:
    kind = node.get("type")
    if kind == "object":
        properties = node.get("properties") or {}
        required = [name for name in node.get("required") or () if name in properties]
        return 2 + sum(len(name) + 4 + _bytes_min(properties[name]) for name in required)
    if kind == "string":
        return int(node.get("minLength") or 0) + 2
    return {"array": 2, "boolean": 4}.get(str(kind), 1)


def over_budget(cost: int, limit: int) -> str:
    """By how much a cost is over its limit, as the message says it."""
    factor = cost / limit
    return "more than 100x" if factor > 100 else f"{factor:.1f}x"
