"""What one entry of `spec.metrics` says: asks the API of its kind, and words the answer and the failure.

Mirrors the `computeStatusFor...Metric` of the HPA controller; the arithmetic is in `measures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.api.quantity import Quantity, milli_value, parse_quantity
from orchestrator.api.resources import POD_METRICS
from orchestrator.api.selectors import LabelSelector
from orchestrator.client.client import Client
from orchestrator.controllers.horizontalpodautoscaler.adapters import MetricAdapters, format_selector
from orchestrator.controllers.horizontalpodautoscaler.measures import (
    TOLERANCE,
    Measure,
    MetricError,
    Tolerances,
    plan_by_average,
    plan_by_share,
    plan_by_total,
    plan_by_utilization,
    samples_of,
)

KEYS = {"Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods", "Object": "object",
        "External": "external"}  # fmt: skip
FAILURES = {"Resource": "FailedGetResourceMetric", "ContainerResource": "FailedGetContainerResourceMetric",
            "Pods": "FailedGetPodsMetric", "Object": "FailedGetObjectMetric",
            "External": "FailedGetExternalMetric"}  # fmt: skip


class Found(NamedTuple):
    """What one metric says: the size, its name in sentences, its status."""

    replicas: int
    name: str
    status: dict[str, Any]


class Look(NamedTuple):
    """What is known about a target when its metrics are asked for."""

    namespace: str
    selector: LabelSelector
    pods: Sequence[Object]
    """Those that the selector matches."""
    current: int
    """`spec.replicas` of the scale."""
    observed: int
    """`status.replicas` of the scale."""
    tolerances: Tolerances
    now: datetime


class MetricSources:
    """Reads metrics of every kind."""

    def __init__(self, client: Client, adapters: MetricAdapters) -> None:
        self._client = client
        self._adapters = adapters

    async def read(self, metric: Mapping[str, Any], look: Look) -> Found:
        """The size that one metric asks for; MetricError when it cannot be had."""
        kind = metric["type"]
        if kind not in KEYS:
            raise MetricError(f'unknown metric source type "{kind}"')
        source = metric[KEYS[kind]]
        if kind == "Pods":
            return await self._pods(source, look)
        if kind == "Object":
            return await self._object(source, look)
        if kind == "External":
            return await self._external(source, look)
        return await self._resource(kind, source, look)

    async def _resource(self, kind: str, source: Mapping[str, Any], look: Look) -> Found:
        resource, container, target = source["name"], source.get("container", ""), source["target"]
        by_utilization = target["type"] == "Utilization"
        prefix = f"failed to get {resource} {'utilization' if by_utilization else 'usage'}: "
        try:
            listed = await self._client.list(POD_METRICS, look.namespace, label_selector=str(look.selector))
        except errors.ApiError as error:
            raise MetricError(
                f"{prefix}unable to get metrics for resource {resource}: unable to fetch metrics from resource "
                f"metrics API: {error.message}"
            ) from None
        if not listed.get("items"):
            raise MetricError(
                f"{prefix}unable to get metrics for resource {resource}: no metrics returned from resource metrics API"
            )
        try:
            samples = samples_of(listed["items"], resource, container)
        except MetricError as error:
            raise MetricError(f"{prefix}unable to get metrics for resource {resource}: {error}") from None
        name = f"{resource} {'container resource' if container else 'resource'}"
        try:
            if by_utilization:
                measure = plan_by_utilization(
                    look.current, target["averageUtilization"], resource, look.pods, samples, look.now,
                    container=container, tolerances=look.tolerances,
                )  # fmt: skip
                name += " utilization (percentage of request)"
            else:
                milli = milli_value(target["averageValue"])
                measure = plan_by_average(
                    look.current, milli, resource, look.pods, samples, look.now, tolerances=look.tolerances
                )
        except MetricError as error:
            raise MetricError(prefix + str(error)) from None
        return Found(measure.replicas, name, _resource_status(kind, source, measure))

    async def _pods(self, source: Mapping[str, Any], look: Look) -> Found:
        metric = source["metric"]
        samples = await self._adapters.of_pods(look.namespace, metric, look.selector)
        milli = milli_value(source["target"]["averageValue"])
        measure = plan_by_average(look.current, milli, "", look.pods, samples, look.now, tolerances=look.tolerances)
        status = {"metric": metric, "current": {"averageValue": amount(measure.average_milli)}}
        return Found(measure.replicas, f"pods metric {metric['name']}", {"type": "Pods", "pods": status})

    async def _object(self, source: Mapping[str, Any], look: Look) -> Found:
        metric, described, target = source["metric"], source["describedObject"], source["target"]
        is_total = target["type"] == "Value"
        try:
            value = await self._adapters.of_object(look.namespace, metric, described)
            replicas, current = _shared(value, target, look)
        except MetricError as error:
            context = "" if is_total else f"failed to get {metric['name']} object metric: "
            raise MetricError(str(error), context) from None
        name = f"{described['kind']} metric {metric['name']}" if is_total else _external_name(metric)
        status = {"metric": metric, "describedObject": described, "current": current}
        return Found(replicas, name, {"type": "Object", "object": status})

    async def _external(self, source: Mapping[str, Any], look: Look) -> Found:
        metric, target = source["metric"], source["target"]
        try:
            value = await self._adapters.of_anything(look.namespace, metric)
            replicas, current = _shared(value, target, look)
        except MetricError as error:
            name = metric["name"]
            by_total = f"failed to get external metric {name}: "
            context = by_total if target["type"] == "Value" else f"failed to get {name} external metric: "
            raise MetricError(str(error), context) from None
        status = {"metric": metric, "current": current}
        return Found(replicas, _external_name(metric), {"type": "External", "external": status})


def _shared(value: int, target: Mapping[str, Any], look: Look) -> tuple[int, dict[str, Any]]:
    """(size, `current` of the status) for a value that is about all pods together."""
    if target["type"] == "Value":
        wanted = milli_value(target["value"])
        replicas = plan_by_total(look.current, value, wanted, look.pods, tolerances=look.tolerances)
        return replicas, {"value": amount(value)}
    measure = plan_by_share(look.observed, value, milli_value(target["averageValue"]), tolerances=look.tolerances)
    return measure.replicas, {"averageValue": amount(measure.average_milli)}


def _external_name(metric: Mapping[str, Any]) -> str:
    return f"external metric {metric['name']}({format_selector(metric.get('selector'))})"


def context_of(metric: Mapping[str, Any]) -> str:
    """What stands before a failure where those of all metrics are summed up."""
    kind = metric["type"]
    source = metric.get(KEYS.get(kind, "")) or {}
    if kind == "Resource":
        return f"failed to get {source['name']} resource metric value: "
    if kind == "ContainerResource":
        return f"failed to get {source['name']} container metric value: "
    if kind == "External":
        return f"failed to get {source['metric']['name']} external metric value: "
    return f"failed to get {KEYS.get(kind, kind)} metric value: "


def tolerances_of(spec: Mapping[str, Any]) -> Tolerances:
    """How far from the target nothing happens, in each direction (KEP-4951)."""
    behavior = spec.get("behavior") or {}

    def of(key: str) -> float:
        text = (behavior.get(key) or {}).get("tolerance")
        return TOLERANCE if text is None else parse_quantity(text).nanos / 1e9

    return Tolerances(of("scaleDown"), of("scaleUp"))


def amount(milli: int) -> str:
    """Thousandths as a quantity."""
    return str(Quantity(milli * 10**6))


def _resource_status(kind: str, source: Mapping[str, Any], measure: Measure) -> dict[str, Any]:
    current: dict[str, Any] = {"averageValue": amount(measure.average_milli)}
    if measure.utilization is not None:
        current["averageUtilization"] = measure.utilization
    status = {"name": source["name"], "current": current}
    if source.get("container"):
        status["container"] = source["container"]
    return {"type": kind, KEYS[kind]: status}
