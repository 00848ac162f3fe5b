"""The end of pods: by deletion, by force, by a deadline."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import condition_of
from orchestrator.api.resources import PODS
from orchestrator.testing import settle
from tests.component.kubelet.hollow_node import Node, state
from tests.component.kubelet.scripted import ScriptedActions, http


async def test_graceful_deletion_removes_everything(node: Node) -> None:
    await node.create("web")
    await node.wait_phase("web", "Running")
    await node.client.delete(PODS, "web", "default")
    await node.wait_gone("web")
    await settle()
    assert node.runtime.pods() == []
    assert "Killing: Stopping container a" in await node.event_messages("web")


@pytest.mark.parametrize("image", ["app:1", "missing:1"])
async def test_a_pod_deleted_before_its_init_containers_ended_fails(node: Node, image: str) -> None:
    """Who holds a finalizer (a Job that only replaces failed pods) waits for a terminal phase."""
    metadata = {"name": "web", "namespace": "default", "finalizers": ["example.com/hold"]}
    containers = {"initContainers": [{"name": "i", "image": image}], "containers": [{"name": "a", "image": "app:1"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": "node-1", **containers}}
    await node.client.create(PODS, pod)
    await node.wait("web", lambda p: bool(p["status"].get("initContainerStatuses")))
    await node.client.delete(PODS, "web", "default")
    pod = await node.wait_phase("web", "Failed")
    assert "waiting" in state(pod), "it never came so far"
    assert node.runtime.pods() == []


async def test_a_container_that_never_ran_ends_with_its_pod(node: Node) -> None:
    """A failure policy that looks for exit code 137 finds one."""
    metadata = {"name": "web", "namespace": "default", "finalizers": ["example.com/hold"]}
    containers = [{"name": "a", "image": "missing:1"}, {"name": "b", "image": "app:1"}]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
           "spec": {"nodeName": "node-1", "containers": containers}}  # fmt: skip
    await node.client.create(PODS, pod)
    await node.wait("web", lambda p: "waiting" in (p["status"].get("containerStatuses") or [{"state": {}}])[0]["state"])
    await node.client.delete(PODS, "web", "default")
    pod = await node.wait_phase("web", "Failed")
    ended = state(pod)["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")


async def test_forced_deletion_is_noticed(node: Node) -> None:
    await node.create("web")
    await node.wait_phase("web", "Running")
    await node.client.delete(PODS, "web", "default", grace_period_seconds=0)
    await settle()
    assert node.runtime.pods() == []


async def test_forced_deletion_cuts_a_long_goodbye_short(node: Node) -> None:
    slow = {"name": "a", "image": "app:1", "lifecycle": {"preStop": {"sleep": {"seconds": 900}}}}
    await node.create("web", containers=[slow], terminationGracePeriodSeconds=1000)
    await node.wait_phase("web", "Running")
    await node.client.delete(PODS, "web", "default")
    await node.clock.run(5)
    assert node.runtime.pods()
    await node.client.delete(PODS, "web", "default", grace_period_seconds=0)
    await settle()
    await node.clock.run(5)
    assert node.runtime.pods() == []


async def test_deadline(node: Node) -> None:
    await node.create("job", activeDeadlineSeconds=60)
    await node.wait_phase("job", "Running")
    await node.clock.run(59)
    assert (await node.get("job"))["status"]["phase"] == "Running"
    await node.clock.run(2)
    pod = await node.wait_phase("job", "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"


async def test_a_pod_that_somebody_else_says_has_failed_is_ended(node: Node) -> None:
    await node.create("web", terminationGracePeriodSeconds=5)
    await node.wait_phase("web", "Running")
    status = {"phase": "Failed", "reason": "Lost", "message": "nobody knows it"}
    await node.client.patch(PODS, "web", {"status": status}, "default", subresource="status")
    await settle()
    await node.clock.run(6)
    pod = await node.wait("web", lambda pod: "terminated" in pod["status"]["containerStatuses"][0]["state"])
    assert {key: pod["status"][key] for key in status} == status


async def test_a_deletion_is_told_as_seen_when_it_takes_long(node: Node) -> None:
    slow = {"name": "a", "image": "app:1", "lifecycle": {"preStop": {"sleep": {"seconds": 25}}}}
    await node.create("web", containers=[slow])
    await node.wait_phase("web", "Running")
    await node.client.delete(PODS, "web", "default")
    assert "Killing: Stopping container a" in await node.event_messages("web")
    await node.clock.run(2)
    pod = await node.wait("web", lambda p: p["status"]["observedGeneration"] == 2)
    assert "running" in state(pod)
    await node.clock.run(24)
    await node.wait_gone("web")


async def test_readiness_counts_until_a_pod_has_stopped(scripted: tuple[Node, ScriptedActions]) -> None:
    node, actions = scripted
    container = {
        "name": "a",
        "image": "app:1",
        "readinessProbe": http("/ready", failureThreshold=1),
        "livenessProbe": http("/live", failureThreshold=1),
        "lifecycle": {"preStop": {"sleep": {"seconds": 25}}},
    }
    await node.create("web", containers=[container])
    await node.wait_phase("web", "Running")
    await node.clock.run(6)
    await node.wait("web", lambda pod: (condition_of(pod, "Ready") or {}).get("status") == "True")
    await node.client.delete(PODS, "web", "default")
    await node.clock.run(1)
    actions.failing |= {"/ready", "/live"}
    await node.clock.run(6)
    pod = await node.wait("web", lambda pod: (condition_of(pod, "Ready") or {}).get("status") == "False")
    assert pod["metadata"]["deletionTimestamp"]
    assert "running" in state(pod)
    assert not any("Liveness" in message for message in await node.event_messages("web"))
    await node.clock.run(20)
    await node.wait_gone("web")


async def test_a_container_that_stopped_is_told_while_others_take_their_time(node: Node) -> None:
    slow = {"name": "slow", "image": "app:1", "lifecycle": {"preStop": {"sleep": {"seconds": 25}}}}
    await node.create("web", containers=[slow, {"name": "quick", "image": "app:1"}])
    await node.wait_phase("web", "Running")
    await node.client.delete(PODS, "web", "default")

    def quick_ended(pod: Any) -> bool:
        states = {entry["name"]: entry["state"] for entry in pod["status"]["containerStatuses"]}
        return "terminated" in states["quick"] and "running" in states["slow"]

    pod = await node.wait("web", quick_ended)
    assert pod["status"]["phase"] == "Running"
    await node.clock.run(26)
    await node.wait_gone("web")


async def test_shorter_grace_cuts_a_running_deletion_short(node: Node) -> None:
    lifecycle = {"preStop": {"sleep": {"seconds": 25}}}
    await node.create("web", containers=[{"name": "a", "image": "app:1", "lifecycle": lifecycle}])
    await node.wait_phase("web", "Running")
    await node.client.delete(PODS, "web", "default")
    await node.clock.run(3)
    assert (await node.get("web"))["metadata"]["deletionTimestamp"]
    await node.client.delete(PODS, "web", "default", grace_period_seconds=5)
    await node.clock.run(3)
    await node.wait_gone("web")
    assert node.runtime.pods() == []


async def test_a_long_stop_does_not_block_other_pods(node: Node) -> None:
    lifecycle = {"preStop": {"sleep": {"seconds": 25}}}
    await node.create("slow", containers=[{"name": "a", "image": "app:1", "lifecycle": lifecycle}])
    await node.wait_phase("slow", "Running")
    await node.client.delete(PODS, "slow", "default")
    await node.create("quick")
    await node.wait_phase("quick", "Running")
    assert (await node.get("slow"))["metadata"]["deletionTimestamp"]
    await node.clock.run(26)
    await node.wait_gone("slow")
