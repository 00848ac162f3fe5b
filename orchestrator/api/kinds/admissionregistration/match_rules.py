"""Rules that say which requests are sent to a webhook, or judged by a policy."""

from __future__ import annotations

from typing import Any

from orchestrator.api import fields
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.defaulting import fill, items

OPERATIONS = ("*", "CREATE", "UPDATE", "DELETE", "CONNECT")


def default_rules(holder: dict[str, Any], key: str) -> None:
    """Rules are about objects of every scope unless they say otherwise."""
    for rule in items(holder, key):
        fill(rule, scope="*")


def validate_rule(rule: dict[str, Any], path: str) -> list[Cause]:
    """One rule: operations, groups, versions, resources, each named at least once and `*` alone."""
    causes: list[Cause] = []
    operations = rule.get("operations") or []
    if not operations:
        causes.append(fields.required(f"{path}.operations"))
    if len(operations) > 1 and "*" in operations:
        causes.append(
            fields.invalid(f"{path}.operations", operations, "if '*' is present, must not specify other operations")
        )
    for position, operation in enumerate(operations):
        if operation not in OPERATIONS:
            causes.append(
                fields.not_supported(fields.index(f"{path}.operations", position), operation, sorted(OPERATIONS))
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
