"""Which nodes a node selector, a required node affinity and tolerations allow.

Owns the matching rules that the scheduler and controllers share. Never ranks nodes. Mirrors
k8s.io/component-helpers/scheduling/corev1
(https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Taint = Mapping[str, Any]


def matches_expression(expression: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    """Whether one NodeSelectorRequirement holds for these labels (or fields)."""
    key, operator = expression.get("key", ""), expression.get("operator")
    wanted: Sequence[str] = expression.get("values") or ()
    if operator == "In":
        return key in values and values[key] in wanted
    if operator == "NotIn":
        return key not in values or values[key] not in wanted
    if operator == "Exists":
        return key in values
    if operator == "DoesNotExist":
        return key not in values
    if operator in ("Gt", "Lt"):
        try:
            actual, bound = int(values[key]), int(wanted[0])
        except (KeyError, ValueError, IndexError):
            return False
        return actual > bound if operator == "Gt" else actual < bound
    return False


def matches_term(term: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    """Whether a NodeSelectorTerm matches a node; an empty term matches none."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(matches_expression(one, labels) for one in expressions) and all(
        matches_expression(one, {"metadata.name": name}) for one in fields
    )


def matches_node_selector(selector: Mapping[str, Any] | None, labels: Mapping[str, str], name: str) -> bool:
    """Whether a NodeSelector (`nodeSelectorTerms`) matches a node; None matches every one."""
    if selector is None:
        return True
    return any(matches_term(term, labels, name) for term in selector.get("nodeSelectorTerms") or ())


def matches_required_affinity(spec: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    """Whether a pod's nodeSelector and required node affinity allow a node."""
    selector = spec.get("nodeSelector")
    if selector and not selector.items() <= labels.items():
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return matches_node_selector(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"), labels, name)


def tolerates_taint(toleration: Mapping[str, Any], taint: Taint) -> bool:
    """Whether one toleration matches one taint; an empty effect or key matches every one."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    if not toleration.get("key"):
        return False  # only Exists goes with an empty key
    value, actual = toleration.get("value") or "", taint.get("value") or ""
    if operator == "Equal":
        return bool(value == actual)
    if operator in ("Gt", "Lt"):  # KEP-5471
        try:
            return int(actual) > int(value) if operator == "Gt" else int(actual) < int(value)
        except ValueError:
            return False
    return False


def has_untolerated(
    taints: Iterable[Taint], tolerations: Iterable[Mapping[str, Any]], effects: tuple[str, ...]
) -> bool:
    """Whether there is a taint with one of these effects that no toleration matches."""
    known = list(tolerations)
    return any(
        taint.get("effect") in effects and not any(tolerates_taint(one, taint) for one in known) for taint in taints
    )
