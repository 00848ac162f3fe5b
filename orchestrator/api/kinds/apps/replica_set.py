"""ReplicaSet and, with its plain map of labels, core/v1 ReplicationController.

Mirrors registry/apps/replicaset and registry/core/replicationcontroller.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.apps.rollout_validation import non_negative, validate_workload_selector
from orchestrator.api.kinds.columns import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    age,
    container_cells,
    dig,
    format_label_selector,
    format_labels,
    ref,
)
from orchestrator.api.kinds.core.pod_spec import default_pod_template
from orchestrator.api.kinds.core.pod_template import validate_selected_template
from orchestrator.api.kinds.core.pod_warnings import warn_workload
from orchestrator.api.kinds.defaulting import condition_times, fill, struct
from orchestrator.api.kinds.descriptor import Column, Kind, ScalePaths
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import REPLICA_SETS, REPLICATION_CONTROLLERS

_COUNTS = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")


def default_replica_set(obj: Object) -> None:
    """One replica."""
    spec = struct(obj, "spec")
    fill(struct(obj, "status"), replicas=0)
    fill(spec, replicas=1)
    default_pod_template(struct(spec, "template"))


def no_replicas_yet(obj: Object) -> None:
    """A new set has counted nothing."""
    obj["status"] = {"replicas": 0}


def validate_replica_set(obj: Object) -> list[Cause]:
    """Replicas, selector, template."""
    spec = obj.get("spec") or {}
    causes = non_negative(spec, "replicas", "spec") + non_negative(spec, "minReadySeconds", "spec")
    causes += validate_workload_selector(spec.get("selector"), "spec.selector", "deployment")
    return causes + validate_selected_template(spec.get("template"), spec.get("selector"), "spec.template")


def validate_replica_set_update(new: Object, old: Object) -> list[Cause]:
    """The selector never changes."""
    causes = validate_replica_set(new)
    selector = dig(new, "spec", "selector")
    if selector != dig(old, "spec", "selector"):
        causes.append(fields.immutable("spec.selector", selector))
    return causes


def validate_replicas_status(new: Object, old: Object) -> list[Cause]:
    """The counts of the status fit together."""
    status = new.get("status") or {}
    causes: list[Cause] = []
    for key in ("replicas", *_COUNTS, "terminatingReplicas", "observedGeneration"):
        causes += non_negative(status, key, "status")
    replicas = status.get("replicas") or 0
    for key in _COUNTS:
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
    return causes


def _counts(obj: Object) -> list[Any]:
    status = obj.get("status") or {}
    return [dig(obj, "spec", "replicas") or 0, status.get("replicas") or 0, status.get("readyReplicas") or 0]


def _row(obj: Object, now: datetime) -> list[Any]:
    return [
        name_of(obj),
        *_counts(obj),
        age(obj, now),
        *container_cells(dig(obj, "spec", "template", "spec")),
        format_label_selector(dig(obj, "spec", "selector")),
    ]


def _columns(definition: str) -> tuple[Column, ...]:
    return (
        NAME,
        Column("Desired", "integer", description=ref(f"{definition}Spec", "replicas")),
        Column("Current", "integer", description=ref(f"{definition}Status", "replicas")),
        Column("Ready", "integer", description=ref(f"{definition}Status", "readyReplicas")),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", description=ref(f"{definition}Spec", "selector"), priority=1),
    )


REPLICA_SET = Kind(
    REPLICA_SETS,
    "io.k8s.api.apps.v1.ReplicaSet",
    "replicaset",
    short_names=("rs",),
    categories=("all",),
    has_status=True,
    default_status=condition_times("lastTransitionTime"),
    scale=ScalePaths(),
    has_generation=True,
    default=default_replica_set,
    prepare_create=no_replicas_yet,
    validate=validate_replica_set,
    validate_update=validate_replica_set_update,
    validate_status_update=validate_replicas_status,
    warn=warn_workload,
    columns=_columns("apps.v1.ReplicaSet"),
    row=_row,
    selectable_fields={"status.replicas": lambda obj: str(dig(obj, "status", "replicas") or 0)},
)


# --- ReplicationController --------------------------------------------------------------------


def default_replication_controller(obj: Object) -> None:
    """Selector and labels come from the template."""
    spec = struct(obj, "spec")
    fill(struct(obj, "status"), replicas=0)
    template = spec.get("template")
    labels = dig(template, "metadata", "labels") if isinstance(template, dict) else None
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        meta = struct(obj, "metadata")
        if not meta.get("labels"):
            meta["labels"] = dict(labels)
    fill(spec, replicas=1)
    if isinstance(template, dict):
        default_pod_template(template)


def validate_replication_controller(obj: Object) -> list[Cause]:
    """Replicas, selector, template."""
    spec = obj.get("spec") or {}
    causes = non_negative(spec, "minReadySeconds", "spec")
    selector = spec.get("selector") or {}
    if not selector:
        causes.append(fields.required("spec.selector"))
    causes += non_negative(spec, "replicas", "spec")
    if selector:
        for value in selector.values():
            causes += [fields.invalid("spec.selector", value, text) for text in names.is_label_value(value)]
    template = spec.get("template")
    return causes + validate_selected_template(
        template, {"matchLabels": selector} if selector else None, "spec.template", kind="ReplicationController"
    )


def _controller_row(obj: Object, now: datetime) -> list[Any]:
    return [
        name_of(obj),
        *_counts(obj),
        age(obj, now),
        *container_cells(dig(obj, "spec", "template", "spec")),
        format_labels(dig(obj, "spec", "selector")),
    ]


REPLICATION_CONTROLLER = Kind(
    REPLICATION_CONTROLLERS,
    "io.k8s.api.core.v1.ReplicationController",
    "replicationcontroller",
    short_names=("rc",),
    categories=("all",),
    has_status=True,
    default_status=condition_times("lastTransitionTime"),
    scale=ScalePaths(),
    has_generation=True,
    default=default_replication_controller,
    prepare_create=no_replicas_yet,
    validate=validate_replication_controller,
    validate_status_update=validate_replicas_status,
    warn=warn_workload,
    columns=_columns("core.v1.ReplicationController"),
    row=_controller_row,
    selectable_fields={"status.replicas": lambda obj: str(dig(obj, "status", "replicas") or 0)},
    default_propagation="Orphan",
)
