"""HorizontalPodAutoscalers on a running cluster, with a metrics API played by the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.aiokit.clock import format_time
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
    """A transport that answers for metrics.k8s.io; everything else goes to the cluster."""

    def __init__(self, inner: Transport, stage: TimedStage) -> None:
        self._inner, self._stage = inner, stage
        self.milli = 50

    async def send(self, request: Request) -> Object:
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
