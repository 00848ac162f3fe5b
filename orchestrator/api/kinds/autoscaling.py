"""HorizontalPodAutoscaler in autoscaling/v2 (stored) and v1 (converted).

Mirrors k8s.io/kubernetes/pkg/apis/autoscaling: defaults, validation, conversion, printer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields, names
from orchestrator.api.errors import Cause
from orchestrator.api.kinds import autoscaling_v1 as old
from orchestrator.api.kinds.apps.rollout_validation import non_negative
from orchestrator.api.kinds.columns import AGE, NAME, UNKNOWN, UNSET, age, dig, ref
from orchestrator.api.kinds.core.resource_names import parsed, validate_container_resource_name
from orchestrator.api.kinds.defaulting import canonical_quantity, condition_times, fill, fill_empty, items, struct
from orchestrator.api.kinds.descriptor import Column, Conversion, Kind
from orchestrator.api.objects import Object, copy_object, name_of
from orchestrator.api.resources import HORIZONTAL_POD_AUTOSCALERS, HORIZONTAL_POD_AUTOSCALERS_V1

METRICS_ANNOTATION = "autoscaling.alpha.kubernetes.io/metrics"
CURRENT_METRICS_ANNOTATION = "autoscaling.alpha.kubernetes.io/current-metrics"
CONDITIONS_ANNOTATION = "autoscaling.alpha.kubernetes.io/conditions"
BEHAVIOR_ANNOTATION = "autoscaling.alpha.kubernetes.io/behavior"
_ANNOTATIONS = (METRICS_ANNOTATION, CURRENT_METRICS_ANNOTATION, CONDITIONS_ANNOTATION, BEHAVIOR_ANNOTATION)

_SOURCES = {
    "Object": "object", "External": "external", "Pods": "pods", "Resource": "resource",
    "ContainerResource": "containerResource",
}  # fmt: skip
_STABILIZATION_SECONDS_MAX = 3600
_PERIOD_SECONDS_MAX = 1800
_SHOWN_MAX = 2
_CPU_UTILIZATION = 80


def _default_metrics(spec: dict[str, Any]) -> None:
    if not spec.get("metrics"):
        spec["metrics"] = [
            {
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": _CPU_UTILIZATION},
                },
            }
        ]
    for metric in items(spec, "metrics"):
        for source in _SOURCES.values():
            target = dig(metric, source, "target")
            if isinstance(target, dict):
                canonical_quantity(target, "value")
                canonical_quantity(target, "averageValue")


def default_autoscaler(obj: Object) -> None:
    """At least one replica, CPU at 80 percent, the usual behaviour where any is given."""
    spec = struct(obj, "spec")
    status = struct(obj, "status")
    fill(spec, minReplicas=1)
    _default_metrics(spec)
    behavior = spec.get("behavior")
    if isinstance(behavior, dict):
        up = struct(behavior, "scaleUp")
        fill(up, stabilizationWindowSeconds=0, selectPolicy="Max")
        fill_empty(
            up,
            policies=[
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ],
        )
        down = struct(behavior, "scaleDown")
        fill(down, selectPolicy="Max")
        fill_empty(down, policies=[{"type": "Percent", "value": 100, "periodSeconds": 15}])
    fill(status, desiredReplicas=0)
    status.setdefault("currentMetrics", None)


def prepare_create(obj: Object) -> None:
    """Status is the controller's."""
    obj["status"] = {"currentMetrics": None, "desiredReplicas": 0}


def default_autoscaler_v1(obj: Object) -> None:
    """At least one replica; the rest is added in the stored version."""
    fill(struct(obj, "spec"), minReplicas=1)
    fill(struct(obj, "status"), currentReplicas=0, desiredReplicas=0)


# --- conversion -------------------------------------------------------------------------------


def to_v2(obj: Object) -> Object:
    """The stored form of a v1 autoscaler: metrics and behaviour come back from its annotations."""
    out = copy_object(obj)
    out["apiVersion"] = "autoscaling/v2"
    spec, status = struct(out, "spec"), struct(out, "status")
    meta = struct(out, "metadata")
    annotations = dict(meta.get("annotations") or {})
    metrics = [old.new_metric(metric) for metric in old.decode(annotations.get(METRICS_ANNOTATION)) or ()]
    behavior = old.decode(annotations.get(BEHAVIOR_ANNOTATION))
    utilization = spec.pop("targetCPUUtilizationPercentage", None)
    if utilization is not None:
        target = {"type": "Utilization", "averageUtilization": utilization}
        metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}, *metrics]
    if metrics:
        spec["metrics"] = metrics
    if behavior is not None:
        spec["behavior"] = old.new_behavior(behavior)
    current = [old.new_status(metric) for metric in old.decode(annotations.get(CURRENT_METRICS_ANNOTATION)) or ()]
    cpu = status.pop("currentCPUUtilizationPercentage", None)
    if cpu is not None:
        value = {"averageUtilization": cpu, "averageValue": "0"}
        current = [{"type": "Resource", "resource": {"name": "cpu", "current": value}}, *current]
    status["currentMetrics"] = current or None
    conditions = old.decode(annotations.get(CONDITIONS_ANNOTATION))
    if conditions:
        status["conditions"] = conditions
    for key in _ANNOTATIONS:
        annotations.pop(key, None)
    if annotations:
        meta["annotations"] = annotations
    else:
        meta.pop("annotations", None)
    default_autoscaler(out)
    return out


def _is_cpu(metric: dict[str, Any]) -> bool:
    return metric.get("type") == "Resource" and dig(metric, "resource", "name") == "cpu"


def from_v2(obj: Object) -> Object:
    """The v1 form: CPU utilization is a field, everything else is kept in annotations."""
    out = copy_object(obj)
    out["apiVersion"] = "autoscaling/v1"
    spec, status = struct(out, "spec"), struct(out, "status")
    kept: dict[str, str] = {}
    others = []
    for metric in spec.pop("metrics", None) or ():
        utilization = dig(metric, "resource", "target", "averageUtilization")
        if _is_cpu(metric) and utilization is not None and "targetCPUUtilizationPercentage" not in spec:
            spec["targetCPUUtilizationPercentage"] = utilization
        else:
            others.append(metric)
    if others:
        kept[METRICS_ANNOTATION] = old.encode([old.old_metric(metric) for metric in others])
    behavior = spec.pop("behavior", None)
    if behavior is not None:
        kept[BEHAVIOR_ANNOTATION] = old.encode(old.old_behavior(behavior))
    rest = []
    for metric in status.pop("currentMetrics", None) or ():
        utilization = dig(metric, "resource", "current", "averageUtilization")
        if _is_cpu(metric) and utilization is not None and "currentCPUUtilizationPercentage" not in status:
            status["currentCPUUtilizationPercentage"] = utilization
        else:
            rest.append(metric)
    if rest:
        kept[CURRENT_METRICS_ANNOTATION] = old.encode([old.old_status(metric) for metric in rest])
    conditions = status.pop("conditions", None)
    if conditions:
        kept[CONDITIONS_ANNOTATION] = old.encode(conditions)
    if kept:
        struct(out, "metadata", "annotations").update(kept)
    default_autoscaler_v1(out)
    return out


# --- validation -------------------------------------------------------------------------------


def validate_autoscaler(obj: Object) -> list[Cause]:
    """Bounds, target, metrics, behaviour."""
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    low, high = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    has_external = any(metric.get("type") in ("Object", "External") for metric in spec.get("metrics") or ())
    if low is not None and low < 1:
        causes.append(fields.invalid("spec.minReplicas", low, "must be greater than or equal to 1"))
    if high < 1:
        causes.append(fields.invalid("spec.maxReplicas", high, "must be greater than 0"))
    if low is not None and high < low:
        causes.append(fields.invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`"))
    causes += _validate_reference(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef")
    causes += _validate_metrics(spec.get("metrics") or (), "spec.metrics")
    if low == 0 and not has_external:
        causes.append(
            fields.forbidden(
                "spec.metrics",
                "must specify at least one Object or External metric to support scaling to zero replicas",
            )
        )
    behavior = spec.get("behavior")
    if behavior is not None:
        for key in ("scaleUp", "scaleDown"):
            if behavior.get(key) is not None:
                causes += _validate_rules(behavior[key], f"spec.behavior.{key}")
    return causes


def _validate_reference(reference: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("kind", "name"):
        value = reference.get(key) or ""
        if not value:
            causes.append(fields.required(f"{path}.{key}"))
        else:
            causes += [fields.invalid(f"{path}.{key}", value, text) for text in names.is_path_segment_name(value)]
    version = reference.get("apiVersion") or ""
    if version.count("/") > 1:
        causes.append(fields.invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}"))
    return causes


def _validate_metrics(metrics: Any, path: str) -> list[Cause]:
    causes: list[Cause] = []
    known = tuple(sorted(_SOURCES))
    for position, metric in enumerate(metrics):
        where = fields.index(path, position)
        kind = metric.get("type") or ""
        if not kind:
            causes.append(fields.required(f"{where}.type", "must specify a metric source type"))
        if kind not in _SOURCES:
            causes.append(fields.not_supported(f"{where}.type", kind, known))
        given = [key for key in _SOURCES.values() if metric.get(key) is not None]
        wanted = _SOURCES.get(kind, "")
        if given:
            causes += _validate_source(given[0], metric[given[0]], f"{where}.{given[0]}")
        if not wanted:
            causes.append(fields.not_supported(f"{where}.type", kind, known))
        elif wanted not in given:
            causes.append(fields.required(f"{where}.{wanted}", "must populate information for the given metric source"))
        if len(given) > 1:
            causes += [
                fields.forbidden(f"{where}.{key}", "must populate the given metric source only")
                for key in given
                if key != wanted
            ]
    return causes


def _validate_source(key: str, source: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    target = source.get("target")
    if key in ("resource", "containerResource"):
        if not source.get("name"):
            causes.append(fields.required(f"{path}.name", "must specify a resource name"))
        elif key == "containerResource":
            causes += validate_container_resource_name(source["name"], f"{path}.name")
        container = source.get("container")
        if key == "containerResource" and not container:
            causes.append(fields.required(f"{path}.container", "must specify a container"))
        elif key == "containerResource":
            causes += [
                fields.invalid(f"{path}.container", container, text) for text in names.is_dns1123_label(container or "")
            ]
    else:
        if key == "object":
            causes += _validate_reference(source.get("describedObject") or {}, f"{path}.describedObject")
        metric = (source.get("metric") or {}).get("name") or ""
        if not metric:
            causes.append(fields.required(f"{path}.metric.name", "must specify a metric name"))
        causes += [fields.invalid(f"{path}.metric.name", metric, text) for text in names.is_path_segment_name(metric)]
    causes += _validate_target(target or {}, f"{path}.target")
    given = {name for name in ("value", "averageValue", "averageUtilization") if (target or {}).get(name) is not None}
    where = f"{path}.target"
    if key in ("resource", "containerResource"):
        if not given & {"averageUtilization", "averageValue"}:
            causes.append(
                fields.required(
                    f"{where}.averageUtilization", "must set either a target raw value or a target utilization"
                )
            )
        if {"averageUtilization", "averageValue"} <= given:
            causes.append(
                fields.forbidden(
                    f"{where}.averageValue", "may not set both a target raw value and a target utilization"
                )
            )
    elif key == "pods":
        if "averageValue" not in given:
            causes.append(fields.required(f"{where}.averageValue", "must specify a positive target averageValue"))
    elif not given & {"value", "averageValue"}:
        detail = (
            "a target value or averageValue" if key == "object" else "a target value for metric or a per-pod target"
        )
        causes.append(fields.required(f"{where}.averageValue", f"must set either {detail}"))
    elif key == "external" and {"value", "averageValue"} <= given:
        causes.append(
            fields.forbidden(f"{where}.value", "may not set both a target value for metric and a per-pod target")
        )
    return causes


def _validate_target(target: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    kind = target.get("type") or ""
    if not kind:
        causes.append(fields.required(f"{path}.type", "must specify a metric target type"))
    if kind not in ("Utilization", "Value", "AverageValue"):
        causes.append(fields.invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    for key in ("value", "averageValue"):
        if target.get(key) is not None and parsed(target[key]).sign() != 1:
            causes.append(fields.invalid(f"{path}.{key}", str(parsed(target[key])), "must be positive"))
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        causes.append(fields.invalid(f"{path}.averageUtilization", utilization, "must be greater than 0"))
    return causes


def _validate_rules(rules: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    window = rules.get("stabilizationWindowSeconds")
    where = f"{path}.stabilizationWindowSeconds"
    if window is not None:
        if window < 0:
            causes.append(fields.invalid(where, window, "must be greater than or equal to zero"))
        if window > _STABILIZATION_SECONDS_MAX:
            causes.append(fields.invalid(where, window, f"must be less than or equal to {_STABILIZATION_SECONDS_MAX}"))
    policy = rules.get("selectPolicy")
    if policy is not None and policy not in ("Disabled", "Max", "Min"):
        causes.append(fields.not_supported(f"{path}.selectPolicy", policy, ("Disabled", "Max", "Min")))
    policies = rules.get("policies") or ()
    if not policies:
        causes.append(fields.required(f"{path}.policies", "must specify at least one Policy"))
    for position, entry in enumerate(policies):
        spot = fields.index(f"{path}.policies", position)
        kind, value, period = entry.get("type") or "", entry.get("value") or 0, entry.get("periodSeconds") or 0
        if kind not in ("Percent", "Pods"):
            causes.append(fields.not_supported(f"{spot}.type", kind, ("Percent", "Pods")))
        if value <= 0:
            causes.append(fields.invalid(f"{spot}.value", value, "must be greater than zero"))
        if period <= 0:
            causes.append(fields.invalid(f"{spot}.periodSeconds", period, "must be greater than zero"))
        if period > _PERIOD_SECONDS_MAX:
            causes.append(
                fields.invalid(f"{spot}.periodSeconds", period, f"must be less than or equal to {_PERIOD_SECONDS_MAX}")
            )
    tolerance = rules.get("tolerance")
    if tolerance is not None and parsed(tolerance).sign() < 0:
        causes.append(fields.invalid(f"{path}.tolerance", str(parsed(tolerance)), "must be greater or equal to zero"))
    return causes


def _validate_status(new: Object, old: Object) -> list[Cause]:
    status = new.get("status") or {}
    return [cause for key in ("currentReplicas", "desiredReplicas") for cause in non_negative(status, key, "status")]


def _validate_v1(obj: Object) -> list[Cause]:
    return validate_autoscaler(to_v2(obj))


# --- printed columns --------------------------------------------------------------------------


def _metric_cell(spec: dict[str, Any], status: dict[str, Any]) -> str:
    kind = spec.get("type") or ""
    key = _SOURCES.get(kind, "")
    source = spec.get(key) or {}
    target = source.get("target") or {}
    current = (status.get(key) or {}).get("current") or {} if status.get("type") == kind else {}
    label = source.get("name") if kind in ("Resource", "ContainerResource") else ""
    prefix = f"{label}: " if label else ""
    if target.get("averageValue") is not None:
        now = current.get("averageValue") or UNKNOWN
        suffix = " (avg)" if kind in ("Object", "External") else ""
        return f"{prefix}{now}/{target['averageValue']}{suffix}"
    if target.get("averageUtilization") is not None:
        value = current.get("averageUtilization")
        now = f"{value}%" if value is not None else UNKNOWN
        return f"{prefix}{now}/{target['averageUtilization']}%"
    if kind in ("Resource", "ContainerResource"):
        return f"{prefix}{UNKNOWN}/<auto>"
    now = current.get("value") or UNKNOWN
    return f"{now}/{target.get('value') or '0'}"


def metrics_cell(obj: Object) -> str:
    """The cell Targets: current and wanted value of the first two metrics."""
    specs, statuses = dig(obj, "spec", "metrics") or [], dig(obj, "status", "currentMetrics") or []
    if not specs:
        return "<none>"
    shown = [
        _metric_cell(spec, statuses[position] if position < len(statuses) else {})
        for position, spec in enumerate(specs[:_SHOWN_MAX])
    ]
    text = ", ".join(shown)
    return f"{text} + {len(specs) - _SHOWN_MAX} more..." if len(specs) > _SHOWN_MAX else text


def _row(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    reference = spec.get("scaleTargetRef") or {}
    return [
        name_of(obj),
        f"{reference.get('kind') or ''}/{reference.get('name') or ''}",
        metrics_cell(obj),
        str(spec["minReplicas"]) if spec.get("minReplicas") is not None else UNSET,
        spec.get("maxReplicas") or 0,
        status.get("currentReplicas") or 0,
        age(obj, now),
    ]


_SPEC = "autoscaling.v2.HorizontalPodAutoscalerSpec"
_COLUMNS = (
    NAME,
    Column("Reference", description=ref(_SPEC, "scaleTargetRef")),
    Column("Targets", description=ref(_SPEC, "metrics")),
    Column("MinPods", description=ref(_SPEC, "minReplicas")),
    Column("MaxPods", description=ref(_SPEC, "maxReplicas")),
    Column("Replicas", description=ref("autoscaling.v2.HorizontalPodAutoscalerStatus", "currentReplicas")),
    AGE,
)

HORIZONTAL_POD_AUTOSCALER = Kind(
    HORIZONTAL_POD_AUTOSCALERS,
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    "horizontalpodautoscaler",
    short_names=("hpa",),
    categories=("all",),
    has_status=True,
    default_status=condition_times("lastTransitionTime"),
    default=default_autoscaler,
    prepare_create=prepare_create,
    validate=validate_autoscaler,
    validate_status_update=_validate_status,
    columns=_COLUMNS,
    row=_row,
)

HORIZONTAL_POD_AUTOSCALER_V1 = HORIZONTAL_POD_AUTOSCALER.but(
    resource=HORIZONTAL_POD_AUTOSCALERS_V1,
    definition="io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
    default=default_autoscaler_v1,
    prepare_create=lambda obj: obj.update(status={"currentReplicas": 0, "desiredReplicas": 0}),
    validate=_validate_v1,
    row=lambda obj, now: _row(to_v2(obj), now),
    conversion=Conversion(HORIZONTAL_POD_AUTOSCALERS, to_v2, from_v2),
)
