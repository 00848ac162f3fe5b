"""The annotations in which autoscaling/v1 keeps what only v2 has fields for.

Their JSON is of an older shape (flat targets, Go names for the behaviour) that clients of v1 read and
write. Mirrors the conversion of k8s.io/kubernetes/pkg/apis/autoscaling/v1.
"""

from __future__ import annotations

import json
from typing import Any

_BEHAVIOR = (("StabilizationWindowSeconds", "stabilizationWindowSeconds"), ("SelectPolicy", "selectPolicy"))
_RESOURCE_KINDS = ("resource", "containerResource")


def encode(value: Any) -> str:
    """Compact JSON, as Go writes it."""
    return json.dumps(value, separators=(",", ":"))


def decode(text: str | None) -> Any:
    """The value of an annotation, or None when it is missing or not JSON."""
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def old_metric(metric: dict[str, Any]) -> dict[str, Any]:
    """A metric of a v2 spec in the shape of the annotation."""
    out: dict[str, Any] = {"type": metric.get("type") or ""}
    for key, source in metric.items():
        if key == "type" or not isinstance(source, dict):
            continue
        target, named = source.get("target") or {}, source.get("metric") or {}
        if key in _RESOURCE_KINDS:
            out[key] = _without_none({
                "name": source.get("name"),
                "targetAverageUtilization": target.get("averageUtilization"),
                "targetAverageValue": target.get("averageValue"),
                "container": source.get("container"),
            })  # fmt: skip
        elif key == "pods":
            out[key] = _without_none({
                "metricName": named.get("name"),
                "targetAverageValue": target.get("averageValue"),
                "selector": named.get("selector"),
            })  # fmt: skip
        elif key == "object":
            out[key] = _without_none({
                "target": source.get("describedObject"),
                "metricName": named.get("name"),
                "targetValue": target.get("value") or "0",
                "selector": named.get("selector"),
                "averageValue": target.get("averageValue"),
            })  # fmt: skip
        elif key == "external":
            out[key] = _without_none({
                "metricName": named.get("name"),
                "metricSelector": named.get("selector"),
                "targetValue": target.get("value"),
                "targetAverageValue": target.get("averageValue"),
            })  # fmt: skip
    return out


def new_metric(metric: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `old_metric`."""
    out: dict[str, Any] = {"type": metric.get("type") or ""}
    for key, source in metric.items():
        if key == "type" or not isinstance(source, dict):
            continue
        target = _without_none({
            "value": source.get("targetValue"),
            "averageValue": source.get("targetAverageValue") or source.get("averageValue"),
            "averageUtilization": source.get("targetAverageUtilization"),
        })  # fmt: skip
        if "averageUtilization" in target:
            target["type"] = "Utilization"
        elif "averageValue" in target:
            target["type"] = "AverageValue"
            if key == "object":
                target.pop("value", None)
        else:
            target["type"] = "Value"
        named = _without_none({
            "name": source.get("metricName"), "selector": source.get("selector") or source.get("metricSelector"),
        })  # fmt: skip
        if key in _RESOURCE_KINDS:
            out[key] = _without_none({"name": source.get("name"), "container": source.get("container")})
        elif key == "object":
            out[key] = {"describedObject": source.get("target") or {}, "metric": named}
        else:
            out[key] = {"metric": named}
        out[key]["target"] = target
    return out


def old_status(metric: dict[str, Any]) -> dict[str, Any]:
    """A metric of a v2 status in the shape of the annotation."""
    out: dict[str, Any] = {"type": metric.get("type") or ""}
    for key, source in metric.items():
        if key == "type" or not isinstance(source, dict):
            continue
        current, named = source.get("current") or {}, source.get("metric") or {}
        if key in _RESOURCE_KINDS:
            out[key] = _without_none({
                "name": source.get("name"),
                "currentAverageUtilization": current.get("averageUtilization"),
                "currentAverageValue": current.get("averageValue") or "0",
                "container": source.get("container"),
            })  # fmt: skip
        elif key == "object":
            out[key] = _without_none({
                "target": source.get("describedObject"),
                "metricName": named.get("name"),
                "currentValue": current.get("value") or "0",
                "selector": named.get("selector"),
                "averageValue": current.get("averageValue"),
            })  # fmt: skip
        else:
            selector = "metricSelector" if key == "external" else "selector"
            out[key] = _without_none({
                "metricName": named.get("name"),
                "currentValue": current.get("value") if key == "external" else None,
                "currentAverageValue": current.get("averageValue"),
                selector: named.get("selector"),
            })  # fmt: skip
    return out


def new_status(metric: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `old_status`."""
    out: dict[str, Any] = {"type": metric.get("type") or ""}
    for key, source in metric.items():
        if key == "type" or not isinstance(source, dict):
            continue
        current = _without_none({
            "value": source.get("currentValue"),
            "averageValue": source.get("currentAverageValue") or source.get("averageValue"),
            "averageUtilization": source.get("currentAverageUtilization"),
        })  # fmt: skip
        named = _without_none({
            "name": source.get("metricName"), "selector": source.get("selector") or source.get("metricSelector"),
        })  # fmt: skip
        if key in _RESOURCE_KINDS:
            out[key] = _without_none({"name": source.get("name"), "container": source.get("container")})
        elif key == "object":
            out[key] = {"describedObject": source.get("target") or {}, "metric": named}
        else:
            out[key] = {"metric": named}
        out[key]["current"] = current
    return out


def old_behavior(behavior: dict[str, Any]) -> dict[str, Any]:
    """A v2 behaviour under the Go names of its fields."""
    out: dict[str, Any] = {}
    for key in ("scaleUp", "scaleDown"):
        rules = behavior.get(key)
        if rules is None:
            out[key[0].upper() + key[1:]] = None
            continue
        shown: dict[str, Any] = {name: rules.get(field) for name, field in _BEHAVIOR}
        shown["Policies"] = [
            {"Type": p.get("type"), "Value": p.get("value"), "PeriodSeconds": p.get("periodSeconds")}
            for p in rules.get("policies") or ()
        ]
        if rules.get("tolerance") is not None:
            shown["Tolerance"] = rules["tolerance"]
        out[key[0].upper() + key[1:]] = shown
    return out


def new_behavior(behavior: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `old_behavior`."""
    out: dict[str, Any] = {}
    for key in ("scaleUp", "scaleDown"):
        rules = behavior.get(key[0].upper() + key[1:])
        if not isinstance(rules, dict):
            continue
        shown = _without_none({field: rules.get(name) for name, field in _BEHAVIOR})
        shown["policies"] = [
            {"type": p.get("Type"), "value": p.get("Value"), "periodSeconds": p.get("PeriodSeconds")}
            for p in rules.get("Policies") or ()
        ]
        if rules.get("Tolerance") is not None:
            shown["tolerance"] = rules["Tolerance"]
        out[key] = shown
    return out
