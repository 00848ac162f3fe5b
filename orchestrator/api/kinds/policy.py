"""PodDisruptionBudget. Mirrors k8s.io/kubernetes/pkg/apis/policy and its printer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.apps.rollout_validation import (
    non_negative,
    validate_not_more_than_100_percent,
    validate_positive_int_or_percent,
)
from orchestrator.api.kinds.columns import AGE, NAME, age
from orchestrator.api.kinds.defaulting import fill, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.label_selectors import validate_label_selector
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import POD_DISRUPTION_BUDGETS

_COUNTS = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")


def default_budget(obj: Object) -> None:
    """The counts of the status are always there."""
    struct(obj, "spec")
    fill(struct(obj, "status"), **dict.fromkeys(_COUNTS, 0))


def prepare_create(obj: Object) -> None:
    """Status is the controller's."""
    obj["status"] = dict.fromkeys(_COUNTS, 0)


def validate_budget(obj: Object) -> list[Cause]:
    """One of the two bounds, a selector, a policy for unhealthy pods."""
    spec = obj.get("spec") or {}
    low, high = spec.get("minAvailable"), spec.get("maxUnavailable")
    causes: list[Cause] = []
    if low is not None and high is not None:
        causes.append(fields.invalid("spec", _go_spec(spec), "minAvailable and maxUnavailable cannot be both set"))
    for key, value in (("minAvailable", low), ("maxUnavailable", high)):
        if value is not None:
            causes += validate_positive_int_or_percent(value, f"spec.{key}")
            causes += validate_not_more_than_100_percent(value, f"spec.{key}")
    causes += validate_label_selector(spec.get("selector"), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in ("AlwaysAllow", "IfHealthyBudget"):
        causes.append(
            fields.not_supported("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))
        )
    return causes


def _go_spec(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "MinAvailable": spec.get("minAvailable"),
        "Selector": spec.get("selector"),
        "MaxUnavailable": spec.get("maxUnavailable"),
        "UnhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy"),
    }


def _validate_status(new: Object, old: Object) -> list[Cause]:
    causes: list[Cause] = []
    for key in _COUNTS:
        causes += non_negative(new.get("status") or {}, key, "status")
    return causes


def _row(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}

    def shown(key: str) -> str:
        return "N/A" if spec.get(key) is None else str(spec[key])

    allowed = (obj.get("status") or {}).get("disruptionsAllowed") or 0
    return [name_of(obj), shown("minAvailable"), shown("maxUnavailable"), allowed, age(obj, now)]


POD_DISRUPTION_BUDGET = Kind(
    POD_DISRUPTION_BUDGETS,
    "io.k8s.api.policy.v1.PodDisruptionBudget",
    "poddisruptionbudget",
    short_names=("pdb",),
    has_status=True,
    has_generation=True,
    unconditional_update=False,
    default=default_budget,
    prepare_create=prepare_create,
    validate=validate_budget,
    validate_status_update=_validate_status,
    columns=(
        NAME,
        Column("Min Available", description="The minimum number of pods that must be available."),
        Column("Max Unavailable", description="The maximum number of pods that may be unavailable."),
        Column(
            "Allowed Disruptions",
            "integer",
            description="Calculated number of pods that may be disrupted at this time.",
        ),
        AGE,
    ),
    row=_row,
)
