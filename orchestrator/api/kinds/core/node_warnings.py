"""Labels of nodes that have new names: what is said about objects that still select by the old ones.

Mirrors k8s.io/kubernetes/pkg/api/node.
"""

from __future__ import annotations

from typing import Any

from orchestrator.api import fields, names

DEPRECATED_NODE_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}


def warn_node_selector_term(term: dict[str, Any], path: str, *, check_values: bool = False) -> list[str]:
    """Old keys; with `check_values` also values that no label can have, where validation lets them through."""
    warnings: list[str] = []
    for position, expression in enumerate(term.get("matchExpressions") or ()):
        where, key = fields.index(f"{path}.matchExpressions", position), expression.get("key") or ""
        if key in DEPRECATED_NODE_LABELS:
            warnings.append(f"{where}.key: {key} is {DEPRECATED_NODE_LABELS[key]}")
        if check_values:
            for number, value in enumerate(expression.get("values") or ()):
                warnings += [
                    f"{fields.index(f'{where}.values', number)}: {value} is invalid, {text}"
                    for text in names.is_label_value(value)
                ]
    return warnings


def warn_node_selector(selector: dict[str, str] | None, path: str) -> list[str]:
    """Old keys in a plain selector, which stand in brackets behind its path."""
    return [
        f"{fields.key(path, key)}: {DEPRECATED_NODE_LABELS[key]}"
        for key in sorted(selector or {})
        if key in DEPRECATED_NODE_LABELS
    ]
