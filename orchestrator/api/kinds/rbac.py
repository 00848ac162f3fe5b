"""Roles and bindings. Mirrors k8s.io/kubernetes/pkg/apis/rbac; escalation is the API server's check."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.columns import AGE, CREATED_AT, NAME, age, name_and_created_at, ref
from orchestrator.api.kinds.defaulting import fill_empty, items, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.go_values import go_struct
from orchestrator.api.kinds.label_selectors import validate_label_selector
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES

GROUP = "rbac.authorization.k8s.io"


def default_role(obj: Object) -> None:
    """The rules are always there, if only as null."""
    obj.setdefault("rules", None)


def _validate_rule(rule: dict[str, Any], path: str, *, namespaced: bool) -> list[Cause]:
    causes: list[Cause] = []
    urls = rule.get("nonResourceURLs") or []
    if not rule.get("verbs"):
        causes.append(fields.required(f"{path}.verbs", "verbs must contain at least one value"))
    if urls:
        if namespaced:
            causes.append(
                fields.invalid(f"{path}.nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs")
            )
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            causes.append(
                fields.invalid(
                    f"{path}.nonResourceURLs",
                    urls,
                    "rules cannot apply to both regular resources and non-resource URLs",
                )
            )
        return causes
    if not rule.get("apiGroups"):
        causes.append(fields.required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        causes.append(fields.required(f"{path}.resources", "resource rules must supply at least one resource"))
    return causes


def validate_role(obj: Object) -> list[Cause]:
    """The rules of a role in a namespace."""
    causes: list[Cause] = []
    for position, rule in enumerate(obj.get("rules") or ()):
        causes += _validate_rule(rule, fields.index("rules", position), namespaced=True)
    return causes


def validate_cluster_role(obj: Object) -> list[Cause]:
    """The rules of a cluster's role, and how they are collected from others."""
    causes: list[Cause] = []
    for position, rule in enumerate(obj.get("rules") or ()):
        causes += _validate_rule(rule, fields.index("rules", position), namespaced=False)
    aggregation = obj.get("aggregationRule")
    if aggregation is not None:
        path = "aggregationRule.clusterRoleSelectors"
        selectors = aggregation.get("clusterRoleSelectors") or ()
        if not selectors:
            causes.append(
                fields.required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")
            )
        for position, selector in enumerate(selectors):
            causes += validate_label_selector(selector, fields.index(path, position))
    return causes


def default_binding(obj: Object) -> None:
    """References and subjects are of RBAC's own group unless said otherwise."""
    fill_empty(struct(obj, "roleRef"), apiGroup=GROUP)
    for subject in items(obj, "subjects"):
        if subject.get("kind") in ("User", "Group"):
            fill_empty(subject, apiGroup=GROUP)
        elif subject.get("kind") == "ServiceAccount" and not subject.get("apiGroup"):
            subject.pop("apiGroup", None)


def _validate_subject(subject: dict[str, Any], path: str, *, namespaced: bool) -> list[Cause]:
    causes: list[Cause] = []
    name, kind, group = subject.get("name") or "", subject.get("kind") or "", subject.get("apiGroup") or ""
    if not name:
        causes.append(fields.required(f"{path}.name"))
    if kind == "ServiceAccount":
        if name:
            causes += [fields.invalid(f"{path}.name", name, text) for text in names.is_dns1123_subdomain(name)]
        if group:
            causes.append(fields.not_supported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            causes.append(fields.required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != GROUP:
            causes.append(fields.not_supported(f"{path}.apiGroup", group, (GROUP,)))
    else:
        causes.append(fields.not_supported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group")))
    return causes


def _validate_binding(obj: Object, *, namespaced: bool) -> list[Cause]:
    causes: list[Cause] = []
    reference = obj.get("roleRef") or {}
    group, kind, name = reference.get("apiGroup") or "", reference.get("kind") or "", reference.get("name") or ""
    known = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if group != GROUP:
        causes.append(fields.not_supported("roleRef.apiGroup", group, (GROUP,)))
    if kind not in known:
        causes.append(fields.not_supported("roleRef.kind", kind, known))
    if not name:
        causes.append(fields.required("roleRef.name"))
    else:
        causes += [fields.invalid("roleRef.name", name, text) for text in names.is_path_segment_name(name)]
    for position, subject in enumerate(obj.get("subjects") or ()):
        causes += _validate_subject(subject, fields.index("subjects", position), namespaced=namespaced)
    return causes


def validate_role_binding(obj: Object) -> list[Cause]:
    """Role and subjects of a binding in a namespace."""
    return _validate_binding(obj, namespaced=True)


def validate_cluster_role_binding(obj: Object) -> list[Cause]:
    """Role and subjects of a cluster's binding."""
    return _validate_binding(obj, namespaced=False)


def _role_ref_change(new: Object, old: Object) -> list[Cause]:
    if new.get("roleRef") == old.get("roleRef"):
        return []
    value = go_struct(new.get("roleRef"), APIGroup="", Kind="", Name="")
    if value is not None:
        value["APIGroup"] = (new.get("roleRef") or {}).get("apiGroup") or ""
    return [fields.invalid("roleRef", value, "cannot change roleRef")]


def _binding_row(obj: Object, now: datetime) -> list[Any]:
    reference = obj.get("roleRef") or {}
    users: list[str] = []
    groups: list[str] = []
    accounts: list[str] = []
    for subject in obj.get("subjects") or ():
        name = subject.get("name") or ""
        if subject.get("kind") == "User":
            users.append(name)
        elif subject.get("kind") == "Group":
            groups.append(name)
        elif subject.get("kind") == "ServiceAccount":
            accounts.append(f"{subject.get('namespace') or ''}/{name}")
    return [
        name_of(obj),
        f"{reference.get('kind') or ''}/{reference.get('name') or ''}",
        age(obj, now),
        ", ".join(users),
        ", ".join(groups),
        ", ".join(accounts),
    ]


def _binding_columns(kind: str, prefix: str) -> tuple[Column, ...]:
    return (
        NAME,
        Column("Role", description=ref(f"rbac.v1.{kind}", "roleRef")),
        AGE,
        Column("Users", description=f"Users in the {prefix}", priority=1),
        Column("Groups", description=f"Groups in the {prefix}", priority=1),
        Column("ServiceAccounts", description=f"ServiceAccounts in the {prefix}", priority=1),
    )


CLUSTER_ROLE_BINDING = Kind(
    CLUSTER_ROLE_BINDINGS,
    "io.k8s.api.rbac.v1.ClusterRoleBinding",
    "clusterrolebinding",
    create_on_update=True,
    default=default_binding,
    validate=validate_cluster_role_binding,
    validate_update=lambda new, old: validate_cluster_role_binding(new) + _role_ref_change(new, old),
    validate_name=names.is_path_segment_name,
    columns=_binding_columns("ClusterRoleBinding", "clusterRoleBinding"),
    row=_binding_row,
)
CLUSTER_ROLE = Kind(
    CLUSTER_ROLES,
    "io.k8s.api.rbac.v1.ClusterRole",
    "clusterrole",
    create_on_update=True,
    default=default_role,
    validate=validate_cluster_role,
    validate_name=names.is_path_segment_name,
    columns=(NAME, CREATED_AT),
    row=name_and_created_at,
)
ROLE_BINDING = Kind(
    ROLE_BINDINGS,
    "io.k8s.api.rbac.v1.RoleBinding",
    "rolebinding",
    create_on_update=True,
    default=default_binding,
    validate=validate_role_binding,
    validate_update=lambda new, old: validate_role_binding(new) + _role_ref_change(new, old),
    validate_name=names.is_path_segment_name,
    columns=_binding_columns("RoleBinding", "roleBinding"),
    row=_binding_row,
)
ROLE = Kind(
    ROLES,
    "io.k8s.api.rbac.v1.Role",
    "role",
    create_on_update=True,
    default=default_role,
    validate=validate_role,
    validate_name=names.is_path_segment_name,
    columns=(NAME, CREATED_AT),
    row=name_and_created_at,
)
