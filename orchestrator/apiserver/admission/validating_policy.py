"""ValidatingAdmissionPolicy: CEL expressions in the API decide about writes (KEP-3488).

Source: "Validating Admission Policy", kubernetes.io. A policy judges where a binding puts it to work, once per
parameter object that the binding selects.
# Simplified: audit annotations are evaluated nowhere, as there is no audit log; `status.typeChecking` stays empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.api import errors
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.registry import Registry
from orchestrator.api.objects import Object, labels_of, name_of
from orchestrator.api.resources import VALIDATING_ADMISSION_POLICIES, VALIDATING_ADMISSION_POLICY_BINDINGS
from orchestrator.api.selectors import from_label_selector
from orchestrator.apiserver.admission.expressions import ExpressionError, evaluate, meets_conditions, variables_of
from orchestrator.apiserver.admission.matching import EXEMPT, matches_resources
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes, Reader
from orchestrator.store import Event, EventType, Record, Store

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


@dataclass(frozen=True, slots=True)
class Failure:
    """One validation that does not hold."""

    message: str
    reason: str


class ValidatingAdmissionPolicy(AdmissionPlugin):
    """Runs for writes of everything but the configuration of admission."""

    name = "ValidatingAdmissionPolicy"

    def __init__(self, store: Store, reader: Reader, registry: Registry) -> None:
        self._reader = reader
        self._registry = registry
        self._policies: dict[str, Record] = {}
        self._bindings: dict[str, Record] = {}
        store.observe(VALIDATING_ADMISSION_POLICIES.group_resource, lambda event: _keep(self._policies, event))
        store.observe(VALIDATING_ADMISSION_POLICY_BINDINGS.group_resource, lambda event: _keep(self._bindings, event))

    def handles(self, attributes: Attributes) -> bool:
        return bool(self._bindings) and bool(self._policies) and attributes.group_resource not in EXEMPT

    async def validate(self, attributes: Attributes) -> None:
        namespace = None
        if attributes.kind.resource.namespaced:
            namespace = await self._reader.read("namespaces", attributes.namespace)
        denials: list[tuple[str, Failure]] = []
        variables: dict[str, Any] | None = None
        for binding_name in sorted(self._bindings):
            binding = self._bindings[binding_name].obj
            record = self._policies.get(binding["spec"].get("policyName") or "")
            if record is None:
                continue
            policy = record.obj
            if not matches_resources(policy["spec"].get("matchConstraints") or {}, attributes, namespace):
                continue
            if not matches_resources(binding["spec"].get("matchResources"), attributes, namespace):
                continue
            if variables is None:
                variables = {**variables_of(attributes), "namespaceObject": namespace}
            for failure in await self._judge(policy, binding, attributes, variables):
                text = (
                    f"ValidatingAdmissionPolicy '{name_of(policy)}' with binding '{binding_name}' denied request:"
                    f" {failure.message}"
                )
                actions = binding["spec"].get("validationActions") or ("Deny",)
                if "Warn" in actions:
                    attributes.warnings.append(
                        f"Validation failed for ValidatingAdmissionPolicy '{name_of(policy)}' with binding"
                        f" '{binding_name}': {failure.message}"
                    )
                if "Deny" in actions:
                    denials.append((text, failure))
        if denials:
            text, failure = denials[0]
            raise PolicyDenied(attributes, text, failure.reason)

    async def _judge(
        self, policy: Object, binding: Object, attributes: Attributes, variables: dict[str, Any]
    ) -> list[Failure]:
        ignores = policy["spec"].get("failurePolicy") == "Ignore"
        try:
            parameters = await self._parameters(policy, binding, attributes)
        except ExpressionError as error:
            return [] if ignores else [Failure(str(error), "Invalid")]
        failures: list[Failure] = []
        for parameter in parameters:
            failures += plan_verdict(policy["spec"], {**variables, "params": parameter}, ignores=ignores)
        return failures

    async def _parameters(self, policy: Object, binding: Object, attributes: Attributes) -> list[Object | None]:
        kind, reference = policy["spec"].get("paramKind"), binding["spec"].get("paramRef")
        if not kind or not reference:
            return [None]
        group, _, version = (kind.get("apiVersion") or "").rpartition("/")
        found = self._registry.by_kind(group, version, kind.get("kind") or "")
        if found is None:
            raise ExpressionError(f"failed to find resource referenced by paramKind: '{kind.get('apiVersion')}'")
        namespace = ""
        if found.resource.namespaced:
            namespace = reference.get("namespace") or attributes.namespace
            if not namespace:
                raise ExpressionError("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")  # fmt: skip  # noqa: E501
        name, selector = reference.get("name"), reference.get("selector")
        if name:
            one = await self._reader.read(found.resource.group_resource, name, namespace)
            selected = [one] if one is not None else []
        else:
            compiled = from_label_selector(selector)
            everything = await self._reader.read_all(found.resource.group_resource, namespace)
            selected = [one for one in everything if compiled.matches(labels_of(one))]
        if not selected and reference.get("parameterNotFoundAction") != "Allow":
            raise ExpressionError("no params found for policy binding with `Deny` parameterNotFoundAction")
        return list(selected)


def plan_verdict(spec: Mapping[str, Any], variables: dict[str, Any], *, ignores: bool) -> list[Failure]:
    """The validations of a policy that do not hold for these variables."""
    try:
        if not meets_conditions(spec.get("matchConditions") or (), variables):
            return []
    except ExpressionError as error:
        return [] if ignores else [Failure(str(error), "Invalid")]
    computed: dict[str, Any] = {}
    variables = {**variables, "variables": computed}
    broken: dict[str, ExpressionError] = {}
    for variable in spec.get("variables") or ():
        name = variable.get("name") or ""
        try:
            computed[name] = evaluate(variable.get("expression") or "", variables)
        except ExpressionError as error:
            broken[name] = error  # only a failure where it is used
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
            used = next((failure for name, failure in broken.items() if f"variables.{name}" in expression), error)
            yield Failure(str(used), "Invalid")
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


def _keep(records: dict[str, Record], event: Event) -> None:
    name = event.record.key.name
    if event.type is EventType.DELETED:
        records.pop(name, None)
    else:
        records[name] = event.record
