"""Which affinities, topology spread constraints and node selectors are valid.

Mirrors validateAffinity, ValidateNodeSelector and validateTopologySpreadConstraints of
k8s.io/kubernetes/pkg/apis/core/validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.label_selectors import validate_label_name, validate_label_selector

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def _validate_node_requirement(requirement: dict[str, Any], path: str, *, check_values: bool) -> list[Cause]:
    causes: list[Cause] = []
    operator, values = requirement.get("operator") or "", requirement.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            causes.append(fields.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            causes.append(
                fields.forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
            )
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            causes.append(
                fields.required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
            )
    else:
        causes.append(fields.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    causes += validate_label_name(requirement.get("key") or "", f"{path}.key")
    for position, value in enumerate(values if check_values else ()):
        for text in names.is_label_value(value):
            causes.append(fields.invalid(fields.index(f"{path}.values", position), value, text))
    return causes


def _validate_node_field(requirement: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    operator, values = requirement.get("operator") or "", requirement.get("values") or ()
    if operator in ("In", "NotIn"):
        if len(values) != 1:
            causes.append(
                fields.required(
                    f"{path}.values",
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                )
            )
    else:
        causes.append(fields.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    key = requirement.get("key") or ""
    if key != "metadata.name":
        causes.append(fields.invalid(f"{path}.key", key, "not a valid field selector key"))
    else:
        for position, value in enumerate(values):
            for text in names.is_dns1123_subdomain(value):
                causes.append(fields.invalid(fields.index(f"{path}.values", position), value, text))
    return causes


def validate_node_selector_term(term: dict[str, Any], path: str, *, check_values: bool = True) -> list[Cause]:
    """Expressions over labels, and over the name; only where it is a preference, values may be no labels'."""
    causes: list[Cause] = []
    for position, requirement in enumerate(term.get("matchExpressions") or ()):
        where = fields.index(f"{path}.matchExpressions", position)
        causes += _validate_node_requirement(requirement, where, check_values=check_values)
    for position, requirement in enumerate(term.get("matchFields") or ()):
        causes += _validate_node_field(requirement, fields.index(f"{path}.matchFields", position))
    return causes


def validate_node_selector(selector: dict[str, Any], path: str) -> list[Cause]:
    """At least one term, each valid."""
    terms = selector.get("nodeSelectorTerms") or ()
    where = f"{path}.nodeSelectorTerms"
    if not terms:
        return [fields.required(where, "must have at least one node selector term")]
    causes: list[Cause] = []
    for position, term in enumerate(terms):
        causes += validate_node_selector_term(term, fields.index(where, position))
    return causes


def validate_affinity(affinity: dict[str, Any] | None, path: str) -> list[Cause]:
    """Affinity to nodes, to pods, against pods."""
    if affinity is None:
        return []
    causes: list[Cause] = []
    node = affinity.get("nodeAffinity")
    if node is not None:
        where = f"{path}.nodeAffinity"
        if node.get(_REQUIRED) is not None:
            causes += validate_node_selector(node[_REQUIRED], f"{where}.{_REQUIRED}")
        for position, term in enumerate(node.get(_PREFERRED) or ()):
            spot = fields.index(f"{where}.{_PREFERRED}", position)
            causes += _validate_weight(term, spot)
            preference = term.get("preference") or {}
            causes += validate_node_selector_term(preference, f"{spot}.preference", check_values=False)
    for key in ("podAffinity", "podAntiAffinity"):
        pod = affinity.get(key)
        if pod is None:
            continue
        for position, term in enumerate(pod.get(_REQUIRED) or ()):
            causes += _validate_pod_term(term, fields.index(f"{path}.{key}.{_REQUIRED}", position))
        for position, term in enumerate(pod.get(_PREFERRED) or ()):
            spot = fields.index(f"{path}.{key}.{_PREFERRED}", position)
            causes += _validate_weight(term, spot)
            causes += _validate_pod_term(term.get("podAffinityTerm") or {}, f"{spot}.podAffinityTerm")
    return causes


def _validate_weight(term: dict[str, Any], path: str) -> list[Cause]:
    weight = term.get("weight") or 0
    return [] if 1 <= weight <= 100 else [fields.invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def _validate_pod_term(term: dict[str, Any], path: str) -> list[Cause]:
    causes = validate_label_selector(term.get("labelSelector"), f"{path}.labelSelector")
    causes += validate_label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for name in term.get("namespaces") or ():
        causes += [fields.invalid(f"{path}.namespace", name, text) for text in names.is_dns1123_label(name)]
    causes += _validate_label_keys(term, "matchLabelKeys", path)
    causes += _validate_label_keys(term, "mismatchLabelKeys", path)
    causes += _validate_keys_apart(term, path)
    for position, name in enumerate(term.get("matchLabelKeys") or ()):
        if name in (term.get("mismatchLabelKeys") or ()):
            where = fields.index(f"{path}.matchLabelKeys", position)
            causes.append(fields.invalid(where, name, "exists in both matchLabelKeys and mismatchLabelKeys"))
    key = term.get("topologyKey") or ""
    if not key:
        causes.append(fields.required(f"{path}.topologyKey", "can not be empty"))
    return causes + validate_label_name(key, f"{path}.topologyKey")


def _validate_label_keys(term: dict[str, Any], field: str, path: str) -> list[Cause]:
    keys = term.get(field) or ()
    if not keys:
        return []
    if term.get("labelSelector") is None:
        return [fields.forbidden(f"{path}.{field}", "must not be specified when labelSelector is not set")]
    causes: list[Cause] = []
    for position, key in enumerate(keys):
        causes += validate_label_name(key, fields.index(f"{path}.{field}", position))
    return causes


def _validate_keys_apart(holder: dict[str, Any], path: str) -> list[Cause]:
    """A key of `matchLabelKeys` is not one of the selector's, too: it becomes an expression of its own there."""
    positions = {key: position for position, key in enumerate(holder.get("matchLabelKeys") or ())}
    selector = holder.get("labelSelector")
    if not positions or selector is None:
        return []
    causes: list[Cause] = []
    seen = set(selector.get("matchLabels") or ())
    for expression in selector.get("matchExpressions") or ():
        key = expression.get("key") or ""
        if key in positions and key in seen:
            where = fields.index(path, positions[key])
            causes.append(fields.invalid(where, key, "exists in both matchLabelKeys and labelSelector"))
        seen.add(key)
    return causes


def validate_topology_spread(constraints: Sequence[dict[str, Any]], path: str) -> list[Cause]:
    """Skew, key, what to do; each pair of key and action once."""
    causes: list[Cause] = []
    pairs = [(one.get("topologyKey") or "", one.get("whenUnsatisfiable") or "") for one in constraints]
    for position, constraint in enumerate(constraints):
        where = fields.index(path, position)
        skew, key = constraint.get("maxSkew") or 0, constraint.get("topologyKey") or ""
        action, domains = constraint.get("whenUnsatisfiable") or "", constraint.get("minDomains")
        if skew <= 0:
            causes.append(fields.invalid(f"{where}.maxSkew", skew, "must be greater than zero"))
        if not key:
            causes.append(fields.required(f"{where}.topologyKey", "can not be empty"))
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            causes.append(
                fields.not_supported(f"{where}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway"))
            )
        if (key, action) in pairs[position + 1 :]:
            causes.append(fields.duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        if domains is not None:
            if domains <= 0:
                causes.append(fields.invalid(f"{where}.minDomains", domains, "must be greater than zero"))
            if action != "DoNotSchedule":
                causes.append(
                    fields.invalid(
                        f"{where}.minDomains",
                        domains,
                        f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}",
                    )
                )
        for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            policy = constraint.get(name)
            if policy is not None and policy not in ("Honor", "Ignore"):
                causes.append(fields.not_supported(f"{where}.{name}", policy, ("Honor", "Ignore")))
        causes += _validate_label_keys(constraint, "matchLabelKeys", where)
        causes += _validate_keys_apart(constraint, f"{where}.matchLabelKeys")
        causes += validate_label_selector(constraint.get("labelSelector"), f"{where}.labelSelector")
    return causes
