"""Labels, label selectors and annotations in objects: which are valid.

Mirrors k8s.io/apimachinery/pkg/apis/meta/v1/validation. Matching is in api/selectors.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import BadRequest, Cause
from orchestrator.api.selectors import from_label_selector


def validate_label_name(name: str, path: str) -> list[Cause]:
    """A key of a label."""
    return [fields.invalid(path, name, text) for text in names.is_qualified_name(name)]


def validate_labels(labels: Mapping[str, str] | None, path: str) -> list[Cause]:
    """Keys and values of labels, in the order of the keys."""
    causes: list[Cause] = []
    for key, value in sorted((labels or {}).items()):
        causes += validate_label_name(key, path)
        causes += [fields.invalid(path, value, text) for text in names.is_label_value(value)]
    return causes


def validate_label_selector(selector: Mapping[str, Any] | None, path: str) -> list[Cause]:
    """A LabelSelector: labels and expressions."""
    if selector is None:
        return []
    causes = validate_labels(selector.get("matchLabels"), f"{path}.matchLabels")
    for position, expression in enumerate(selector.get("matchExpressions") or ()):
        causes += _validate_expression(expression, fields.index(f"{path}.matchExpressions", position))
    return causes


def _validate_expression(expression: Mapping[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    operator, values = expression.get("operator") or "", expression.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            causes.append(fields.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            causes.append(
                fields.forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
            )
    else:
        causes.append(fields.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    causes += validate_label_name(expression.get("key") or "", f"{path}.key")
    for position, value in enumerate(values):
        for text in names.is_label_value(value):
            causes.append(fields.invalid(fields.index(f"{path}.values", position), value, text))
    return causes


def is_empty_selector(selector: Mapping[str, Any] | None) -> bool:
    """Whether a LabelSelector has no term."""
    return not selector or not (selector.get("matchLabels") or selector.get("matchExpressions"))


def is_selector(selector: Mapping[str, Any] | None) -> bool:
    """Whether a LabelSelector can be turned into one that matches."""
    return selects(selector, None) is not None


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str] | None) -> bool | None:
    """Whether a LabelSelector matches; None when the selector is not valid."""
    try:
        return from_label_selector(selector).matches(labels or {})
    except BadRequest:
        return None
