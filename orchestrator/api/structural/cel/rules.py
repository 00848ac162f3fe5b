"""Evaluates the CEL rules of a schema on a custom resource, old and new.

Owns which rule runs where: transition rules only where an old value can be found, unchanged values are not
complained about again (KEP-2876, KEP-4008). Mirrors k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from orchestrator.api import fields
from orchestrator.api.errors import Cause
from orchestrator.api.structural.cel.environment import DoesNotCompile, EvaluationFailed, OutOfBudget, evaluate
from orchestrator.api.structural.cel.values import to_cel
from orchestrator.api.structural.json_path import plain_fields
from orchestrator.api.structural.values import ROOT, UNKNOWN, Node, old_items

_OLD_SELF = re.compile(r"\boldSelf\b")
_LITERAL = re.compile(r"""[rR]?("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""")
MESSAGE_BYTES_MAX = 5 * 1024


class Rule(Struct, frozen=True):
    """One entry of `x-kubernetes-validations`."""

    expression: str
    message: str
    message_expression: str
    reason: str
    field_path: str
    optional_old_self: bool
    is_transition: bool
    """Whether it looks at `oldSelf`, so that it only runs on updates."""


class RuleTree(Struct):
    """The rules of a schema; nodes without any rule below are left out."""

    schema: Node
    is_resource: bool
    rules: list[Rule] = field(default_factory=list)
    properties: dict[str, RuleTree] = field(default_factory=dict)
    items: RuleTree | None = None
    values: RuleTree | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.rules or self.properties or self.items or self.values)


def uses_old_self(expression: str) -> bool:
    """Whether `oldSelf` stands in an expression, outside of its string literals."""
    return _OLD_SELF.search(_LITERAL.sub("''", expression)) is not None


def read_rules(schema: Node) -> list[Rule]:
    """The rules of one node."""
    return [
        Rule(
            expression=entry.get("rule") or "",
            message=entry.get("message") or "",
            message_expression=entry.get("messageExpression") or "",
            reason=entry.get("reason") or "FieldValueInvalid",
            field_path=entry.get("fieldPath") or "",
            optional_old_self=bool(entry.get("optionalOldSelf")),
            is_transition=uses_old_self(entry.get("rule") or ""),
        )
        for entry in schema.get("x-kubernetes-validations") or ()
    ]


def build_tree(schema: Node, *, is_resource: bool = False) -> RuleTree | None:
    """All rules of a schema, or None when it has none."""
    tree = RuleTree(schema, is_resource or bool(schema.get("x-kubernetes-embedded-resource")), read_rules(schema))
    for name, child in (schema.get("properties") or {}).items():
        if (below := build_tree(child)) is not None:
            tree.properties[name] = below
    if isinstance(schema.get("items"), Mapping):
        tree.items = build_tree(schema["items"])
    if isinstance(schema.get("additionalProperties"), Mapping):
        tree.values = build_tree(schema["additionalProperties"])
    return None if tree.is_empty else tree


def validate_rules(tree: RuleTree | None, value: Any, old: Any = UNKNOWN, path: str = "") -> list[Cause]:
    """Every rule that does not hold; `old` is the stored value, on updates."""
    if tree is None or value is None:
        return []
    causes: list[Cause] = []
    if tree.rules:
        causes += _run(tree, value, old, path)
    if type(value) is dict:
        before = old if type(old) is dict else {}
        for name, below in tree.properties.items():
            if name in value:
                causes += validate_rules(below, value[name], before.get(name, UNKNOWN), fields.child(path, name))
        if tree.values is not None:
            for name, child in value.items():
                causes += validate_rules(tree.values, child, before.get(name, UNKNOWN), fields.key(path, name))
    elif type(value) is list and tree.items is not None:
        find = old_items(tree.schema, old)
        for position, item in enumerate(value):
            causes += validate_rules(tree.items, item, find(item), fields.index(path, position))
    return causes


def _run(tree: RuleTree, value: Any, old: Any, path: str) -> list[Cause]:
    causes: list[Cause] = []
    has_old = old is not UNKNOWN and old is not None
    is_unchanged = has_old and old == value
    variables: dict[str, Any] | None = None
    for rule in tree.rules:
        if rule.is_transition and not rule.optional_old_self and not has_old:
            continue
        if not rule.is_transition and is_unchanged:
            continue
        if variables is None:
            variables = {"self": to_cel(value, tree.schema, is_resource=tree.is_resource)}
            previous = to_cel(old, tree.schema, is_resource=tree.is_resource) if has_old else None
            variables |= {"oldSelf": previous, "__old": previous, "__has_old": has_old}
        try:
            cause = _check(rule, variables, value, tree.schema, path)
        except OutOfBudget as error:
            detail = f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: "
            kind = str(tree.schema.get("type"))
            return [*causes, fields.invalid(path or ROOT, kind, detail + (rule.message or rule.expression))]
        if cause is not None:
            causes.append(cause)
    return causes


def _check(rule: Rule, variables: dict[str, Any], value: Any, schema: Node, path: str) -> Cause | None:
    try:
        holds = evaluate(rule.expression, variables, optional_old_self=rule.optional_old_self)
    except DoesNotCompile as error:
        return fields.invalid(path or ROOT, str(schema.get("type")), f"rule compile error: {error}")
    except OutOfBudget:
        raise
    except EvaluationFailed as error:
        detail = f"{error} evaluating rule: {rule.message or rule.expression}"
        return fields.invalid(path or ROOT, str(schema.get("type")), detail)
    if holds is True:
        return None
    target, shown = path, value
    names = plain_fields(rule.field_path) if rule.field_path else None
    for name in names or ():
        is_map = isinstance(schema.get("additionalProperties"), Mapping)
        target = fields.key(target, name) if is_map else fields.child(target, name)
        schema = schema["additionalProperties"] if is_map else (schema.get("properties") or {}).get(name) or {}
        shown = shown.get(name) if isinstance(shown, dict) else None
    message = _message(rule, variables)
    bad = fields.OMIT if isinstance(shown, dict | list) else shown
    where = target or ROOT
    if rule.reason == "FieldValueRequired":
        return fields.required(where, message)
    if rule.reason == "FieldValueForbidden":
        return fields.forbidden(where, message)
    if rule.reason == "FieldValueDuplicate":
        return fields.duplicate(where, bad)
    return fields.invalid(where, bad, message)


def _message(rule: Rule, variables: dict[str, Any]) -> str:
    fixed = rule.message.strip() or f"failed rule: {rule.expression.strip()}"
    if not rule.message_expression:
        return fixed
    try:
        text = evaluate(rule.message_expression, variables, optional_old_self=rule.optional_old_self)
    except (DoesNotCompile, EvaluationFailed):
        return fixed  # KEP-2876: a message expression that fails falls back to the message
    if not isinstance(text, str) or not text.strip() or "\n" in text or len(text.encode()) > MESSAGE_BYTES_MAX:
        return fixed
    return text.strip()
