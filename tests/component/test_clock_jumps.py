"""The machine's clock is set, or the machine slept: nothing that runs is disturbed by it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from orchestrator.api.objects import Object
from orchestrator.api.resources import DEPLOYMENTS, NODES, PODS
from orchestrator.testing import ManualClock, eventually, running_cluster


class SettableClock(ManualClock):
    """Wall-clock time can be set; monotonic time, as the kernel's, does not notice."""

    def __init__(self) -> None:
        self._offset = timedelta()
        super().__init__()

    def now(self) -> datetime:
        return super().now() + self._offset

    def set_by(self, offset: timedelta) -> None:
        self._offset += offset


def deployment(name: str) -> Object:
    labels = {"app": name}
    container = {
        "name": "main",
        "image": "app:1",
        "readinessProbe": {"httpGet": {"port": 80}},
        "livenessProbe": {"httpGet": {"port": 80}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def is_ready(obj: Object) -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


@pytest.mark.parametrize("hours", [6.0, -6.0, 24 * 400.0])
async def test_pods_and_nodes_go_on(hours: float) -> None:
    clock = SettableClock()
    async with running_cluster(nodes=2, clock=clock) as cluster:
        client = cluster.client()
        await client.create(DEPLOYMENTS, deployment("before"), "default")
        await clock.run(30)
        before = await eventually(client, PODS, lambda pods: len(pods) == 2 and all(map(is_ready, pods)))
        clock.set_by(timedelta(hours=hours))
        for _ in range(10):
            await clock.run(30)
            assert all(is_ready(node) for node in (await client.list(NODES))["items"])
        after = (await client.list(PODS, "default"))["items"]
        assert {pod["metadata"]["uid"] for pod in after} == {pod["metadata"]["uid"] for pod in before}
        assert all(is_ready(pod) for pod in after)
        assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in after] == [0, 0]
        await client.create(DEPLOYMENTS, deployment("after"), "default")
        await clock.run(30)
        await eventually(client, PODS, lambda pods: len(pods) == 4 and all(map(is_ready, pods)))
