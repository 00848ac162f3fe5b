"""What the workloads of apps/v1 check alike: replicas, selectors, numbers of a rollout.

Mirrors k8s.io/kubernetes/pkg/apis/apps/validation.
"""

from __future__ import annotations

from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.intstr import int_value, is_percentage
from orchestrator.api.kinds.label_selectors import is_empty_selector, is_selector, validate_label_selector


def non_negative(holder: dict[str, Any], key: str, path: str) -> list[Cause]:
    """A number that may be missing but not below zero."""
    value = holder.get(key) or 0
    if value < 0:
        return [fields.invalid(f"{path}.{key}", value, "must be greater than or equal to 0")]
    return []


def validate_workload_selector(selector: dict[str, Any] | None, path: str, kind: str) -> list[Cause]:
    """A selector that exists, is valid and is not empty."""
    if selector is None:
        return [fields.required(path)]
    causes = validate_label_selector(selector, path)
    if is_empty_selector(selector):
        causes.append(fields.invalid(path, selector, f"empty selector is invalid for {kind}"))
    if not is_selector(selector):
        causes.append(fields.invalid(path, selector, "invalid label selector"))
    return causes


def validate_positive_int_or_percent(value: int | str, path: str) -> list[Cause]:
    """A number not below zero, or a percentage."""
    if isinstance(value, str):
        return [fields.invalid(path, value, text) for text in names.is_percent(value)]
    if value < 0:
        return [fields.invalid(path, value, "must be greater than or equal to 0")]
    return []


def validate_not_more_than_100_percent(value: int | str, path: str) -> list[Cause]:
    """A percentage of at most 100."""
    if is_percentage(value) and int(str(value)[:-1]) > 100:
        return [fields.invalid(path, value, "must not be greater than 100%")]
    return []


def int_or_percent(value: int | str) -> int:
    """The number, or the percentage without its sign."""
    if is_percentage(value):
        return int(str(value)[:-1])
    return int_value(value)
