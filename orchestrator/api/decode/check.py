"""Whether a body is as the API keeps it already: a check that is compiled once and allocates nothing.

`walk` does the same work for those that are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.api.contents import ContentMap, content_of
from orchestrator.api.decode.scalars import (
    is_any,
    is_base64,
    is_canonical_quantity,
    is_int32,
    is_int64,
    is_int_or_string,
    is_number,
)
from orchestrator.api.decode.times import is_canonical_micro_time, is_canonical_time
from orchestrator.api.decode.unions import JSON_SCHEMA, OR_BOOL, UNIONS, keeps_null
from orchestrator.api.schema import Schema, definition
from orchestrator.api.zero_values import ZERO_IS_UNSET

Check = Callable[[Any], bool]

_POD_SPEC = "io.k8s.api.core.v1.PodSpec"


def check_of(schema: Schema) -> Check | type:
    """The compiled check of a node; a bare type means "exactly this type", which the loops test inline."""
    compiled = schema.compiled
    if compiled is None:
        # a recursive definition meets itself while it is being compiled: give it a late-bound check
        schema.compiled = lambda value: passes(schema.compiled, value)
        compiled = schema.compiled = _compile(schema)
    found: Check | type = compiled
    return found


def passes(check: Check | type, value: Any) -> bool:
    """Whether a value is what a check, or a bare type, asks for."""
    if isinstance(check, type):
        return type(value) is check
    return check(value)


def _compile(schema: Schema) -> Check | type:
    kind = schema.kind
    if kind == "object":
        check = _compile_object(schema)
        return _remembered(check) if schema.definition == _POD_SPEC else check
    if kind == "map":
        return _compile_map(schema.values)
    if kind == "list":
        return _compile_list(schema.items)
    if kind == "string":
        return is_base64 if schema.format == "byte" else str
    if kind == "integer":
        return is_int32 if schema.format == "int32" else is_int64
    if kind == "time":
        return is_canonical_micro_time if schema.format == "micro-time" else is_canonical_time
    if schema.definition in UNIONS:
        return _compile_union(schema)
    checks: dict[str, Check | type] = {
        "boolean": bool,
        "number": is_number,
        "int-or-string": is_int_or_string,
        "quantity": is_canonical_quantity,
    }
    return checks.get(kind, is_any)


def _remembered(check: Check) -> Check:
    """The check with what passed it before: most specs of pods and of templates come again."""
    passed: ContentMap[bool] = ContentMap()

    def check_once(value: Any) -> bool:
        content = content_of(value)
        if passed.get(content):
            return True
        is_clean = check(value)
        if is_clean:
            passed.put(content, True)
        return is_clean

    return check_once


def _compile_union(schema: Schema) -> Check:
    node = definition(JSON_SCHEMA)
    allows_bool = schema.definition == OR_BOOL

    def check(value: Any) -> bool:
        return passes(check_of(node), value) if type(value) is dict else allows_bool and type(value) is bool

    return check


def _compile_object(schema: Schema) -> Check:
    checks: dict[str, Check | type] = {}
    required, omitted = schema.required, ZERO_IS_UNSET.get(schema.definition, frozenset())

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for name, child in value.items():
            wanted = checks.get(name)
            if wanted is None:
                node = schema.properties.get(name)
                if node is None:
                    return False
                wanted = check_of(node)
                if name in omitted or (node.kind in ("list", "map") and name not in required):
                    wanted = _non_empty(wanted)
                elif keeps_null(schema, node):
                    wanted = _or_null(wanted)
                checks[name] = wanted
            if wanted.__class__ is type:
                if type(child) is not wanted:
                    return False
            elif not wanted(child):
                return False
        return True

    return check


def _non_empty(check: Check | type) -> Check:
    """The same check of a field that is not written when it is empty or zero."""
    if isinstance(check, type):
        wanted = check
        return lambda value: type(value) is wanted and bool(value)
    return lambda value: bool(value) and check(value)


def _or_null(check: Check | type) -> Check:
    return lambda value: value is None or passes(check, value)


def _compile_map(values: Schema | None) -> Check:
    wanted = check_of(values) if values is not None else is_any

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return False
        if wanted.__class__ is type:
            for child in value.values():  # noqa: SIM110 - the loop is half the time of all() with a generator
                if type(child) is not wanted:
                    return False
            return True
        for child in value.values():  # noqa: SIM110
            if not wanted(child):
                return False
        return True

    return check


def _compile_list(items: Schema | None) -> Check:
    wanted = check_of(items) if items is not None else is_any

    def check(value: Any) -> bool:
        if type(value) is not list:
            return False
        if wanted.__class__ is type:
            for child in value:  # noqa: SIM110
                if type(child) is not wanted:
                    return False
            return True
        for child in value:  # noqa: SIM110
            if not wanted(child):
                return False
        return True

    return check
