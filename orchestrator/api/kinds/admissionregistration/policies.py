"""ValidatingAdmissionPolicy, MutatingAdmissionPolicy and their bindings.

Mirrors pkg/apis/admissionregistration and its printers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.admissionregistration.expressions import (
    AUTHORIZER_NAMES,
    environment_of,
    expression_complaint,
    policy_names,
    untyped_text,
    validate_expression,
    validate_match_conditions,
)
from orchestrator.api.kinds.admissionregistration.match_rules import OPERATIONS, default_rules, validate_rule
from orchestrator.api.kinds.columns import AGE, NAME, UNSET, age, count, dig, ref
from orchestrator.api.kinds.defaulting import clear_status, fill, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.label_selectors import validate_label_selector
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import (
    MUTATING_ADMISSION_POLICIES,
    MUTATING_ADMISSION_POLICY_BINDINGS,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
)

if TYPE_CHECKING:
    from orchestrator.api.structural.cel.admission import Environment

_CATEGORIES = ("api-extensions",)
_DEFINITION = "io.k8s.api.admissionregistration.v1."
_AUDITS_MAX = 20
_AUDIT_BYTES_MAX = 5 * 1024
_LINE_BREAK = re.compile(r"[\n\r]")
_CEL_RESERVED = frozenset({
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
    "let", "loop", "package", "namespace", "return", "var", "void", "while",
})  # fmt: skip


def _default_match_resources(holder: dict[str, Any], key: str) -> None:
    match = holder.get(key)
    if isinstance(match, dict):
        fill(match, matchPolicy="Equivalent", namespaceSelector={}, objectSelector={})
        default_rules(match, "resourceRules")
        default_rules(match, "excludeResourceRules")


def default_policy(obj: Object) -> None:
    """Failing closed, matching equivalent requests."""
    spec = struct(obj, "spec")
    fill(spec, failurePolicy="Fail")
    _default_match_resources(spec, "matchConstraints")


def _default_validating_policy(obj: Object) -> None:
    default_policy(obj)
    struct(obj, "status")


def _default_policy_binding(obj: Object) -> None:
    spec = struct(obj, "spec")
    _default_match_resources(spec, "matchResources")


def _validate_match_resources(match: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    policy = match.get("matchPolicy")
    if policy is None:
        causes.append(fields.required(f"{path}.matchPolicy"))
    elif policy not in ("Equivalent", "Exact"):
        causes.append(fields.not_supported(f"{path}.matchPolicy", policy, ("Equivalent", "Exact")))
    for key in ("namespaceSelector", "objectSelector"):
        if match.get(key) is None:
            causes.append(fields.required(f"{path}.{key}"))
        else:
            causes += validate_label_selector(match[key], f"{path}.{key}")
    for key in ("resourceRules", "excludeResourceRules"):
        for position, rule in enumerate(match.get(key) or ()):
            where = fields.index(f"{path}.{key}", position)
            causes += _validate_resource_names(rule.get("resourceNames") or (), f"{where}.resourceNames")
            causes += validate_rule(rule, where)
    return causes


def _validate_resource_names(given: Sequence[str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    again = fields.repeated(given)
    for position, name in enumerate(given):
        where = fields.index(path, position)
        causes += [fields.invalid(where, name, text) for text in names.is_path_segment_name(name)]
        if position in again:
            causes.append(fields.duplicate(where, name))
    return causes


def _validate_param_kind(kind: dict[str, Any], path: str) -> list[Cause]:
    version, name = kind.get("apiVersion") or "", kind.get("kind") or ""
    causes: list[Cause] = []
    where = f"{path}.apiVersion"
    group, _, short = version.rpartition("/")
    if not version:
        causes.append(fields.required(where))
    elif "/" in group:
        causes.append(fields.invalid(where, version, f"unexpected GroupVersion string: {version}"))
    else:
        if group and (texts := names.is_dns1123_subdomain(group)):
            causes.append(fields.invalid(where, group, ",".join(texts)))
        if not short:
            causes.append(fields.invalid(where, version, "version must be specified"))
        elif texts := names.is_dns1035_label(short):
            causes.append(fields.invalid(where, short, ",".join(texts)))
    if not name:
        causes.append(fields.required(f"{path}.kind"))
    elif texts := names.is_dns1035_label(name.lower()):
        detail = "may have mixed case, but should otherwise match: " + ",".join(texts)
        causes.append(fields.invalid(f"{path}.kind", name, detail))
    return causes


def _validate_mutable(constraints: dict[str, Any], path: str) -> list[Cause]:
    """What is deleted cannot be mutated."""
    supported = [operation for operation in OPERATIONS if operation != "DELETE"]
    return [
        fields.not_supported(f"{fields.index(f'{path}.resourceRules', position)}.operations", "DELETE", supported)
        for position, rule in enumerate(constraints.get("resourceRules") or ())
        if "DELETE" in (rule.get("operations") or ())
    ]


def _validate_policy(obj: Object, *, mutating: bool) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    failure = spec.get("failurePolicy")
    if failure is not None and failure not in ("Fail", "Ignore"):
        causes.append(fields.not_supported("spec.failurePolicy", failure, ("Fail", "Ignore")))
    kind = spec.get("paramKind")
    if kind is not None:
        causes += _validate_param_kind(kind, "spec.paramKind")
    constraints = spec.get("matchConstraints")
    if constraints is None:
        causes.append(fields.required("spec.matchConstraints"))
    else:
        causes += _validate_match_resources(constraints, "spec.matchConstraints")
        if not constraints.get("resourceRules"):
            causes.append(fields.required("spec.matchConstraints.resourceRules"))
    visible = policy_names(spec)
    if mutating and constraints is not None:
        causes += _validate_mutable(constraints, "spec.matchConstraints")
    causes += validate_match_conditions(spec.get("matchConditions") or (), "spec.matchConditions", visible)
    environment = environment_of(visible)
    seen: set[str] = set()
    for position, variable in enumerate(spec.get("variables") or ()):
        path = fields.index("spec.variables", position)
        name = variable.get("name") or ""
        if not name.strip():
            causes.append(fields.required(f"{path}.name", "name is not specified"))
        elif names.is_c_identifier(name) or name in _CEL_RESERVED:
            causes.append(fields.invalid(f"{path}.name", name, "name is not a valid CEL identifier"))
        if not (variable.get("expression") or "").strip():
            causes.append(fields.required(f"{path}.expression", "expression is not specified"))
        else:
            text = untyped_text(variable["expression"]) if mutating else variable["expression"]
            if complaint := expression_complaint(text, environment, ()):
                causes.append(fields.invalid(f"{path}.expression", variable["expression"], complaint))
            environment.add_variable(name, text)
        if name in seen:
            causes.append(fields.duplicate(f"{path}.name", name))
        seen.add(name)
    if mutating:
        return causes + _validate_mutations(spec, environment)
    return causes + _validate_validations(spec, name_of(obj), environment)


def _validate_validations(spec: dict[str, Any], policy: str, environment: Environment) -> list[Cause]:
    causes: list[Cause] = []
    validations, audits = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not validations and not audits:
        causes.append(
            fields.required("spec.validations", "validations or auditAnnotations must contain at least one item")
        )
        causes.append(
            fields.required("spec.auditAnnotations", "validations or auditAnnotations must contain at least one item")
        )
        return causes
    reasons = ("Forbidden", "Invalid", "RequestEntityTooLarge")
    of_messages = environment.without(*AUTHORIZER_NAMES)
    for position, validation in enumerate(validations):
        path = fields.index("spec.validations", position)
        if not (validation.get("expression") or "").strip():
            causes.append(fields.required(f"{path}.expression", "expression is not specified"))
        else:
            causes += validate_expression(validation["expression"], f"{path}.expression", environment, "BOOL")
        if (text := validation.get("messageExpression") or "").strip():
            causes += validate_expression(text, f"{path}.messageExpression", of_messages, "STRING")
        elif text:
            causes.append(fields.invalid(f"{path}.messageExpression", text, "must be non-empty if specified"))
        message = validation.get("message") or ""
        if message and not message.strip():
            causes.append(fields.invalid(f"{path}.message", message, "message must be non-empty if specified"))
        elif _LINE_BREAK.search(message.strip()):
            causes.append(fields.invalid(f"{path}.message", message, "message must not contain line breaks"))
        reason = validation.get("reason")
        if reason is not None and reason not in reasons:
            causes.append(fields.not_supported(f"{path}.reason", reason, reasons))
    return causes + _validate_audits(audits, policy, environment)


def _validate_audits(audits: Sequence[dict[str, Any]], policy: str, environment: Environment) -> list[Cause]:
    causes: list[Cause] = []
    if len(audits) > _AUDITS_MAX:
        detail = f"must not have more than {_AUDITS_MAX} auditAnnotations"
        causes.append(fields.invalid("spec.auditAnnotations", audits, detail))
    seen: set[str] = set()
    for position, annotation in enumerate(audits):
        path = fields.index("spec.auditAnnotations", position)
        key, text = annotation.get("key") or "", (annotation.get("valueExpression") or "").strip()
        full = f"{policy}/{key}"
        causes += [fields.invalid(f"{path}.key", full, detail) for detail in names.is_qualified_name(full)]
        if not text:
            causes.append(fields.required(f"{path}.valueExpression", "valueExpression is not specified"))
        elif len(text.encode()) > _AUDIT_BYTES_MAX:
            detail = f"must not exceed {_AUDIT_BYTES_MAX} bytes in length"
            causes.append(fields.required(f"{path}.valueExpression", detail))
        else:
            causes += validate_expression(text, f"{path}.valueExpression", environment, "STRING", "NULL")
        if key in seen:
            causes.append(fields.duplicate(f"{path}.key", key))
        seen.add(key)
    return causes


def _validate_mutations(spec: dict[str, Any], environment: Environment) -> list[Cause]:
    causes: list[Cause] = []
    mutations = spec.get("mutations") or ()
    if not mutations:
        causes.append(fields.required("spec.mutations", "mutations must contain at least one item"))
    kinds = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
    for position, mutation in enumerate(mutations):
        path = fields.index("spec.mutations", position)
        kind = mutation.get("patchType") or ""
        if kind not in kinds:
            causes.append(fields.not_supported(f"{path}.patchType", kind, tuple(kinds)))
            continue
        key = kinds[kind]
        text = dig(mutation, key, "expression") or ""
        if not text.strip():
            causes.append(fields.required(f"{path}.{key}.expression", "expression is not specified"))
        else:
            result = "LIST" if key == "jsonPatch" else "MAP"
            if complaint := expression_complaint(untyped_text(text), environment, (result,)):
                causes.append(fields.invalid(f"{path}.{key}.expression", text, complaint))
    policy = spec.get("reinvocationPolicy") or ""
    if not policy:
        causes.append(fields.required("spec.reinvocationPolicy"))
    elif policy not in ("IfNeeded", "Never"):
        causes.append(fields.not_supported("spec.reinvocationPolicy", policy, ("IfNeeded", "Never")))
    return causes


def _validate_policy_binding(obj: Object, *, mutating: bool) -> list[Cause]:
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    name = spec.get("policyName") or ""
    if not name:
        causes.append(fields.required("spec.policyName"))
    else:
        causes += [fields.invalid("spec.policyName", name, text) for text in names.is_dns1123_subdomain(name)]
    reference = spec.get("paramRef")
    if reference is not None:
        param, selector = reference.get("name") or "", reference.get("selector")
        exclusive = "name and selector are mutually exclusive"
        if param:
            where = "spec.paramRef.name"
            causes += [fields.invalid(where, param, text) for text in names.is_path_segment_name(param)]
            if selector is not None:
                causes.append(fields.forbidden(where, exclusive))
        if selector is not None:
            causes += validate_label_selector(selector, "spec.paramRef.selector")
            if param:
                causes.append(fields.forbidden("spec.paramRef.selector", exclusive))
        if not param and selector is None:
            causes.append(fields.required("spec.paramRef", "one of name or selector must be specified"))
        action = reference.get("parameterNotFoundAction")
        where = "spec.paramRef.parameterNotFoundAction"
        if not action:
            causes.append(fields.required(where))
        elif action not in ("Allow", "Deny"):
            causes.append(fields.not_supported(where, action, ("Deny", "Allow")))
    if spec.get("matchResources") is not None:
        causes += _validate_match_resources(spec["matchResources"], "spec.matchResources")
    if mutating:
        return causes + _validate_mutable(spec.get("matchResources") or {}, "spec.matchResources")
    actions = spec.get("validationActions") or []
    known = ("Audit", "Deny", "Warn")
    again = fields.repeated(actions)
    for position, action in enumerate(actions):
        where = fields.index("spec.validationActions", position)
        if action not in known:
            causes.append(fields.not_supported(where, action, known))
        if position in again:
            causes.append(fields.duplicate(where, action))
    if "Deny" in actions and "Warn" in actions:
        detail = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response"
            " and headers serves no purpose)"
        )
        causes.append(fields.invalid("spec.validationActions", actions, detail))
    if not actions:
        causes.append(fields.required("spec.validationActions", "at least one validation action is required"))
    return causes


def _policy_row(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    kind = spec.get("paramKind")
    shown = f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else UNSET
    return [name_of(obj), count(spec.get("validations") or spec.get("mutations")), shown, age(obj, now)]


def _policy_binding_row(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    reference = spec.get("paramRef")
    shown = UNSET
    if reference is not None:
        namespace, name = reference.get("namespace"), reference.get("name")
        shown = f"{namespace}/{name}" if namespace else (name or "*")
    return [name_of(obj), spec.get("policyName") or "", shown, age(obj, now)]


def _policy_columns(key: str, text: str) -> tuple[Column, ...]:
    return (
        NAME,
        Column(key, "integer", description=text),
        Column("ParamKind", description="ParamKind specifies the kind of resources used to parameterize this policy"),
        AGE,
    )


_BINDING_COLUMNS = (
    NAME,
    Column(
        "PolicyName", description=ref("admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec", "policyName")
    ),
    Column("ParamRef", description=ref("admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec", "paramRef")),
    AGE,
)

MUTATING_ADMISSION_POLICY = Kind(
    MUTATING_ADMISSION_POLICIES,
    _DEFINITION + "MutatingAdmissionPolicy",
    "mutatingadmissionpolicy",
    categories=_CATEGORIES,
    unconditional_update=False,
    has_generation=True,
    default=default_policy,
    validate=lambda obj: _validate_policy(obj, mutating=True),
    columns=_policy_columns(
        "Mutations", "Mutations indicates the number of mutation rules defined in this configuration"
    ),
    row=_policy_row,
)
MUTATING_ADMISSION_POLICY_BINDING = Kind(
    MUTATING_ADMISSION_POLICY_BINDINGS,
    _DEFINITION + "MutatingAdmissionPolicyBinding",
    "mutatingadmissionpolicybinding",
    categories=_CATEGORIES,
    unconditional_update=False,
    has_generation=True,
    default=_default_policy_binding,
    validate=lambda obj: _validate_policy_binding(obj, mutating=True),
    columns=_BINDING_COLUMNS,
    row=_policy_binding_row,
)
VALIDATING_ADMISSION_POLICY = Kind(
    VALIDATING_ADMISSION_POLICIES,
    _DEFINITION + "ValidatingAdmissionPolicy",
    "validatingadmissionpolicy",
    categories=_CATEGORIES,
    has_status=True,
    unconditional_update=False,
    has_generation=True,
    default=_default_validating_policy,
    prepare_create=clear_status,
    validate=lambda obj: _validate_policy(obj, mutating=False),
    columns=_policy_columns(
        "Validations",
        "Validations indicates the number of validation rules defined in this configuration",
    ),
    row=_policy_row,
    status_metadata=(),
)
VALIDATING_ADMISSION_POLICY_BINDING = Kind(
    VALIDATING_ADMISSION_POLICY_BINDINGS,
    _DEFINITION + "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybinding",
    categories=_CATEGORIES,
    unconditional_update=False,
    has_generation=True,
    default=_default_policy_binding,
    validate=lambda obj: _validate_policy_binding(obj, mutating=False),
    columns=_BINDING_COLUMNS,
    row=_policy_binding_row,
)
