"""HorizontalPodAutoscalers on a running cluster, with a metrics API played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, condition_of, name_of
from orchestrator.api.resources import DEPLOYMENTS, EVENTS, HORIZONTAL_POD_AUTOSCALERS, PODS
from orchestrator.client.client import Client
from orchestrator.client.informer import Informers
from orchestrator.client.transport import Request, Transport, WatchStream
from orchestrator.cluster.users import CONTROLLER_MANAGER, controller_groups, controller_user
from orchestrator.component.events import EventRecorder
from orchestrator.controllers.horizontalpodautoscaler import HorizontalPodAutoscalerController
from orchestrator.testing import ManualClock

from .conftest import TimedStage, deployment, stage_with


class WithMetrics:
    """A transport that answers for metrics APIs; everything else goes to the cluster."""

    def __init__(self, inner: Transport, stage: TimedStage) -> None:
        self._inner, self._stage = inner, stage
        self.milli = 50
        self.values: dict[str, str] = {}
        """By path and query: what adapters answer as the value of each pod, of an object, of a queue."""
        self.asked: list[str] = []

    async def _answer(self, request: Request) -> Object:
        path = request.resource.path(request.namespace, request.name, request.subresource)
        if request.query:
            path += "?" + "&".join(f"{key}={value}" for key, value in request.query.items())
        self.asked.append(path)
        if path not in self.values:
            raise errors.NotFound("the server could not find the requested resource")
        names = ["it"]
        if request.name == "*":
            names = [name_of(pod) for pod in (await self._stage.client.list(PODS, request.namespace))["items"]]
        stamp = format_time(self._stage.clock.now())
        return {"items": [{"describedObject": {"name": name}, "timestamp": stamp, "value": self.values[path]}
                          for name in names]}  # fmt: skip

    async def send(self, request: Request) -> Object:
        if request.resource.group in ("custom.metrics.k8s.io", "external.metrics.k8s.io"):
            return await self._answer(request)
        if request.resource.group != "metrics.k8s.io":
            return await self._inner.send(request)
        pods = (await self._stage.client.list(PODS, request.namespace))["items"]
        stamp = format_time(self._stage.clock.now())
        usage = {"cpu": f"{self.milli}m", "memory": "1Mi"}
        return {
            "items": [
                {"metadata": {"name": name_of(pod)}, "timestamp": stamp, "window": "10s",
                 "containers": [{"name": "c", "usage": usage}]}
                for pod in pods
            ]
        }  # fmt: skip

    async def open_watch(self, request: Request) -> WatchStream:
        return await self._inner.open_watch(request)

    async def close(self) -> None:
        return


class Scaling:
    """The stage and the load."""

    def __init__(self, timed: TimedStage, transport: WithMetrics) -> None:
        self.timed, self.transport = timed, transport

    async def size(self) -> int:
        one = await self.timed.client.get(DEPLOYMENTS, "web", "default")
        return int(one["spec"]["replicas"])

    async def hpa(self) -> Object:
        return await self.timed.client.get(HORIZONTAL_POD_AUTOSCALERS, "h", "default")


@pytest.fixture
async def scaling() -> AsyncIterator[Scaling]:
    """A Deployment `web` with one pod, an HPA controller on a metrics API, an hour after the start."""
    names = ("*", "-podgc", "-nodelifecycle", "-horizontalpodautoscaling")
    async with stage_with(*names, clock=ManualClock()) as stage:
        stage.__class__ = TimedStage
        assert isinstance(stage, TimedStage)
        own = stage.cluster.client(controller_user("horizontalpodautoscaling"), controller_groups())
        transport = WithMetrics(own.transport, stage)
        client = Client(transport)
        informers = Informers(stage.cluster.client(CONTROLLER_MANAGER, ()), clock=stage.clock)
        recorder = EventRecorder(client, component="horizontal-pod-autoscaler", clock=stage.clock)
        controller = HorizontalPodAutoscalerController(
            client=client, informers=informers, recorder=recorder, clock=stage.clock, resources=stage.cluster.resources
        )
        tasks = [asyncio.create_task(part.run(), name="hpa") for part in (informers, recorder, controller)]
        one = deployment(replicas=1)
        one["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
        await stage.client.create(DEPLOYMENTS, one)
        await stage.after(3600)
        yield Scaling(stage, transport)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def hpa(**spec: Any) -> Object:
    target = {"type": "Utilization", "averageUtilization": 50}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h", "namespace": "default"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 6,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            **spec,
        },
    }


def reason(one: Object, condition_type: str) -> str:
    return str((condition_of(one, condition_type) or {}).get("reason"))


async def test_load_goes_up_and_down(scaling: Scaling) -> None:
    await scaling.timed.client.create(HORIZONTAL_POD_AUTOSCALERS, hpa())
    await scaling.timed.after(16)
    one = await scaling.hpa()
    assert await scaling.size() == 1
    assert (reason(one, "ScalingActive"), reason(one, "AbleToScale")) == ("ValidMetricFound", "ReadyForNewScale")
    assert one["status"]["currentMetrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "current": {"averageValue": "50m", "averageUtilization": 50}}}
    ]
    scaling.transport.milli = 200
    await scaling.timed.after(15)
    assert await scaling.size() == 4
    scaling.transport.milli = 50
    await scaling.timed.after(60)
    scaling.transport.milli = 10
    await scaling.timed.after(240)
    assert await scaling.size() == 4  # a recommendation of the last five minutes was higher
    assert reason(await scaling.hpa(), "AbleToScale") == "ScaleDownStabilized"
    await scaling.timed.after(120)
    assert await scaling.size() == 1
    events = (await scaling.timed.client.list(EVENTS, "default"))["items"]
    messages = {e["message"] for e in events if e["reason"] == "SuccessfulRescale"}
    assert messages == {
        "New size: 4; reason: cpu resource utilization (percentage of request) above target",
        "New size: 1; reason: All metrics below target",
    }


async def test_container_metrics_and_behavior(scaling: Scaling) -> None:
    target = {"type": "AverageValue", "averageValue": "100m"}
    behavior = {
        "scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
        "scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
    }
    source = {"name": "cpu", "container": "c", "target": target}
    metric = {"type": "ContainerResource", "containerResource": source}
    await scaling.timed.client.create(HORIZONTAL_POD_AUTOSCALERS, hpa(metrics=[metric], behavior=behavior))
    scaling.transport.milli = 1000
    await scaling.timed.after(16)
    assert await scaling.size() == 2
    assert reason(await scaling.hpa(), "ScalingLimited") == "ScaleUpLimit"
    await scaling.timed.after(65)
    assert await scaling.size() == 3
    scaling.transport.milli = 100
    await scaling.timed.after(120)
    assert await scaling.size() == 3
    scaling.transport.milli = 1
    await scaling.timed.after(16)
    assert await scaling.size() == 2
    assert reason(await scaling.hpa(), "ScalingLimited") == "ScaleDownLimit"


async def test_bounds_hold_without_metrics_and_zero_disables(scaling: Scaling) -> None:
    await scaling.timed.client.create(HORIZONTAL_POD_AUTOSCALERS, hpa(minReplicas=3))
    await scaling.timed.after(16)
    assert await scaling.size() == 3
    await scaling.timed.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 0}}, "default")
    await scaling.timed.after(16)
    assert await scaling.size() == 0
    assert reason(await scaling.hpa(), "ScalingActive") == "ScalingDisabled"


async def test_what_cannot_be_had_is_said(timed: TimedStage) -> None:
    await timed.client.create(HORIZONTAL_POD_AUTOSCALERS, hpa())
    await timed.after(16)
    one = await timed.client.get(HORIZONTAL_POD_AUTOSCALERS, "h", "default")
    assert reason(one, "AbleToScale") == "FailedGetScale"
    await timed.client.create(DEPLOYMENTS, deployment(replicas=1))
    await timed.after(16)
    one = await timed.client.get(HORIZONTAL_POD_AUTOSCALERS, "h", "default")
    assert reason(one, "ScalingActive") == "FailedGetResourceMetric"
    message = condition_of(one, "ScalingActive")["message"]  # type: ignore[index]
    assert message.startswith(
        "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for "
        "resource cpu: no metrics returned from resource metrics API"
    )


CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default"
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default"


async def test_a_metric_of_pods(scaling: Scaling) -> None:
    path = f"{CUSTOM}/pods/*/requests?labelSelector=app=web&metricLabelSelector=verb=GET"
    scaling.transport.values[path] = "30"
    identifier = {"name": "requests", "selector": {"matchLabels": {"verb": "GET"}}}
    metric = {"type": "Pods", "pods": {"metric": identifier, "target": {"type": "AverageValue", "averageValue": "10"}}}
    await scaling.timed.client.create(HORIZONTAL_POD_AUTOSCALERS, hpa(metrics=[metric]))
    await scaling.timed.after(1)
    assert await scaling.size() == 3
    one = await scaling.hpa()
    assert one["status"]["currentMetrics"] == [
        {"type": "Pods", "pods": {"metric": identifier, "current": {"averageValue": "30"}}}
    ]
    message = condition_of(one, "ScalingActive")["message"]  # type: ignore[index]
    assert message == "the HPA was able to successfully calculate a replica count from pods metric requests"


@pytest.mark.parametrize(
    ("target", "size", "current", "name"),
    [
        ({"type": "Value", "value": "100"}, 4, {"value": "350"}, "Service metric hits"),
        ({"type": "AverageValue", "averageValue": "100"}, 4, {"averageValue": "350"}, "external metric hits(nil)"),
    ],
)
async def test_a_metric_of_an_object(
    scaling: Scaling, target: Object, size: int, current: Object, name: str
) -> None:  # fmt: skip
    """In the older version of the API, which this adapter serves alone."""
    scaling.transport.values[f"{CUSTOM.replace('v1beta2', 'v1beta1')}/services/front/hits"] = "350"
    described = {"apiVersion": "v1", "kind": "Service", "name": "front"}
    source = {"describedObject": described, "metric": {"name": "hits"}, "target": target}
    metric = {"type": "Object", "object": source}
    await scaling.timed.client.create(HORIZONTAL_POD_AUTOSCALERS, hpa(metrics=[metric]))
    await scaling.timed.after(1)
    assert await scaling.size() == size
    one = await scaling.hpa()
    assert one["status"]["currentMetrics"][0]["object"]["current"] == current
    assert condition_of(one, "ScalingActive")["message"].endswith(name)  # type: ignore[index]


async def test_an_external_metric_grows_and_shrinks_a_workload(scaling: Scaling) -> None:
    path = f"{EXTERNAL}/queue_length?labelSelector=queue=orders"
    scaling.transport.values[path] = "25"
    identifier = {"name": "queue_length", "selector": {"matchLabels": {"queue": "orders"}}}
    target = {"type": "AverageValue", "averageValue": "10"}
    metric = {"type": "External", "external": {"metric": identifier, "target": target}}
    await scaling.timed.client.create(HORIZONTAL_POD_AUTOSCALERS, hpa(metrics=[metric]))
    await scaling.timed.after(1)
    assert await scaling.size() == 3
    scaling.transport.values[path] = "8"
    await scaling.timed.after(400)
    assert await scaling.size() == 1
    status = (await scaling.hpa())["status"]
    assert status["currentMetrics"] == [
        {"type": "External", "external": {"metric": identifier, "current": {"averageValue": "8"}}}
    ]


async def test_metrics_that_nobody_serves_are_named(scaling: Scaling) -> None:
    external = {"metric": {"name": "queue_length"}, "target": {"type": "Value", "value": "1"}}
    await scaling.timed.client.create(
        HORIZONTAL_POD_AUTOSCALERS, hpa(metrics=[{"type": "External", "external": external}])
    )
    await scaling.timed.after(1)
    one = await scaling.hpa()
    assert reason(one, "ScalingActive") == "FailedGetExternalMetric"
    why = (
        "unable to get external metric default/queue_length/nil: unable to fetch metrics from external metrics API: "
        "no external metrics API (external.metrics.k8s.io) registered"
    )
    assert condition_of(one, "ScalingActive")["message"].endswith(why)  # type: ignore[index]
    events = {(e["reason"], e["message"]) for e in (await scaling.timed.client.list(EVENTS, "default"))["items"]}
    assert ("FailedGetExternalMetric", why) in events
    summary = (
        "invalid metrics (1 invalid out of 1), first error is: failed to get queue_length external metric value: "
        f"failed to get external metric queue_length: {why}"
    )
    assert ("FailedComputeMetricsReplicas", summary) in events


async def test_a_metric_that_is_missing_keeps_its_place(scaling: Scaling) -> None:
    """kubectl shows what each metric of the spec says by its place."""
    external = {"metric": {"name": "queue_length"}, "target": {"type": "Value", "value": "1"}}
    one = hpa(metrics=[{"type": "External", "external": external}, *hpa()["spec"]["metrics"]])
    await scaling.timed.client.create(HORIZONTAL_POD_AUTOSCALERS, one)
    await scaling.timed.after(1)
    metrics = (await scaling.hpa())["status"]["currentMetrics"]
    assert [metric["type"] for metric in metrics] == ["", "Resource"]


async def test_current_replicas_are_those_that_the_target_asks_for(scaling: Scaling) -> None:
    scaling.timed.is_held = lambda pod: True
    await scaling.timed.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 8}}, "default")
    await scaling.timed.client.create(HORIZONTAL_POD_AUTOSCALERS, hpa())
    await scaling.timed.after(1)
    status = (await scaling.hpa())["status"]
    assert (status["currentReplicas"], status["desiredReplicas"], status.get("currentMetrics")) == (8, 6, None)


async def test_two_autoscalers_for_the_same_pods_both_stand_still(scaling: Scaling) -> None:
    scaling.transport.milli = 200
    await scaling.timed.client.create(HORIZONTAL_POD_AUTOSCALERS, hpa())
    await scaling.timed.after(1)
    assert await scaling.size() == 4
    second = hpa()
    second["metadata"]["name"] = "rival"
    await scaling.timed.client.create(HORIZONTAL_POD_AUTOSCALERS, second)
    scaling.transport.milli = 1
    await scaling.timed.after(600)
    assert await scaling.size() == 4
    for name in ("h", "rival"):
        one = await scaling.timed.client.get(HORIZONTAL_POD_AUTOSCALERS, name, "default")
        assert reason(one, "ScalingActive") == "AmbiguousSelector"
        message = condition_of(one, "ScalingActive")["message"]  # type: ignore[index]
        assert message == "pods by selector app=web are controlled by multiple HPAs: [{h default} {rival default}]"
    await scaling.timed.client.delete(HORIZONTAL_POD_AUTOSCALERS, "rival", "default")
    await scaling.timed.after(600)
    assert await scaling.size() == 1
