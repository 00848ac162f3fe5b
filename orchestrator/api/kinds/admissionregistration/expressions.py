"""CEL expressions of webhooks and policies: which names they see, and whether they compile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause

if TYPE_CHECKING:
    from orchestrator.api.structural.cel.admission import Environment

_MATCH_CONDITIONS_MAX = 64

AUTHORIZER_NAMES = ("authorizer", "authorizer.requestResource")
REQUEST_NAMES = ("object", "oldObject", "request", *AUTHORIZER_NAMES)
"""What each expression of admission sees; those of messages do not ask the authorizer."""


def policy_names(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """What the match conditions of a policy see; all its other expressions see `variables` as well."""
    return (*REQUEST_NAMES, "namespaceObject", *(("params",) if spec.get("paramKind") else ()))


def environment_of(names_seen: Sequence[str]) -> Environment:
    """For expressions that see these variables; what their objects' types are is not known here."""
    # Imported with the first expression: a start without any need not pay for CEL.
    from orchestrator.api.structural.cel.admission import untyped

    return untyped().environment(names_seen)


def expression_complaint(expression: str, environment: Environment, results: Sequence[str]) -> str:
    """What is wrong with an expression whose value must be of one of these types (of any, if there are none)."""
    from orchestrator.api.structural.cel.environment import DoesNotCompile

    try:
        found = environment.compile(expression).name()
    except DoesNotCompile as error:
        return f"compilation failed: {error}"
    if not results or found == "DYN" or found.partition("<")[0] in results:
        return ""
    wanted = [_RESULTS[result] for result in results]
    return f"must evaluate to {wanted[0]}" if len(wanted) == 1 else f"must evaluate to one of [{' '.join(wanted)}]"


_RESULTS = {
    "BOOL": "bool", "STRING": "string", "NULL": "null_type", "MAP": "Object", "LIST": "list(JSONPatch)",
}  # fmt: skip
"""Types as messages name them; the objects and patches of mutations are maps and lists of maps here."""


def validate_expression(expression: str, path: str, environment: Environment, *results: str) -> list[Cause]:
    """What is wrong with an expression: it does not compile, or its value is of none of these types."""
    complaint = expression_complaint(expression, environment, results)
    return [fields.invalid(path, expression, complaint)] if complaint else []


def untyped_text(expression: str) -> str:
    """An expression of a mutation with its typed object literals (`Object.spec{...}`) as maps."""
    from orchestrator.api.structural.cel.object_literals import without_types

    return without_types(expression)


def validate_match_conditions(conditions: Any, path: str, variables: tuple[str, ...] = REQUEST_NAMES) -> list[Cause]:
    """`matchConditions`: how many, their names, and that each is a yes or no."""
    if not conditions:
        return []
    causes: list[Cause] = []
    environment = environment_of(variables)
    if len(conditions) > _MATCH_CONDITIONS_MAX:
        causes.append(fields.too_many(path, len(conditions), _MATCH_CONDITIONS_MAX))
    seen: set[str] = set()
    for position, condition in enumerate(conditions):
        where = fields.index(path, position)
        name = condition.get("name") or ""
        if not (condition.get("expression") or "").strip():
            causes.append(fields.required(f"{where}.expression"))
        else:
            causes += validate_expression(condition["expression"], f"{where}.expression", environment, "BOOL")
        if not name:
            causes.append(fields.required(f"{where}.name"))
        elif name in seen:
            causes.append(fields.duplicate(f"{where}.name", name))
        else:
            causes += [fields.invalid(f"{where}.name", name, text) for text in names.is_qualified_name(name)]
        seen.add(name)
    return causes
