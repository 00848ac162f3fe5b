"""The HPA controller's shell: every 15 seconds read metrics, set the scale, say why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, copy_object, key_of, namespace_of
from orchestrator.api.quantity import Quantity, milli_value, parse_quantity
from orchestrator.api.resources import HORIZONTAL_POD_AUTOSCALERS, POD_METRICS, PODS, Resource
from orchestrator.api.selectors import LabelSelector, parse_label_selector
from orchestrator.component.controller import Controller, Dependencies
from orchestrator.controllers.conditions import condition, with_condition, with_status
from orchestrator.controllers.horizontalpodautoscaler.behavior import (
    Change,
    Memory,
    Recommendation,
    plan_size,
)
from orchestrator.controllers.horizontalpodautoscaler.measures import (
    TOLERANCE,
    Measure,
    MetricError,
    Tolerances,
    plan_by_average,
    plan_by_utilization,
    samples_of,
)

PERIOD_SECONDS = 15.0

_KEYS = {"Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods", "Object": "object",
         "External": "external"}  # fmt: skip
_FAILURES = {"Resource": "FailedGetResourceMetric", "ContainerResource": "FailedGetContainerResourceMetric",
             "Pods": "FailedGetPodsMetric", "Object": "FailedGetObjectMetric",
             "External": "FailedGetExternalMetric"}  # fmt: skip


class _Found(NamedTuple):
    """What one metric says: the size, its name in sentences, its status."""

    replicas: int
    name: str
    status: dict[str, Any]


class _Target(NamedTuple):
    resource: Resource
    scale: Object


class HorizontalPodAutoscalerController(Controller):
    """Each autoscaler comes back every 15 seconds: metrics are asked for, they do not come by themselves."""

    name: ClassVar[str] = "horizontalpodautoscaling"

    def __init__(self, *, resources: Callable[[], Sequence[Resource]], **dependencies: Unpack[Dependencies]) -> None:
        self._resources = resources
        self._memories: dict[str, Memory] = {}
        super().__init__(**dependencies)

    def setup(self) -> None:
        """Autoscalers by key; their own status is no reason to look again."""
        self._autoscalers = self.informer(HORIZONTAL_POD_AUTOSCALERS)
        self._pods = self.informer(PODS)
        self._autoscalers.add_handler(self._on_autoscaler)

    def _on_autoscaler(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._memories.pop(key_of(old), None)
        elif old is None or old.get("spec") != new.get("spec"):
            self.queue.add(key_of(new))

    async def reconcile(self, key: str) -> float | None:
        """One look at one autoscaler."""
        hpa = self._autoscalers.get(key)
        if hpa is None:
            return None
        status: dict[str, Any] = {**(hpa.get("status") or {})}
        if generation := hpa["metadata"].get("generation"):
            status["observedGeneration"] = generation
        conditions = _Conditions(status, format_time(self.clock.now()))
        await self._scale(hpa, status, conditions)
        status["conditions"] = conditions.all
        if status != (hpa.get("status") or {}):
            await self.client.update_status(HORIZONTAL_POD_AUTOSCALERS, with_status(hpa, status))
        return PERIOD_SECONDS

    async def _scale(self, hpa: Object, status: dict[str, Any], conditions: _Conditions) -> None:
        spec = hpa["spec"]
        try:
            target = await self._target(hpa)
        except errors.ApiError as error:
            self.recorder.event(hpa, "Warning", "FailedGetScale", error.message)
            message = f"the HPA controller was unable to get the target's current scale: {error.message}"
            conditions.set("AbleToScale", "False", "FailedGetScale", message)
            return
        conditions.set(
            "AbleToScale", "True", "SucceededGetScale",
            "the HPA controller was able to get the target's current scale",
        )  # fmt: skip
        current = int((target.scale.get("spec") or {}).get("replicas") or 0)
        status["currentReplicas"] = int((target.scale.get("status") or {}).get("replicas") or 0)
        memory = self._memory(key_of(hpa), current)
        low, high = spec.get("minReplicas", 1), spec["maxReplicas"]
        if current == 0 and low != 0:
            status["desiredReplicas"] = 0
            message = "scaling is disabled since the replica count of the target is zero"
            conditions.set("ScalingActive", "False", "ScalingDisabled", message)
            return
        reason = ""
        if current > high:
            desired, reason = high, "Current number of replicas above Spec.MaxReplicas"
        elif current < low:
            desired, reason = low, "Current number of replicas below Spec.MinReplicas"
        else:
            wanted, name = await self._measure(hpa, target, current, status, conditions)
            if wanted is None:
                status["desiredReplicas"] = status.get("desiredReplicas") or 0
                return
            if wanted > current:
                reason = f"{name} above target"
            elif wanted < current:
                reason = "All metrics below target"
            decision = plan_size(spec, current, wanted, memory, self.clock.monotonic())
            for one in decision.conditions:
                conditions.set(*one)
            desired = decision.replicas
        if desired != current:
            await self._resize(hpa, target, current, desired, reason, status, conditions, memory)
        else:
            status["desiredReplicas"] = desired

    def _memory(self, key: str, current: int) -> Memory:
        memory = self._memories.get(key)
        if memory is None:
            memory = self._memories[key] = Memory([Recommendation(self.clock.monotonic(), current)])
        return memory

    # The target.

    async def _target(self, hpa: Object) -> _Target:
        reference = hpa["spec"]["scaleTargetRef"]
        group = str(reference.get("apiVersion") or "").rpartition("/")[0]
        for resource in self._resources():
            if resource.kind == reference["kind"] and resource.group == group and resource.namespaced:
                scale = await self.client.get(resource, reference["name"], namespace_of(hpa), subresource="scale")
                return _Target(resource, scale)
        raise errors.NotFound(f'no matches for kind "{reference["kind"]}" in group "{group}"')

    async def _resize(
        self,
        hpa: Object,
        target: _Target,
        current: int,
        desired: int,
        reason: str,
        status: dict[str, Any],
        conditions: _Conditions,
        memory: Memory,
    ) -> None:
        scale = copy_object(target.scale)
        scale.setdefault("spec", {})["replicas"] = desired
        try:
            await self.client.update(target.resource, scale, subresource="scale")
        except errors.ApiError as error:
            message = f"New size: {desired}; reason: {reason}; error: {error.message}"
            self.recorder.event(hpa, "Warning", "FailedRescale", message)
            message = f"the HPA controller was unable to update the target scale: {error.message}"
            conditions.set("AbleToScale", "False", "FailedUpdateScale", message)
            status["desiredReplicas"] = current
            return
        message = f"the HPA controller was able to update the target scale to {desired}"
        conditions.set("AbleToScale", "True", "SucceededRescale", message)
        self.recorder.event(hpa, "Normal", "SuccessfulRescale", f"New size: {desired}; reason: {reason}")
        memory.changes.append(Change(self.clock.monotonic(), desired - current))
        status["desiredReplicas"] = desired
        status["lastScaleTime"] = format_time(self.clock.now())

    # Metrics.

    async def _measure(
        self, hpa: Object, target: _Target, current: int, status: dict[str, Any], conditions: _Conditions
    ) -> tuple[int | None, str]:
        """(the largest size that a metric asks for, that metric); None when no decision is possible."""
        text = (target.scale.get("status") or {}).get("selector") or ""
        if not text:
            message = "the HPA target's scale is missing a selector"
            self.recorder.event(hpa, "Warning", "SelectorRequired", "selector is required")
            conditions.set("ScalingActive", "False", "InvalidSelector", message)
            return None, ""
        selector = parse_label_selector(text)
        # Simplified: no AmbiguousSelector condition when several autoscalers select the same pods.
        found: list[_Found] = []
        failure: tuple[str, str, str] | None = None
        shown: list[dict[str, Any]] = []
        for metric in hpa["spec"].get("metrics") or ():
            try:
                one = await self._measure_one(hpa, metric, selector, current)
            except MetricError as error:
                reason = _FAILURES.get(metric["type"], "InvalidMetricSourceType")
                failure = failure or (reason, str(error), _prefix(metric) + str(error))
                self.recorder.event(hpa, "Warning", reason, str(error))
                continue
            found.append(one)
            shown.append(one.status)
        status["currentMetrics"] = shown or None
        best = max(found, key=lambda one: one.replicas, default=None)
        if failure is not None and (best is None or best.replicas < current):
            # With a metric unknown the others may not shrink anything: it might be the one that needs the pods.
            message = f"the HPA was unable to compute the replica count: {failure[1]}"
            conditions.set("ScalingActive", "False", failure[0], message)
            count = len(hpa["spec"].get("metrics") or ()) - len(found)
            text = f"invalid metrics ({count} invalid out of {count + len(found)}), first error is: {failure[2]}"
            self.recorder.event(hpa, "Warning", "FailedComputeMetricsReplicas", text)
            return None, ""
        assert best is not None
        message = f"the HPA was able to successfully calculate a replica count from {best.name}"
        conditions.set("ScalingActive", "True", "ValidMetricFound", message)
        return best.replicas, best.name

    async def _measure_one(
        self, hpa: Object, metric: Mapping[str, Any], selector: LabelSelector, current: int
    ) -> _Found:
        kind = metric["type"]
        if kind not in ("Resource", "ContainerResource"):
            # Simplified: no custom and external metrics APIs, hence no Pods, Object and External metrics.
            name = (metric.get(_KEYS.get(kind, "")) or {}).get("metric", {}).get("name", "")
            raise MetricError(
                f"unable to get metric {name}: unable to fetch metrics from custom metrics API: "
                "no custom metrics API (custom.metrics.k8s.io) registered"
            )
        source = metric[_KEYS[kind]]
        resource, container, target = source["name"], source.get("container", ""), source["target"]
        pods = [
            pod for pod in self._pods.list(namespace_of(hpa)) if selector.matches(pod["metadata"].get("labels") or {})
        ]
        by_utilization = target["type"] == "Utilization"
        prefix = f"failed to get {resource} {'utilization' if by_utilization else 'usage'}: "
        try:
            listed = await self.client.list(POD_METRICS, namespace_of(hpa), label_selector=str(selector))
        except errors.ApiError as error:
            raise MetricError(
                f"{prefix}unable to get metrics for resource {resource}: unable to fetch metrics from resource "
                f"metrics API: {error.message}"
            ) from None
        if not listed.get("items"):
            raise MetricError(
                f"{prefix}unable to get metrics for resource {resource}: no metrics returned from resource metrics API"
            )
        samples = samples_of(listed["items"], resource, container)
        now, tolerances = self.clock.now(), tolerances_of(hpa["spec"])
        name = f"{resource} {'container resource' if container else 'resource'}"
        try:
            if by_utilization:
                measure = plan_by_utilization(
                    current, target["averageUtilization"], resource, pods, samples, now,
                    container=container, tolerances=tolerances,
                )  # fmt: skip
                name += " utilization (percentage of request)"
            else:
                milli = milli_value(target["averageValue"])
                measure = plan_by_average(current, milli, resource, pods, samples, now, tolerances=tolerances)
        except MetricError as error:
            raise MetricError(prefix + str(error)) from None
        return _Found(measure.replicas, name, _metric_status(kind, source, measure))


def _prefix(metric: Mapping[str, Any]) -> str:
    kind = metric["type"]
    if kind == "Resource":
        return f"failed to get {metric['resource']['name']} resource metric value: "
    if kind == "ContainerResource":
        return f"failed to get {metric['containerResource']['name']} container metric value: "
    return f"failed to get {_KEYS.get(kind, kind)} metric value: "


def tolerances_of(spec: Mapping[str, Any]) -> Tolerances:
    """How far from the target nothing happens, in each direction (KEP-4951)."""
    behavior = spec.get("behavior") or {}

    def of(key: str) -> float:
        text = (behavior.get(key) or {}).get("tolerance")
        return TOLERANCE if text is None else parse_quantity(text).nanos / 1e9

    return Tolerances(of("scaleDown"), of("scaleUp"))


def _metric_status(kind: str, source: Mapping[str, Any], measure: Measure) -> dict[str, Any]:
    current: dict[str, Any] = {"averageValue": str(Quantity(measure.average_milli * 10**6))}
    if measure.utilization is not None:
        current["averageUtilization"] = measure.utilization
    status = {"name": source["name"], "current": current}
    if source.get("container"):
        status["container"] = source["container"]
    return {"type": kind, _KEYS[kind]: status}


class _Conditions:
    """The conditions of a status, changed one by one."""

    def __init__(self, status: Mapping[str, Any], now: str) -> None:
        self.all: list[dict[str, Any]] = list(status.get("conditions") or ())
        self._now = now

    def set(self, condition_type: str, status: str, reason: str, message: str) -> None:
        """Set one; its transition time moves when its status does."""
        self.all = with_condition(self.all, condition(condition_type, status, reason, message, self._now))
