"""CEL in admission: what expressions of match conditions and policies see.

Source: "Validating Admission Policy" and "Matching requests: matchConditions", kubernetes.io.
# Simplified: the variable `authorizer` does not exist; expressions are checked without types, when they first run.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.api.objects import Object
from orchestrator.api.resources import Resource
from orchestrator.apiserver.admission.plugin import Attributes


class ExpressionError(Exception):
    """An expression does not compile, or has no value."""


def variables_of(attributes: Attributes) -> dict[str, Any]:
    """`object`, `oldObject` and `request`, as every expression of admission has them."""
    return {
        "object": attributes.obj or None,
        "oldObject": attributes.old,
        "request": request_of(attributes, str(uuid.uuid4())),
    }


def evaluate(expression: str, variables: dict[str, Any]) -> Any:
    """The value of an expression; ExpressionError."""
    # Imported with the first expression: a start without any need not pay for CEL.
    from orchestrator.api.structural.cel.environment import DoesNotCompile, EvaluationFailed, evaluate_untyped

    try:
        return evaluate_untyped(expression, variables)
    except DoesNotCompile as error:
        raise ExpressionError(f"compilation failed: {error}") from None
    except EvaluationFailed as error:
        raise ExpressionError(f"expression '{expression}' resulted in error: {error}") from None


def meets_conditions(conditions: Iterable[Mapping[str, Any]], variables: dict[str, Any]) -> bool:
    """Whether all match conditions hold; one that is false decides, whatever is wrong with others."""
    failure: ExpressionError | None = None
    for condition in conditions:
        try:
            if evaluate(condition.get("expression") or "", variables) is not True:
                return False
        except ExpressionError as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return True


def request_of(attributes: Attributes, uid: str) -> Object:
    """An `admission.k8s.io/v1` AdmissionRequest without its objects."""
    resource = attributes.kind.resource
    kind = kind_of(attributes)
    plural = {"group": resource.group, "version": resource.version, "resource": resource.plural}
    request: Object = {"uid": uid, "kind": kind, "resource": plural}
    if attributes.subresource:
        request["subResource"] = attributes.subresource
    request |= {"requestKind": kind, "requestResource": plural}
    if attributes.subresource:
        request["requestSubResource"] = attributes.subresource
    if attributes.name:
        request["name"] = attributes.name
    namespace = attributes.name if resource.group_resource == "namespaces" else attributes.namespace
    if namespace:
        request["namespace"] = namespace
    request |= {
        "operation": attributes.operation,
        "userInfo": attributes.user.to_json(),
        "dryRun": attributes.dry_run,
        "options": None if attributes.operation == "CONNECT" else _options(attributes),
    }
    return request


def kind_of(attributes: Attributes) -> dict[str, str]:
    """The kind of the object that is written, which for a subresource can be another one."""
    resource: Resource = attributes.kind.resource
    for subresource in attributes.kind.subresources:
        if subresource.name == attributes.subresource:
            group = subresource.group or ("" if subresource.version else resource.group)
            return {"group": group, "version": subresource.version or resource.version, "kind": subresource.kind}
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _options(attributes: Attributes) -> Object:
    kind = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}
    options: Object = {"kind": kind.get(attributes.operation, "CreateOptions"), "apiVersion": "meta.k8s.io/v1"}
    if attributes.dry_run:
        options["dryRun"] = ["All"]
    return options
