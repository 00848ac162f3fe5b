"""The HPA controller's shell: every 15 seconds read metrics, set the scale, say why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Unpack

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, copy_object, key_of, labels_of, name_of, namespace_of
from orchestrator.api.resources import HORIZONTAL_POD_AUTOSCALERS, PODS, Resource
from orchestrator.api.selectors import LabelSelector, parse_label_selector
from orchestrator.component.controller import Controller, Dependencies
from orchestrator.controllers.conditions import condition, with_condition, with_status
from orchestrator.controllers.horizontalpodautoscaler.adapters import MetricAdapters
from orchestrator.controllers.horizontalpodautoscaler.behavior import (
    Change,
    Memory,
    Recommendation,
    plan_size,
)
from orchestrator.controllers.horizontalpodautoscaler.measures import MetricError
from orchestrator.controllers.horizontalpodautoscaler.sources import (
    FAILURES,
    Found,
    Look,
    MetricSources,
    context_of,
    tolerances_of,
)

PERIOD_SECONDS = 15.0


class _Target(NamedTuple):
    resource: Resource
    scale: Object


class HorizontalPodAutoscalerController(Controller):
    """Each autoscaler comes back every 15 seconds: metrics are asked for, they do not come by themselves."""

    name: ClassVar[str] = "horizontalpodautoscaling"

    def __init__(self, *, resources: Callable[[], Sequence[Resource]], **dependencies: Unpack[Dependencies]) -> None:
        self._resources = resources
        self._memories: dict[str, Memory] = {}
        self._selectors: dict[str, dict[str, LabelSelector]] = {}
        """By namespace and name of an autoscaler: what its target selects."""
        super().__init__(**dependencies)
        self._sources = MetricSources(self.client, MetricAdapters(self.client, self.clock, resources))

    def setup(self) -> None:
        """Autoscalers by key; their own status is no reason to look again."""
        self._autoscalers = self.informer(HORIZONTAL_POD_AUTOSCALERS)
        self._pods = self.informer(PODS)
        self._autoscalers.add_handler(self._on_autoscaler)

    def _on_autoscaler(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._memories.pop(key_of(old), None)
            siblings = self._selectors.get(namespace_of(old), {})
            siblings.pop(name_of(old), None)
            if not siblings:
                self._selectors.pop(namespace_of(old), None)
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
        status["currentReplicas"] = current
        status["currentMetrics"] = None
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
        selector = self._selector(hpa, target, conditions)
        if selector is None:
            return None, ""
        look = Look(
            namespace=namespace_of(hpa),
            selector=selector,
            pods=[pod for pod in self._pods.list(namespace_of(hpa)) if selector.matches(labels_of(pod))],
            current=current,
            observed=int((target.scale.get("status") or {}).get("replicas") or 0),
            tolerances=tolerances_of(hpa["spec"]),
            now=self.clock.now(),
        )
        if not self._is_alone(hpa, look, conditions):
            return None, ""
        found: list[Found] = []
        shown: list[dict[str, Any]] = []
        failure: tuple[str, str, str] | None = None
        for metric in hpa["spec"].get("metrics") or ():
            try:
                found.append(await self._sources.read(metric, look))
                shown.append(found[-1].status)
            except MetricError as error:
                reason = FAILURES.get(metric["type"], "InvalidMetricSourceType")
                failure = failure or (reason, str(error), context_of(metric) + error.context + str(error))
                self.recorder.event(hpa, "Warning", reason, str(error))
                # Clients find what a metric says by its place in the spec.
                shown.append({"type": ""})
        status["currentMetrics"] = shown
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

    def _selector(self, hpa: Object, target: _Target, conditions: _Conditions) -> LabelSelector | None:
        text = (target.scale.get("status") or {}).get("selector") or ""
        if not text:
            message = "the HPA target's scale is missing a selector"
            self.recorder.event(hpa, "Warning", "SelectorRequired", "selector is required")
            self.recorder.event(hpa, "Warning", "FailedComputeMetricsReplicas", "selector is required")
            conditions.set("ScalingActive", "False", "InvalidSelector", message)
            return None
        try:
            return parse_label_selector(text)
        except errors.BadRequest as error:
            message = f"couldn't convert selector into a corresponding internal selector object: {error.message}"
            self.recorder.event(hpa, "Warning", "InvalidSelector", message)
            self.recorder.event(hpa, "Warning", "FailedComputeMetricsReplicas", message)
            conditions.set("ScalingActive", "False", "InvalidSelector", message)
            return None

    def _is_alone(self, hpa: Object, look: Look, conditions: _Conditions) -> bool:
        """Whether no other autoscaler selects one of these pods; two would pull them to and fro."""
        if self._autoscalers.get(key_of(hpa)) is None:
            return False  # deleted meanwhile
        siblings = self._selectors.setdefault(look.namespace, {})
        siblings[name_of(hpa)] = look.selector
        names = plan_rivals(look.pods, siblings)
        if len(names) <= 1:
            return True
        shown = " ".join(f"{{{name} {look.namespace}}}" for name in names)
        message = f"pods by selector {look.selector} are controlled by multiple HPAs: [{shown}]"
        self.recorder.event(hpa, "Warning", "AmbiguousSelector", message)
        self.recorder.event(hpa, "Warning", "FailedComputeMetricsReplicas", message)
        conditions.set("ScalingActive", "False", "AmbiguousSelector", message)
        return False


def plan_rivals(pods: Sequence[Object], selectors: Mapping[str, LabelSelector]) -> list[str]:
    """The names of all autoscalers that select one of these pods, given the selectors of their namespace."""
    # Pods of one template have the same labels.
    kinds = {frozenset(labels_of(pod).items()) for pod in pods}
    labels = [dict(kind) for kind in kinds]
    return sorted(name for name, selector in selectors.items() if any(selector.matches(one) for one in labels))


class _Conditions:
    """The conditions of a status, changed one by one."""

    def __init__(self, status: Mapping[str, Any], now: str) -> None:
        self.all: list[dict[str, Any]] = list(status.get("conditions") or ())
        self._now = now

    def set(self, condition_type: str, status: str, reason: str, message: str) -> None:
        """Set one; its transition time moves when its status does."""
        self.all = with_condition(self.all, condition(condition_type, status, reason, message, self._now))
