"""What a node takes: room, room that others leave, and room that they have to leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from orchestrator.api.objects import condition_of
from orchestrator.api.resources import NODES, PODS
from orchestrator.testing import settle
from tests.component.kubelet.hollow_node import Node, hollow_node


async def test_pod_too_large_for_the_node_is_refused(node: Node) -> None:
    await node.create(
        "big", containers=[{"name": "a", "image": "app:1", "resources": {"requests": {"cpu": "100"}}}]
    )  # fmt: skip
    pod = await node.wait_phase("big", "Failed")
    assert pod["status"]["reason"] == "OutOfcpu"
    await settle()
    assert "containerStatuses" not in (await node.get("big"))["status"], "nothing of it was tried"
    assert node.runtime.pods() == []


async def test_a_pod_deleted_by_force_holds_no_room(tmp_path: Path) -> None:
    class OfOne(Node):
        def prepare(self) -> None:
            self.options = replace(self.options, capacity={"pods": "1"})

    async with hollow_node(tmp_path, kind=OfOne) as node:
        await node.create("first")
        await node.wait_phase("first", "Running")
        await node.client.delete(PODS, "first", "default", grace_period_seconds=0)
        await node.create("second")
        await node.wait_phase("second", "Running")
        await node.create("third")
        assert (await node.wait_phase("third", "Failed"))["status"]["reason"] == "OutOfpods"


async def test_others_give_way_to_a_critical_pod(tmp_path: Path) -> None:
    class Small(Node):
        def prepare(self) -> None:
            self.options = replace(self.options, capacity={"cpu": "2"})

    def asking(cpu: str) -> list[dict[str, Any]]:
        return [{"name": "a", "image": "app:1", "resources": {"requests": {"cpu": cpu}}}]

    async with hollow_node(tmp_path, kind=Small) as node:
        for name, cpu in (("small", "300m"), ("fitting", "600m"), ("large", "1")):
            await node.create(name, containers=asking(cpu))
            await node.wait_phase(name, "Running")
        await node.create("usual", containers=asking("500m"))
        assert (await node.wait_phase("usual", "Failed"))["status"]["reason"] == "OutOfcpu"
        await node.create("needed", containers=asking("500m"), priorityClassName="system-node-critical")
        await node.wait_phase("needed", "Running")
        ended = await node.wait_phase("fitting", "Failed")
        assert (ended["status"]["reason"], ended["status"]["message"]) == (
            "Preempting",
            "Preempted in order to admit critical pod",
        )
        assert (condition_of(ended, "DisruptionTarget") or {})["reason"] == "TerminationByKubelet"
        for name in ("small", "large"):
            assert (await node.get(name))["status"]["phase"] == "Running"


class OfTwoCpus(Node):
    """A node with little room."""

    def prepare(self) -> None:
        self.options = replace(self.options, capacity={"cpu": "2", "memory": "4Gi"})

    async def run_sized(self, name: str, **requests: str) -> None:
        container = {"name": "a", "image": "app:1", "resources": {"requests": requests}}
        await self.create(name, containers=[container], restartPolicy="Never")
        await self.wait_phase(name, "Running")

    async def resize(self, name: str, **requests: str) -> None:
        patch = [{"op": "replace", "path": "/spec/containers/0/resources/requests", "value": requests}]
        await self.client.patch(
            PODS, name, patch, "default", subresource="resize", content_type="application/json-patch+json"
        )

    async def wait_deferred(self, name: str) -> None:
        held = await self.wait(name, lambda pod: condition_of(pod, "PodResizePending") is not None)
        assert (condition_of(held, "PodResizePending") or {})["reason"] == "Deferred"

    async def wait_resized(self, name: str, **requests: str) -> None:
        await self.wait(
            name,
            lambda pod: (
                condition_of(pod, "PodResizePending") is None
                and pod["status"]["containerStatuses"][0]["resources"]["requests"] == requests
            ),
        )


@pytest.mark.parametrize("how", ["shrinks", "ends", "is deleted", "is deleted by force"])
async def test_a_resize_that_waits_for_room_is_carried_out_once_there_is(tmp_path: Path, how: str) -> None:
    async with hollow_node(tmp_path, kind=OfTwoCpus) as made:
        node = cast(OfTwoCpus, made)
        for name in ("other", "waiting"):
            await node.run_sized(name, cpu="900m")
        await node.resize("waiting", cpu="1500m")
        await node.wait_deferred("waiting")
        if how == "shrinks":
            await node.resize("other", cpu="400m")
        elif how == "ends":
            node.runtime.kill_container(node.container_id(await node.get("other")), 0)
        else:
            grace = 0 if how.endswith("force") else None
            await node.client.delete(PODS, "other", "default", grace_period_seconds=grace)
        await node.wait_resized("waiting", cpu="1500m")


async def test_room_that_resizes_leave_is_given_to_others_that_wait(tmp_path: Path) -> None:
    async with hollow_node(tmp_path, kind=OfTwoCpus) as made:
        node = cast(OfTwoCpus, made)
        names = ("first", "second", "third", "fourth")
        for name in names:
            await node.run_sized(name, cpu="500m", memory="800Mi")
        wishes = {
            "second": {"cpu": "700m", "memory": "100Mi"},
            "third": {"cpu": "100m", "memory": "2500Mi"},
            "fourth": {"cpu": "1200m", "memory": "800Mi"},
        }
        for name, wish in wishes.items():
            await node.resize(name, **wish)
            await node.wait_deferred(name)
        await node.client.delete(PODS, "first", "default")
        for name, wish in wishes.items():
            await node.wait_resized(name, **wish)


@pytest.mark.parametrize("end", ["grace", "force", "deletion"])
async def test_a_critical_pod_waits_until_its_victims_have_ended(tmp_path: Path, end: str) -> None:
    """Only then is there the room that it needs; meanwhile it holds the place against others."""

    class Small(Node):
        def prepare(self) -> None:
            self.options = replace(self.options, capacity={"cpu": "1"})

    def asking(cpu: str, **fields: Any) -> list[dict[str, Any]]:
        return [{"name": "a", "image": "app:1", "resources": {"requests": {"cpu": cpu}}, **fields}]

    async with hollow_node(tmp_path, kind=Small) as node:
        slow = {"preStop": {"sleep": {"seconds": 20}}}
        await node.create("victim", containers=asking("600m", lifecycle=slow))
        await node.wait_phase("victim", "Running")
        await node.create("needed", containers=asking("500m"), priorityClassName="system-node-critical")
        await node.create("other", containers=asking("600m"))
        assert (await node.wait_phase("other", "Failed"))["status"]["reason"] == "OutOfcpu"
        await node.clock.run(10)
        assert "startTime" not in (await node.get("needed"))["status"]
        assert [pod.name for pod in node.runtime.pods()] == ["victim"]
        if end == "deletion":  # of the one that waits
            await node.client.delete(PODS, "needed", "default")
            await node.wait_gone("needed")
        elif end == "force":
            await node.client.delete(PODS, "victim", "default", grace_period_seconds=0)
            await node.clock.run(5)
            await node.wait_phase("needed", "Running")
        else:
            await node.clock.run(30)
            await node.wait_phase("needed", "Running")
            assert (await node.wait_phase("victim", "Failed"))["status"]["reason"] == "Preempting"


async def test_pod_on_a_node_that_it_does_not_select_is_refused(node: Node) -> None:
    await node.create("elsewhere", nodeSelector={"disk": "ssd"})
    pod = await node.wait_phase("elsewhere", "Failed")
    assert pod["status"]["reason"] == "NodeAffinity"
    # A label counts from the moment it is there, whether the kubelet has seen it or not.
    await node.client.patch(NODES, "node-1", {"metadata": {"labels": {"disk": "ssd"}}})
    await node.create("here", nodeSelector={"disk": "ssd"})
    await node.wait_phase("here", "Running")


async def test_a_pod_whose_host_port_is_taken_is_refused(node: Node) -> None:
    containers = [{"name": "a", "image": "app:1", "ports": [{"containerPort": 80, "hostPort": 8080}]}]
    await node.create("first", containers=containers)
    await node.wait_phase("first", "Running")
    for priority in ("", "system-node-critical"):
        await node.create("late", containers=containers, priorityClassName=priority)
        pod = await node.wait_phase("late", "Failed")
        assert pod["status"]["reason"] == "NodePorts"
        await node.client.delete(PODS, "late", "default")
        await node.wait_gone("late")
    await node.client.delete(PODS, "first", "default")
    await node.wait_gone("first")
    await node.create("next", containers=containers)
    await node.wait_phase("next", "Running")
