"""Deployment. Mirrors registry/apps/deployment, its defaults, validation and printer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.apps.rollout_validation import (
    int_or_percent,
    non_negative,
    validate_not_more_than_100_percent,
    validate_positive_int_or_percent,
    validate_workload_selector,
)
from orchestrator.api.kinds.columns import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    age,
    container_cells,
    dig,
    format_label_selector,
    ref,
)
from orchestrator.api.kinds.core.pod_spec import default_pod_template
from orchestrator.api.kinds.core.pod_template import validate_selected_template
from orchestrator.api.kinds.core.pod_warnings import warn_workload
from orchestrator.api.kinds.defaulting import clear_status, condition_times, fill, fill_empty, struct
from orchestrator.api.kinds.descriptor import Column, Kind, ScalePaths
from orchestrator.api.kinds.go_values import go_struct
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import DEPLOYMENTS


def default_deployment(obj: Object) -> None:
    """One replica, rolled in steps of a quarter, ten old ReplicaSets, ten minutes to progress."""
    spec = struct(obj, "spec")
    struct(obj, "status")
    fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = struct(spec, "strategy")
    fill_empty(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(struct(strategy, "rollingUpdate"), maxUnavailable="25%", maxSurge="25%")
    default_pod_template(struct(spec, "template"))


def validate_deployment(obj: Object) -> list[Cause]:
    """Replicas, selector, template, strategy, times."""
    spec = obj.get("spec") or {}
    causes = non_negative(spec, "replicas", "spec")
    causes += validate_workload_selector(spec.get("selector"), "spec.selector", "deployment")
    causes += validate_selected_template(spec.get("template"), spec.get("selector"), "spec.template")
    causes += _validate_strategy(spec.get("strategy") or {}, "spec.strategy")
    causes += non_negative(spec, "minReadySeconds", "spec")
    causes += non_negative(spec, "revisionHistoryLimit", "spec")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        causes += non_negative(spec, "progressDeadlineSeconds", "spec")
        if deadline <= (spec.get("minReadySeconds") or 0):
            causes.append(
                fields.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
            )
    return causes


def _validate_strategy(strategy: dict[str, Any], path: str) -> list[Cause]:
    kind, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            return [
                fields.forbidden(f"{path}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
            ]
        return []
    if kind != "RollingUpdate":
        value = go_struct(strategy, Type="", RollingUpdate=None)
        return [fields.not_supported(path, value, ("Recreate", "RollingUpdate"))]
    if rolling is None:
        return [fields.required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")]
    where = f"{path}.rollingUpdate"
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    causes = validate_positive_int_or_percent(unavailable, f"{where}.maxUnavailable")
    causes += validate_positive_int_or_percent(surge, f"{where}.maxSurge")
    if not causes and int_or_percent(unavailable) == 0 and int_or_percent(surge) == 0:
        causes.append(fields.invalid(f"{where}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
    return causes + validate_not_more_than_100_percent(unavailable, f"{where}.maxUnavailable")


def validate_deployment_update(new: Object, old: Object) -> list[Cause]:
    """The selector never changes."""
    causes = validate_deployment(new)
    selector = dig(new, "spec", "selector")
    if selector != dig(old, "spec", "selector"):
        causes.append(fields.immutable("spec.selector", selector))
    return causes


def validate_deployment_status_update(new: Object, old: Object) -> list[Cause]:
    """The numbers of the status fit together."""
    status = new.get("status") or {}
    causes: list[Cause] = []
    for key in ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas",
                "unavailableReplicas", "terminatingReplicas", "collisionCount"):  # fmt: skip
        causes += non_negative(status, key, "status")
    replicas = status.get("replicas") or 0
    for key in ("updatedReplicas", "readyReplicas", "availableReplicas"):
        if (status.get(key) or 0) > replicas:
            causes.append(
                fields.invalid(f"status.{key}", status.get(key) or 0, "cannot be greater than status.replicas")
            )
    if (status.get("availableReplicas") or 0) > (status.get("readyReplicas") or 0):
        causes.append(
            fields.invalid(
                "status.availableReplicas",
                status.get("availableReplicas") or 0,
                "cannot be greater than readyReplicas",
            )
        )
    before = dig(old, "status", "collisionCount") or 0
    if (status.get("collisionCount") or 0) < before:
        causes.append(
            fields.invalid("status.collisionCount", status.get("collisionCount") or 0, "cannot be decremented")
        )
    return causes


def _keep_labels(new: Object, old: Object) -> None:
    """A status update may change annotations, never labels."""
    if "labels" in old["metadata"]:
        new["metadata"]["labels"] = old["metadata"]["labels"]
    else:
        new["metadata"].pop("labels", None)


def _row(obj: Object, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    return [
        name_of(obj),
        f"{status.get('readyReplicas') or 0}/{dig(obj, 'spec', 'replicas') or 0}",
        status.get("updatedReplicas") or 0,
        status.get("availableReplicas") or 0,
        age(obj, now),
        *container_cells(dig(obj, "spec", "template", "spec")),
        format_label_selector(dig(obj, "spec", "selector")),
    ]


DEPLOYMENT = Kind(
    DEPLOYMENTS,
    "io.k8s.api.apps.v1.Deployment",
    "deployment",
    short_names=("deploy",),
    categories=("all",),
    has_status=True,
    default_status=condition_times("lastUpdateTime", "lastTransitionTime"),
    # The Deployment controller writes the revision annotation together with the status.
    status_metadata=("annotations", "finalizers", "ownerReferences"),
    prepare_status_update=_keep_labels,
    scale=ScalePaths(),
    has_generation=True,
    default=default_deployment,
    prepare_create=clear_status,
    validate=validate_deployment,
    validate_update=validate_deployment_update,
    validate_status_update=validate_deployment_status_update,
    warn=warn_workload,
    columns=(
        NAME,
        Column("Ready", description="Number of the pod with ready state"),
        Column("Up-to-date", description=ref("apps.v1.DeploymentStatus", "updatedReplicas")),
        Column("Available", description=ref("apps.v1.DeploymentStatus", "availableReplicas")),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", description=ref("apps.v1.DeploymentSpec", "selector"), priority=1),
    ),
    row=_row,
)
