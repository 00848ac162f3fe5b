"""Webhook configurations and admission policies. Mirrors pkg/apis/admissionregistration and its printers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, NAME, UNSET, age, count, dig, ref
from orchestrator.api.kinds.defaulting import clear_status, fill, items, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.label_selectors import validate_label_selector
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import (
    MUTATING_ADMISSION_POLICIES,
    MUTATING_ADMISSION_POLICY_BINDINGS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Resource,
)

if TYPE_CHECKING:
    from orchestrator.api.structural.cel.admission import Environment

_CATEGORIES = ("api-extensions",)
_DEFINITION = "io.k8s.api.admissionregistration.v1."
_OPERATIONS = ("*", "CREATE", "UPDATE", "DELETE", "CONNECT")
_TIMEOUT_SECONDS_MAX = 30
_MATCH_CONDITIONS_MAX = 64
_AUDITS_MAX = 20
_AUDIT_BYTES_MAX = 5 * 1024
_LINE_BREAK = re.compile(r"[\n\r]")
_CEL_RESERVED = frozenset({
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
    "let", "loop", "package", "namespace", "return", "var", "void", "while",
})  # fmt: skip


# --- webhooks ---------------------------------------------------------------------------------


def _default_rules(holder: dict[str, Any], key: str) -> None:
    for rule in items(holder, key):
        fill(rule, scope="*")


def _default_webhooks(obj: Object, *, mutating: bool) -> None:
    for webhook in items(obj, "webhooks"):
        fill(webhook, failurePolicy="Fail", matchPolicy="Equivalent", timeoutSeconds=10)
        fill(webhook, namespaceSelector={}, objectSelector={})
        if mutating:
            fill(webhook, reinvocationPolicy="Never")
        default_webhook_service(struct(webhook, "clientConfig"))
        _default_rules(webhook, "rules")


def default_webhook_service(config: dict[str, Any]) -> None:
    """The port of a service that is called is 443."""
    service = config.get("service")
    if isinstance(service, dict):
        fill(service, port=443)


def validate_client_config(config: dict[str, Any], path: str) -> list[Cause]:
    """Exactly one of a URL and a Service."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [fields.required(path, "exactly one of url or service is required")]
    if url is not None:
        return _validate_url(url, f"{path}.url")
    return validate_webhook_service(service or {}, f"{path}.service")


def _validate_url(url: str, path: str) -> list[Cause]:
    form = "; desired format: https://host[/path]"
    causes: list[Cause] = []
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return [fields.required(path, f"url must be a valid URL: {error}{form}")]
    if parts.scheme != "https":
        causes.append(fields.invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{form}"))
    if not parts.netloc:
        causes.append(fields.invalid(path, parts.netloc, f"host must be specified{form}"))
    if "@" in parts.netloc:
        causes.append(fields.invalid(path, parts.username or "", "user information is not permitted in the URL"))
    if parts.fragment:
        causes.append(fields.invalid(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        causes.append(fields.invalid(path, parts.query, "query parameters are not permitted in the URL"))
    return causes


def validate_webhook_service(service: dict[str, Any], path: str) -> list[Cause]:
    """Name, namespace, port and path of a Service that is called."""
    causes: list[Cause] = []
    if not service.get("name"):
        causes.append(fields.required(f"{path}.name", "service name is required"))
    if not service.get("namespace"):
        causes.append(fields.required(f"{path}.namespace", "service namespace is required"))
    port = service.get("port")
    for text in names.is_port_number(port or 0):
        causes.append(fields.invalid(f"{path}.port", port or 0, f"port is not valid: {text}"))
    where = service.get("path")
    if where is None:
        return causes
    if where in ("", "/"):
        return causes
    if where == "//":
        return [*causes, fields.invalid(f"{path}.path", where, "segment[0] may not be empty")]
    if not where.startswith("/"):
        causes.append(fields.invalid(f"{path}.path", where, "must start with a '/'"))
    for position, part in enumerate(where[1:].removesuffix("/").split("/")):
        if not part:
            causes.append(fields.invalid(f"{path}.path", where, f"segment[{position}] may not be empty"))
            continue
        for text in names.is_dns1123_subdomain(part):
            causes.append(fields.invalid(f"{path}.path", where, f"segment[{position}]: {text}"))
    return causes


def _validate_rule(rule: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    operations = rule.get("operations") or []
    if not operations:
        causes.append(fields.required(f"{path}.operations"))
    if len(operations) > 1 and "*" in operations:
        causes.append(
            fields.invalid(f"{path}.operations", operations, "if '*' is present, must not specify other operations")
        )
    for position, operation in enumerate(operations):
        if operation not in _OPERATIONS:
            causes.append(
                fields.not_supported(fields.index(f"{path}.operations", position), operation, sorted(_OPERATIONS))
            )
    for key, values in (("apiGroups", rule.get("apiGroups") or []), ("apiVersions", rule.get("apiVersions") or [])):
        if not values:
            causes.append(fields.required(f"{path}.{key}"))
        if len(values) > 1 and "*" in values:
            causes.append(
                fields.invalid(f"{path}.{key}", values, "if '*' is present, must not specify other "
                               + ("API groups" if key == "apiGroups" else "API versions"))
            )  # fmt: skip
        if key == "apiVersions":
            for position, value in enumerate(values):
                if not value:
                    causes.append(fields.required(fields.index(f"{path}.{key}", position)))
    causes += _validate_resources(rule.get("resources") or [], f"{path}.resources")
    scope = rule.get("scope")
    if scope is not None and scope not in ("*", "Cluster", "Namespaced"):
        causes.append(fields.not_supported(f"{path}.scope", scope, ("*", "Cluster", "Namespaced")))
    return causes


def _validate_resources(resources: list[str], path: str) -> list[Cause]:
    if not resources:
        return [fields.required(path)]
    causes: list[Cause] = []
    whole: set[str] = set()
    everywhere: set[str] = set()
    is_plain = False
    for position, resource in enumerate(resources):
        where = fields.index(path, position)
        if not resource:
            causes.append(fields.required(where))
            continue
        name, slash, part = resource.partition("/")
        if not slash:
            # Only the last one counts, as in kube-apiserver.
            is_plain = resource != "*"
            continue
        for known, other in ((name in whole, f"{name}/*"), (part in everywhere, f"*/{part}")):
            if known:
                detail = f"if '{other}' is present, must not specify {resource}"
                causes.append(fields.invalid(where, resource, detail))
        if part == "*":
            whole.add(name)
        if name == "*":
            everywhere.add(part)
    if len(resources) > 1 and "*/*" in resources:
        causes.append(fields.invalid(path, resources, "if '*/*' is present, must not specify other resources"))
    if "*" in resources and is_plain:
        causes.append(
            fields.invalid(path, resources, "if '*' is present, must not specify other resources without subresources")
        )
    return causes


def _validate_webhook(webhook: dict[str, Any], path: str, *, mutating: bool) -> list[Cause]:
    name = webhook.get("name") or ""
    causes = [fields.invalid(f"{path}.name", name, text) for text in names.is_fully_qualified_name(name)]
    for position, rule in enumerate(webhook.get("rules") or ()):
        causes += _validate_rule(rule, fields.index(f"{path}.rules", position))
    failure, match = webhook.get("failurePolicy"), webhook.get("matchPolicy")
    if failure is not None and failure not in ("Fail", "Ignore"):
        causes.append(fields.not_supported(f"{path}.failurePolicy", failure, ("Fail", "Ignore")))
    if match is not None and match not in ("Equivalent", "Exact"):
        causes.append(fields.not_supported(f"{path}.matchPolicy", match, ("Equivalent", "Exact")))
    effects = webhook.get("sideEffects")
    if effects is None:
        causes.append(fields.required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun"))
    elif effects not in ("None", "NoneOnDryRun"):
        causes.append(fields.not_supported(f"{path}.sideEffects", effects, ("None", "NoneOnDryRun")))
    timeout = webhook.get("timeoutSeconds")
    if timeout is not None and not 1 <= timeout <= _TIMEOUT_SECONDS_MAX:
        causes.append(
            fields.invalid(f"{path}.timeoutSeconds", timeout, "the timeout value must be between 1 and 30 seconds")
        )
    for key in ("namespaceSelector", "objectSelector"):
        causes += validate_label_selector(webhook.get(key), f"{path}.{key}")
    reinvocation = webhook.get("reinvocationPolicy")
    if mutating and reinvocation is not None and reinvocation not in ("IfNeeded", "Never"):
        causes.append(fields.not_supported(f"{path}.reinvocationPolicy", reinvocation, ("IfNeeded", "Never")))
    causes += validate_client_config(webhook.get("clientConfig") or {}, f"{path}.clientConfig")
    causes += _validate_match_conditions(webhook.get("matchConditions") or (), f"{path}.matchConditions")
    versions = webhook.get("admissionReviewVersions") or []
    where = f"{path}.admissionReviewVersions"
    if not versions:
        causes.append(fields.required(where, "must specify one of v1, v1beta1"))
    for position, version in enumerate(versions):
        if version in versions[:position]:
            causes.append(fields.invalid(fields.index(where, position), version, "duplicate version"))
        causes += [
            fields.invalid(fields.index(where, position), version, text) for text in names.is_dns1035_label(version)
        ]
    if versions and not {"v1", "v1beta1"} & set(versions):
        causes.append(fields.invalid(where, versions, "must include at least one of v1, v1beta1"))
    return causes


_AUTHORIZER = ("authorizer", "authorizer.requestResource")
_REQUEST = ("object", "oldObject", "request", *_AUTHORIZER)
"""What each expression of admission sees; those of messages do not ask the authorizer."""


def policy_names(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """What the match conditions of a policy see; all its other expressions see `variables` as well."""
    return (*_REQUEST, "namespaceObject", *(("params",) if spec.get("paramKind") else ()))


def _environment(names_seen: Sequence[str]) -> Environment:
    """For expressions that see these variables; what their objects' types are is not known here."""
    # Imported with the first expression: a start without any need not pay for CEL.
    from orchestrator.api.structural.cel.admission import untyped

    return untyped().environment(names_seen)


def _complaint(expression: str, environment: Environment, results: Sequence[str]) -> str:
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


def _validate_expression(expression: str, path: str, environment: Environment, *results: str) -> list[Cause]:
    complaint = _complaint(expression, environment, results)
    return [fields.invalid(path, expression, complaint)] if complaint else []


def _untyped(expression: str) -> str:
    from orchestrator.api.structural.cel.object_literals import without_types

    return without_types(expression)


def _validate_match_conditions(conditions: Any, path: str, variables: tuple[str, ...] = _REQUEST) -> list[Cause]:
    if not conditions:
        return []
    causes: list[Cause] = []
    environment = _environment(variables)
    if len(conditions) > _MATCH_CONDITIONS_MAX:
        causes.append(fields.too_many(path, len(conditions), _MATCH_CONDITIONS_MAX))
    seen: set[str] = set()
    for position, condition in enumerate(conditions):
        where = fields.index(path, position)
        name = condition.get("name") or ""
        if not (condition.get("expression") or "").strip():
            causes.append(fields.required(f"{where}.expression"))
        else:
            causes += _validate_expression(condition["expression"], f"{where}.expression", environment, "BOOL")
        if not name:
            causes.append(fields.required(f"{where}.name"))
        elif name in seen:
            causes.append(fields.duplicate(f"{where}.name", name))
        else:
            causes += [fields.invalid(f"{where}.name", name, text) for text in names.is_qualified_name(name)]
        seen.add(name)
    return causes


def _validate_webhooks(obj: Object, *, mutating: bool) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for position, webhook in enumerate(obj.get("webhooks") or ()):
        path = fields.index("webhooks", position)
        causes += _validate_webhook(webhook, path, mutating=mutating)
        name = webhook.get("name") or ""
        if name and name in seen:
            causes.append(fields.duplicate(f"{path}.name", name))
        seen.add(name)
    return causes


def _webhooks_row(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), count(obj.get("webhooks")), age(obj, now)]


def _webhook_kind(resource: Resource, *, mutating: bool) -> Kind:
    return Kind(
        resource,
        _DEFINITION + resource.kind,
        resource.kind.lower(),
        categories=_CATEGORIES,
        unconditional_update=False,
        has_generation=True,
        default=lambda obj: _default_webhooks(obj, mutating=mutating),
        validate=lambda obj: _validate_webhooks(obj, mutating=mutating),
        columns=(
            NAME,
            Column(
                "Webhooks",
                "integer",
                description="Webhooks indicates the number of webhooks registered in this configuration",
            ),
            AGE,
        ),
        row=_webhooks_row,
    )


MUTATING_WEBHOOK_CONFIGURATION = _webhook_kind(MUTATING_WEBHOOK_CONFIGURATIONS, mutating=True)
VALIDATING_WEBHOOK_CONFIGURATION = _webhook_kind(VALIDATING_WEBHOOK_CONFIGURATIONS, mutating=False)


# --- policies ---------------------------------------------------------------------------------


def _default_match_resources(holder: dict[str, Any], key: str) -> None:
    match = holder.get(key)
    if isinstance(match, dict):
        fill(match, matchPolicy="Equivalent", namespaceSelector={}, objectSelector={})
        _default_rules(match, "resourceRules")
        _default_rules(match, "excludeResourceRules")


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
            causes += _validate_rule(rule, where)
    return causes


def _validate_resource_names(given: Sequence[str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for position, name in enumerate(given):
        where = fields.index(path, position)
        causes += [fields.invalid(where, name, text) for text in names.is_path_segment_name(name)]
        if name in given[:position]:
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
    supported = [operation for operation in _OPERATIONS if operation != "DELETE"]
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
    causes += _validate_match_conditions(spec.get("matchConditions") or (), "spec.matchConditions", visible)
    environment = _environment(visible)
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
            text = _untyped(variable["expression"]) if mutating else variable["expression"]
            if complaint := _complaint(text, environment, ()):
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
    of_messages = environment.without(*_AUTHORIZER)
    for position, validation in enumerate(validations):
        path = fields.index("spec.validations", position)
        if not (validation.get("expression") or "").strip():
            causes.append(fields.required(f"{path}.expression", "expression is not specified"))
        else:
            causes += _validate_expression(validation["expression"], f"{path}.expression", environment, "BOOL")
        if (text := validation.get("messageExpression") or "").strip():
            causes += _validate_expression(text, f"{path}.messageExpression", of_messages, "STRING")
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
            causes += _validate_expression(text, f"{path}.valueExpression", environment, "STRING", "NULL")
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
            if complaint := _complaint(_untyped(text), environment, (result,)):
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
    for position, action in enumerate(actions):
        where = fields.index("spec.validationActions", position)
        if action not in known:
            causes.append(fields.not_supported(where, action, known))
        if action in actions[:position]:
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
