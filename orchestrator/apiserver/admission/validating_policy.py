"""ValidatingAdmissionPolicy: CEL expressions in the API decide about writes (KEP-3488).

Source: "Validating Admission Policy", kubernetes.io. A policy judges where a binding puts it to work, once per
parameter object that the binding selects.
# Simplified: audit annotations are evaluated nowhere, as there is no audit log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from orchestrator.api import errors
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.registry import Registry
from orchestrator.api.resources import VALIDATING_ADMISSION_POLICIES, VALIDATING_ADMISSION_POLICY_BINDINGS
from orchestrator.apiserver.admission.equivalence import seen_as
from orchestrator.apiserver.admission.expressions import (
    ExpressionError,
    authorizing,
    evaluate,
    meets_conditions,
    variables_of,
)
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes, Reader
from orchestrator.apiserver.admission.policies import Bound, Policies, cause_of, compute_variables
from orchestrator.apiserver.authorizer import Authorizer
from orchestrator.store import Store

_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}


class PolicyDenied(errors.Forbidden):
    """A policy said no, with the code and reason of the validation that failed."""

    def __init__(self, attributes: Attributes, message: str, reason: str) -> None:
        resource = attributes.kind.resource
        forbidden = errors.forbidden(resource.group, resource.plural, attributes.name, message)
        super().__init__(
            forbidden.message,
            group=forbidden.group,
            kind=forbidden.kind,
            name=forbidden.name,
            causes=(Cause("", message),),
        )
        self.reason = reason  # type: ignore[misc]
        self.code = _CODES.get(reason, 422)  # type: ignore[misc]


class Failure(Struct, frozen=True):
    """One validation that does not hold."""

    message: str
    reason: str


class ValidatingAdmissionPolicy(AdmissionPlugin):
    """Runs for writes of everything but the configuration of admission."""

    name = "ValidatingAdmissionPolicy"

    def __init__(self, store: Store, reader: Reader, registry: Registry, authorizer: Authorizer) -> None:
        self._authorizer = authorizer
        self._policies = Policies(
            store,
            reader,
            registry,
            policies=VALIDATING_ADMISSION_POLICIES,
            bindings=VALIDATING_ADMISSION_POLICY_BINDINGS,
        )

    def handles(self, attributes: Attributes) -> bool:
        return self._policies.concern(attributes)

    async def validate(self, attributes: Attributes) -> None:
        denials: list[tuple[str, Failure]] = []
        for bound in await self._policies.matching(attributes):
            variables = variables_of(await seen_as(attributes, bound.kind))
            policy, binding = bound.names
            actions = bound.binding["spec"].get("validationActions") or ("Deny",)
            for failure in await self._judge(bound, attributes, {**variables, "namespaceObject": bound.namespace}):
                if "Warn" in actions:
                    attributes.warnings.append(
                        f"Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}':"
                        f" {failure.message}"
                    )
                if "Deny" in actions:
                    text = f"ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request:"
                    denials.append((f"{text} {failure.message}", failure))
        if denials:
            text, failure = denials[0]
            raise PolicyDenied(attributes, text, failure.reason)

    async def _judge(self, bound: Bound, attributes: Attributes, variables: dict[str, Any]) -> list[Failure]:
        ignores = bound.ignores_failures
        try:
            parameters = await self._policies.parameters(bound, attributes)
        except ExpressionError as error:
            return [] if ignores else [Failure(str(error), "Invalid")]
        failures: list[Failure] = []
        with authorizing(self._authorizer, attributes.user):
            for parameter in parameters:
                failures += plan_verdict(bound.policy["spec"], {**variables, "params": parameter}, ignores=ignores)
        return failures


def plan_verdict(spec: Mapping[str, Any], variables: dict[str, Any], *, ignores: bool) -> list[Failure]:
    """The validations of a policy that do not hold for these variables."""
    try:
        if not meets_conditions(spec.get("matchConditions") or (), variables):
            return []
    except ExpressionError as error:
        return [] if ignores else [Failure(str(error), "Invalid")]
    variables, broken = compute_variables(spec, variables)
    failures: list[Failure] = []
    for validation in spec.get("validations") or ():
        failures += _validate(validation, variables, broken, ignores=ignores)
    return failures


def _validate(
    validation: Mapping[str, Any], variables: dict[str, Any], broken: Mapping[str, ExpressionError], *, ignores: bool
) -> Iterator[Failure]:
    expression, reason = validation.get("expression") or "", validation.get("reason") or "Invalid"
    try:
        if evaluate(expression, variables) is True:
            return
    except ExpressionError as error:
        if not ignores:
            yield Failure(str(cause_of(error, expression, broken)), "Invalid")
        return
    yield Failure(_message(validation, variables) or f"failed expression: {expression.strip()}", reason)


def _message(validation: Mapping[str, Any], variables: dict[str, Any]) -> str:
    expression = validation.get("messageExpression") or ""
    if expression:
        try:
            message = evaluate(expression, variables)
        except ExpressionError:
            message = ""  # the fixed message stands in, as documented
        if isinstance(message, str) and message.strip() and "\n" not in message:
            return message.strip()
    return (validation.get("message") or "").strip()
