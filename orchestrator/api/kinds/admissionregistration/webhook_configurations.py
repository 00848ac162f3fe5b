"""MutatingWebhookConfiguration and ValidatingWebhookConfiguration.

Mirrors pkg/apis/admissionregistration and its printers.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.admissionregistration.expressions import validate_match_conditions
from orchestrator.api.kinds.admissionregistration.match_rules import default_rules, validate_rule
from orchestrator.api.kinds.admissionregistration.webhook_clients import default_webhook_service, validate_client_config
from orchestrator.api.kinds.columns import AGE, NAME, age, count
from orchestrator.api.kinds.defaulting import fill, items, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.label_selectors import validate_label_selector
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import (
    MUTATING_WEBHOOK_CONFIGURATIONS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Resource,
)

_CATEGORIES = ("api-extensions",)
_DEFINITION = "io.k8s.api.admissionregistration.v1."
_TIMEOUT_SECONDS_MAX = 30


def _default_webhooks(obj: Object, *, mutating: bool) -> None:
    for webhook in items(obj, "webhooks"):
        fill(webhook, failurePolicy="Fail", matchPolicy="Equivalent", timeoutSeconds=10)
        fill(webhook, namespaceSelector={}, objectSelector={})
        if mutating:
            fill(webhook, reinvocationPolicy="Never")
        default_webhook_service(struct(webhook, "clientConfig"))
        default_rules(webhook, "rules")


def _validate_webhook(webhook: dict[str, Any], path: str, *, mutating: bool) -> list[Cause]:
    name = webhook.get("name") or ""
    causes = [fields.invalid(f"{path}.name", name, text) for text in names.is_fully_qualified_name(name)]
    for position, rule in enumerate(webhook.get("rules") or ()):
        causes += validate_rule(rule, fields.index(f"{path}.rules", position))
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
    causes += validate_match_conditions(webhook.get("matchConditions") or (), f"{path}.matchConditions")
    versions = webhook.get("admissionReviewVersions") or []
    where = f"{path}.admissionReviewVersions"
    if not versions:
        causes.append(fields.required(where, "must specify one of v1, v1beta1"))
    again = fields.repeated(versions)
    for position, version in enumerate(versions):
        if position in again:
            causes.append(fields.invalid(fields.index(where, position), version, "duplicate version"))
        causes += [
            fields.invalid(fields.index(where, position), version, text) for text in names.is_dns1035_label(version)
        ]
    if versions and not {"v1", "v1beta1"} & set(versions):
        causes.append(fields.invalid(where, versions, "must include at least one of v1, v1beta1"))
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
