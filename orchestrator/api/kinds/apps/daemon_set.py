"""DaemonSet. Mirrors registry/apps/daemonset, its defaults, validation and printer."""

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
    format_labels,
    ref,
)
from orchestrator.api.kinds.core.pod_spec import default_pod_template
from orchestrator.api.kinds.core.pod_template import NO_MATCH, validate_pod_template
from orchestrator.api.kinds.core.pod_warnings import warn_pod_template
from orchestrator.api.kinds.defaulting import condition_times, fill, fill_empty, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.kinds.label_selectors import is_empty_selector, selects, validate_label_selector
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import DAEMON_SETS

GENERATION_ANNOTATION = "deprecated.daemonset.template.generation"
_COUNTS = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")


def default_daemon_set(obj: Object) -> None:
    """Rolled one node at a time, ten old revisions."""
    spec = struct(obj, "spec")
    # The internal type has this as a field, which every conversion writes: whoever sends the object owns it.
    struct(obj, "metadata", "annotations").setdefault(GENERATION_ANNOTATION, "0")
    fill(struct(obj, "status"), **dict.fromkeys(_COUNTS, 0))
    default_pod_template(struct(spec, "template"))
    strategy = struct(spec, "updateStrategy")
    fill_empty(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(struct(strategy, "rollingUpdate"), maxUnavailable=1, maxSurge=0)
    fill(spec, revisionHistoryLimit=10)


def prepare_create(obj: Object) -> None:
    """Status is the controller's; the template's generation lives on as an annotation."""
    obj["status"] = dict.fromkeys(_COUNTS, 0)
    struct(obj, "metadata", "annotations")[GENERATION_ANNOTATION] = "1"


def prepare_update(new: Object, old: Object) -> None:
    """The template's generation counts its changes."""
    before = dig(old, "metadata", "annotations", GENERATION_ANNOTATION) or "0"
    number = int(before) if str(before).isdecimal() else 0
    if dig(new, "spec", "template") != dig(old, "spec", "template"):
        number += 1
    struct(new, "metadata", "annotations")[GENERATION_ANNOTATION] = str(number)


def validate_daemon_set(obj: Object) -> list[Cause]:
    """Selector, template, strategy."""
    spec = obj.get("spec") or {}
    selector, template = spec.get("selector"), spec.get("template") or {}
    causes = validate_label_selector(selector, "spec.selector")
    labels = (template.get("metadata") or {}).get("labels")
    if selects(selector, labels) is False:
        causes.append(fields.invalid("spec.template.metadata.labels", labels, NO_MATCH))
    if selector is not None and is_empty_selector(selector):
        causes.append(fields.invalid("spec.selector", selector, "empty selector is invalid for daemonset"))
    causes += validate_pod_template(template, "spec.template")
    pod = template.get("spec") or {}
    if pod.get("restartPolicy") != "Always":
        causes.append(
            fields.not_supported("spec.template.spec.restartPolicy", pod.get("restartPolicy") or "", ("Always",))
        )
    if pod.get("activeDeadlineSeconds") is not None:
        causes.append(
            fields.forbidden(
                "spec.template.spec.activeDeadlineSeconds", "activeDeadlineSeconds in DaemonSet is not Supported"
            )
        )
    causes += non_negative(spec, "minReadySeconds", "spec")
    causes += _validate_strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy")
    return causes + non_negative(spec, "revisionHistoryLimit", "spec")


def _validate_strategy(strategy: dict[str, Any], path: str) -> list[Cause]:
    kind = strategy.get("type") or ""
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        return [fields.not_supported(path, kind, ("RollingUpdate", "OnDelete"))]
    rolling = strategy.get("rollingUpdate")
    where = f"{path}.rollingUpdate"
    if rolling is None:
        return [fields.required(where)]
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    causes: list[Cause] = []
    for key, value in (("maxUnavailable", unavailable), ("maxSurge", surge)):
        causes += validate_positive_int_or_percent(value, f"{where}.{key}")
        causes += validate_not_more_than_100_percent(value, f"{where}.{key}")
    if causes:
        return causes
    has_unavailable, has_surge = int_or_percent(unavailable) != 0, int_or_percent(surge) != 0
    if has_unavailable and has_surge:
        causes.append(fields.invalid(f"{where}.maxSurge", surge, "may not be set when maxUnavailable is non-zero"))
    elif not has_unavailable and not has_surge:
        causes.append(fields.invalid(f"{where}.maxUnavailable", unavailable, "cannot be 0 when maxSurge is 0"))
    return causes


def validate_daemon_set_update(new: Object, old: Object) -> list[Cause]:
    """The selector never changes."""
    causes = validate_daemon_set(new)
    selector = dig(new, "spec", "selector")
    if selector != dig(old, "spec", "selector"):
        causes.append(fields.immutable("spec.selector", selector))
    return causes


def _warn(new: Object, old: Object | None) -> list[str]:
    template = dig(new, "spec", "template")
    if old is not None and template == dig(old, "spec", "template"):
        return []
    return warn_pod_template(template, "spec.template")


def _validate_status(new: Object, old: Object) -> list[Cause]:
    causes: list[Cause] = []
    for key in (*_COUNTS, "observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable"):
        causes += non_negative(new.get("status") or {}, key, "status")
    return causes


def _row(obj: Object, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    return [
        name_of(obj),
        status.get("desiredNumberScheduled") or 0,
        status.get("currentNumberScheduled") or 0,
        status.get("numberReady") or 0,
        status.get("updatedNumberScheduled") or 0,
        status.get("numberAvailable") or 0,
        format_labels(dig(obj, "spec", "template", "spec", "nodeSelector")),
        age(obj, now),
        *container_cells(dig(obj, "spec", "template", "spec")),
        format_label_selector(dig(obj, "spec", "selector")),
    ]


_STATUS = "apps.v1.DaemonSetStatus"
DAEMON_SET = Kind(
    DAEMON_SETS,
    "io.k8s.api.apps.v1.DaemonSet",
    "daemonset",
    short_names=("ds",),
    categories=("all",),
    has_status=True,
    default_status=condition_times("lastTransitionTime"),
    has_generation=True,
    versioned_annotations=(GENERATION_ANNOTATION,),
    default=default_daemon_set,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate_daemon_set,
    validate_update=validate_daemon_set_update,
    validate_status_update=_validate_status,
    warn=_warn,
    columns=(
        NAME,
        Column("Desired", "integer", description=ref(_STATUS, "desiredNumberScheduled")),
        Column("Current", "integer", description=ref(_STATUS, "currentNumberScheduled")),
        Column("Ready", "integer", description=ref(_STATUS, "numberReady")),
        Column("Up-to-date", "integer", description=ref(_STATUS, "updatedNumberScheduled")),
        Column("Available", "integer", description=ref(_STATUS, "numberAvailable")),
        Column("Node Selector", description=ref("core.v1.PodSpec", "nodeSelector")),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", description=ref("apps.v1.DaemonSetSpec", "selector"), priority=1),
    ),
    row=_row,
)
