"""CEL in admission: what expressions of match conditions and policies see.

Source: "Validating Admission Policy" and "Matching requests: matchConditions", kubernetes.io.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from orchestrator.api.kinds.descriptor import Kind
from orchestrator.api.objects import Object
from orchestrator.apiserver.admission.plugin import Attributes
from orchestrator.apiserver.authorizer import Attributes as AuthorizerAttributes
from orchestrator.apiserver.authorizer import Authorizer, Decision
from orchestrator.apiserver.object_kinds import object_kind
from orchestrator.apiserver.user import User, service_account


class ExpressionError(Exception):
    """An expression does not compile, or has no value."""


def variables_of(attributes: Attributes) -> dict[str, Any]:
    """`object`, `oldObject`, `request` and `authorizer`, as every expression of admission has them."""
    # Imported with the first expression: a start without any need not pay for CEL.
    from orchestrator.api.structural.cel.library import authorizer_value

    resource = (attributes.requested or attributes.kind).resource
    return {
        "object": attributes.obj or None,
        "oldObject": attributes.old,
        "request": request_of(attributes, str(uuid.uuid4())),
        "authorizer": authorizer_value(
            group=resource.group,
            resource=resource.plural,
            subresource=attributes.subresource,
            namespace=attributes.namespace,
            name=attributes.name,
        ),
    }


@contextmanager
def authorizing(authorizer: Authorizer, user: User) -> Iterator[None]:
    """Have this authorizer answer what expressions ask about the user of a request, or about a service account."""
    from orchestrator.api.structural.cel.authorization import Answer, Question, answering

    def ask(question: Question) -> Answer:
        asked = service_account(*question.service_account) if question.service_account else user
        decision, reason = authorizer.authorize(
            AuthorizerAttributes(
                user=asked,
                verb=question.verb,
                group=question.group,
                version="*" if question.resource else "",
                resource=question.resource,
                subresource=question.subresource,
                namespace=question.namespace,
                name=question.name,
                path=question.path,
                field_selector=question.field_selector,
            )
        )
        return Answer(decision is Decision.ALLOW, reason)

    with answering(ask):
        yield


def evaluate(expression: str, variables: dict[str, Any]) -> Any:
    """The value of an expression; ExpressionError."""
    # Imported with the first expression: a start without any need not pay for CEL.
    from orchestrator.api.structural.cel.environment import (
        DoesNotCompile,
        EvaluationFailed,
        OutOfBudget,
        evaluate_untyped,
    )

    try:
        return evaluate_untyped(expression, variables)
    except DoesNotCompile as error:
        raise ExpressionError(f"compilation failed: {error}") from None
    except OutOfBudget:
        detail = "validation failed due to running out of cost budget, no further validation rules will be run"
        raise ExpressionError(detail) from None
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
    requested = attributes.requested or attributes.kind
    request: Object = {
        "uid": uid,
        "kind": kind_of(attributes.kind, attributes),
        "resource": _plural_of(attributes.kind),
    }
    if attributes.subresource:
        request["subResource"] = attributes.subresource
    request |= {"requestKind": kind_of(requested, attributes), "requestResource": _plural_of(requested)}
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


def _plural_of(kind: Kind) -> dict[str, str]:
    resource = kind.resource
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


def kind_of(kind: Kind, attributes: Attributes) -> dict[str, str]:
    """The kind of the object that is written, which for a subresource can be another one."""
    resource = object_kind(kind, attributes.subresource).resource
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _options(attributes: Attributes) -> Object:
    kind = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}
    options: Object = {"kind": kind.get(attributes.operation, "CreateOptions"), "apiVersion": "meta.k8s.io/v1"}
    if attributes.dry_run:
        options["dryRun"] = ["All"]
    return options
