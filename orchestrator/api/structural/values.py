"""Does a value fit its schema: types, bounds, formats, enumerations, and their combinations.

Owns value validation of custom resources and of defaults in their schemas. Never prunes, never
defaults, never evaluates CEL rules. Mirrors k8s.io/kube-openapi/pkg/validation/validate and, for
updates, KEP-4008 (ratcheting): what did not change is not complained about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from orchestrator.api import fields
from orchestrator.api.errors import Cause
from orchestrator.api.structural.formats import check_of
from orchestrator.api.structural.patterns import is_match

Node = Mapping[str, Any]
"""A node of an OpenAPI v3 schema as it stands in a CustomResourceDefinition."""

UNKNOWN: Final = object()
"""Stands for an old value that is not there or cannot be found."""

ROOT = "<nil>"
"""How the API server prints the path of a whole object."""


def validate_value(value: Any, schema: Node, path: str = "", old: Any = UNKNOWN) -> list[Cause]:
    """Everything in which the value does not fit; `old` is the stored value at the same place, on updates.

    `path` leads to the value: it stands before the paths of the causes, not in their texts.
    """
    return _validate(value, schema, "", old, path)


def _validate(value: Any, schema: Node, name: str, old: Any, prefix: str) -> list[Cause]:
    if old is not UNKNOWN and old == value and type(old) is type(value):
        return []
    where = (f"{prefix}.{name}" if prefix and name else prefix or name) or ROOT
    causes = _validate_type(value, schema, name, where)
    if value is None:
        return causes + _validate_enum(value, schema, where)
    causes += _validate_combinations(value, schema, name, old, prefix)
    if type(value) is str:
        causes += _validate_string(value, schema, name, where)
    elif _is_number(value):
        causes += _validate_number(value, schema, name, where)
    elif type(value) is list:
        causes += _validate_list(value, schema, name, old, prefix, where)
    causes += _validate_enum(value, schema, where)
    if type(value) is dict:
        causes += _validate_object(value, schema, name, old, prefix, where)
    return causes


# --- types ----------------------------------------------------------------------------------------


def types_of(schema: Node) -> tuple[str, ...]:
    """The types that a node allows; none means any."""
    if schema.get("x-kubernetes-int-or-string"):
        return ("integer", "string")
    declared = schema.get("type")
    if not declared:
        return ()
    return tuple(declared) if isinstance(declared, list) else (declared,)


def json_type(value: Any) -> str:
    """The JSON schema type of a value, as error messages name it."""
    if value is None:
        return "null"
    if type(value) is bool:
        return "boolean"
    if type(value) is str:
        return "string"
    if type(value) is int:
        return "integer"
    if type(value) is float:
        return "number"
    return "array" if type(value) is list else "object"


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def _validate_type(value: Any, schema: Node, name: str, where: str) -> list[Cause]:
    allowed = types_of(schema)
    if not allowed:
        return []
    actual = json_type(value)
    if value is None:
        if schema.get("nullable") or "null" in allowed:
            return []
        return [_wrong_type(where, name, ",".join(allowed), actual)]
    if actual in allowed or (actual == "integer" and "number" in allowed):
        return []
    if actual == "number" and "integer" in allowed and math.isfinite(value) and value == int(value):
        return []
    return [_wrong_type(where, name, ",".join(allowed), actual)]


def _wrong_type(where: str, name: str, wanted: str, actual: str) -> Cause:
    return fields.type_invalid(where, actual, f"{name} in body must be of type {wanted}: {fields.quote(actual)}")


# --- scalars --------------------------------------------------------------------------------------


def _validate_string(value: str, schema: Node, name: str, where: str) -> list[Cause]:
    causes: list[Cause] = []
    longest, shortest, pattern = schema.get("maxLength"), schema.get("minLength"), schema.get("pattern")
    if longest is not None and len(value) > longest:
        causes.append(fields.too_long(where, longest))
    elif shortest is not None and len(value) < shortest:
        causes.append(fields.invalid(where, value, f"{name} in body should be at least {shortest} chars long"))
    elif pattern and not is_match(pattern, value):
        causes.append(fields.invalid(where, value, f"{name} in body should match '{pattern}'"))
    wanted = schema.get("format")
    if wanted:
        check = check_of(wanted)
        if check is not None and not check(value):
            detail = f"{name} in body must be of type {wanted}: {fields.quote(value)}"
            causes.append(fields.type_invalid(where, value, detail))
    return causes


def _validate_number(value: int | float, schema: Node, name: str, where: str) -> list[Cause]:
    causes: list[Cause] = []
    factor, maximum, minimum = schema.get("multipleOf"), schema.get("maximum"), schema.get("minimum")
    if factor is not None and factor > 0 and Decimal(str(value)) % Decimal(str(factor)) != 0:
        causes.append(fields.invalid(where, value, f"{name} in body should be a multiple of {_number(factor)}"))
    if maximum is not None:
        if schema.get("exclusiveMaximum"):
            if value >= maximum:
                causes.append(fields.invalid(where, value, f"{name} in body should be less than {_number(maximum)}"))
        elif value > maximum:
            detail = f"{name} in body should be less than or equal to {_number(maximum)}"
            causes.append(fields.invalid(where, value, detail))
    if minimum is not None:
        if schema.get("exclusiveMinimum"):
            if value <= minimum:
                causes.append(fields.invalid(where, value, f"{name} in body should be greater than {_number(minimum)}"))
        elif value < minimum:
            detail = f"{name} in body should be greater than or equal to {_number(minimum)}"
            causes.append(fields.invalid(where, value, detail))
    return causes


def _number(value: int | float) -> str:
    if isinstance(value, float) or abs(value) >= 1 << 53:
        return fields.format_float(float(value))
    return _go_float(value)


def _go_float(value: int) -> str:
    # Bounds are float64 in Go, and print with an exponent from 1e+21 on (or 1e+06 for %v of large ones).
    return str(value) if abs(value) < 1_000_000 else fields.format_float(float(value))


def _validate_enum(value: Any, schema: Node, where: str) -> list[Cause]:
    allowed = schema.get("enum")
    if not allowed or any(_same(value, item) for item in allowed):
        return []
    shown = [item if isinstance(item, str) else orjson.dumps(item).decode() for item in allowed]
    return [fields.not_supported(where, value, shown)]


def _same(left: Any, right: Any) -> bool:
    if type(left) is bool or type(right) is bool:
        return left is right
    return bool(left == right)


# --- lists and objects ----------------------------------------------------------------------------


def _validate_list(value: list[Any], schema: Node, name: str, old: Any, prefix: str, where: str) -> list[Cause]:
    causes: list[Cause] = []
    fewest, most = schema.get("minItems"), schema.get("maxItems")
    if fewest is not None and len(value) < fewest:
        causes.append(fields.invalid(where, len(value), f"{name} in body should have at least {fewest} items"))
    if most is not None and len(value) > most:
        causes.append(fields.too_many(where, len(value), most))
    items = schema.get("items")
    if isinstance(items, Mapping):
        find = old_items(schema, old)
        for position, item in enumerate(value):
            causes += _validate(item, items, f"{name}[{position}]", find(item), prefix)
    return causes


def old_items(schema: Node, old: Any) -> Any:
    """How to find an item's old self: only items of lists that are maps have one (KEP-2876)."""
    keys = schema.get("x-kubernetes-list-map-keys")
    if type(old) is not list or schema.get("x-kubernetes-list-type") != "map" or not keys:
        return _never
    by_key: dict[Any, Any] = {}
    for item in old:
        if type(item) is dict:
            by_key.setdefault(map_key(item, keys), item)

    def find(item: Any) -> Any:
        return by_key.get(map_key(item, keys), UNKNOWN) if type(item) is dict else UNKNOWN

    return find


def map_key(item: Mapping[str, Any], keys: Sequence[str]) -> tuple[Any, ...]:
    """What identifies an item of a list that is a map."""
    return tuple((key in item, type(item.get(key)).__name__, _hashable(item.get(key))) for key in keys)


def _hashable(value: Any) -> Any:
    return value if not isinstance(value, dict | list) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _never(item: Any) -> Any:
    return UNKNOWN


def _validate_object(value: dict[str, Any], schema: Node, name: str, old: Any, prefix: str, where: str) -> list[Cause]:
    fewest, most = schema.get("minProperties"), schema.get("maxProperties")
    if fewest is not None and len(value) < fewest:
        return [fields.invalid(where, len(value), f"{name} in body should have at least {fewest} properties")]
    if most is not None and len(value) > most:
        return [fields.too_many(where, len(value), most)]
    before = old if type(old) is dict else {}
    stem = f"{name}." if name else ""
    causes = [
        fields.required(f"{prefix}.{stem}{key}" if prefix else f"{stem}{key}")
        for key in schema.get("required") or ()
        if key not in value
    ]
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        for key, child in value.items():
            if key not in properties:
                causes += _validate(child, additional, f"{stem}{key}", before.get(key, UNKNOWN), prefix)
    elif additional is False:
        causes += [
            fields.invalid(where, "", f"{stem}{key} in body is a forbidden property")
            for key in value
            if key not in properties
        ]
    for key, child_schema in properties.items():
        if key in value:
            causes += _validate(value[key], child_schema, f"{stem}{key}", before.get(key, UNKNOWN), prefix)
    return causes


# --- allOf, anyOf, oneOf, not ---------------------------------------------------------------------


def _validate_combinations(value: Any, schema: Node, name: str, old: Any, prefix: str) -> list[Cause]:
    causes: list[Cause] = []
    quoted = fields.quote(name)
    any_of, one_of, all_of, negated = (schema.get(key) for key in ("anyOf", "oneOf", "allOf", "not"))
    whole = prefix or ROOT
    if any_of:
        results = [_validate(value, branch, name, UNKNOWN, prefix) for branch in any_of]
        if all(results):
            causes.append(fields.invalid(whole, "", f"{quoted} must validate at least one schema (anyOf)"))
            closest = min(results, key=len)
            causes += closest
    if one_of:
        results = [_validate(value, branch, name, UNKNOWN, prefix) for branch in one_of]
        valid = sum(1 for result in results if not result)
        if valid == 0:
            detail = f"{quoted} must validate one and only one schema (oneOf). Found none valid"
            causes.append(fields.invalid(whole, "", detail))
            closest = min(results, key=len)
            causes += closest
        elif valid > 1:
            detail = f"{quoted} must validate one and only one schema (oneOf). Found {valid} valid alternatives"
            causes.append(fields.invalid(whole, "", detail))
    if all_of:
        valid = 0
        for branch in all_of:
            result = _validate(value, branch, name, old, prefix)
            causes += result
            valid += not result
        if valid == 0:
            detail = f"{quoted} must validate all the schemas (allOf). None validated"
            causes.append(fields.invalid(whole, "", detail))
        elif valid < len(all_of):
            causes.append(fields.invalid(whole, "", f"{quoted} must validate all the schemas (allOf)"))
    if isinstance(negated, Mapping) and not _validate(value, negated, name, UNKNOWN, prefix):
        causes.append(fields.invalid(whole, "", f"{quoted} must not validate the schema (not)"))
    return causes
