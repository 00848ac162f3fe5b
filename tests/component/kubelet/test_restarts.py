"""Containers that die, are lost or change: what is started again, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.api.objects import condition_of, copy_object
from orchestrator.api.resources import PODS
from orchestrator.testing import settle
from tests.component.kubelet.hollow_node import Node, restart_count, state


async def test_death_is_restarted_at_once_then_with_growing_back_off(node: Node) -> None:
    await node.create("web")
    pod = await node.wait_phase("web", "Running")
    node.runtime.kill_container(node.container_id(pod), 137, oom=True)
    pod = await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1)
    entry = pod["status"]["containerStatuses"][0]
    assert "running" in entry["state"]
    assert entry["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert entry["lastState"]["terminated"]["exitCode"] == 137

    node.runtime.kill_container(node.container_id(pod), 1)
    pod = await node.wait("web", lambda p: "waiting" in state(p))
    waiting = state(pod)["waiting"]
    assert waiting["reason"] == "CrashLoopBackOff"
    assert waiting["message"].startswith("back-off 10s restarting failed container=a pod=web_default(")
    assert pod["status"]["phase"] == "Running"
    ready = condition_of(pod, "Ready")
    assert ready is not None
    assert ready["message"] == "containers with unready status: [a]"
    await node.clock.run(9)
    assert "waiting" in state(await node.get("web"))
    await node.clock.run(1.1)
    pod = await node.wait("web", lambda p: "running" in state(p))
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 2

    node.runtime.kill_container(node.container_id(pod), 1)
    pod = await node.wait("web", lambda p: "waiting" in state(p))
    assert "back-off 20s" in state(pod)["waiting"]["message"]
    messages = await node.event_messages("web")
    assert sum(m.startswith("BackOff: Back-off restarting failed container a in pod web_default(") for m in messages)
    # Only the newest dead container is kept.
    assert len(node.runtime.pods()[0].containers) == 1


def _has_restarts(count: int) -> Callable[[Any], bool]:
    return lambda pod: restart_count(pod) == count


def _runs_again(count: int) -> Callable[[Any], bool]:
    return lambda pod: "running" in state(pod) and restart_count(pod) == count


async def test_back_off_begins_anew_with_another_image(node: Node) -> None:
    await node.create("web")
    await node.wait_phase("web", "Running")
    for restarts in (0, 1):
        pod = await node.wait("web", _runs_again(restarts))
        node.runtime.kill_container(node.container_id(pod), 1)
    await node.wait("web", lambda p: "waiting" in state(p))
    changed = copy_object(await node.get("web"))
    changed["spec"]["containers"][0]["image"] = "app:2"
    await node.client.update(PODS, changed)
    pod = await node.wait("web", lambda p: "running" in state(p))
    assert restart_count(pod) == 2
    assert pod["status"]["containerStatuses"][0]["image"] == "app:2"


async def test_back_off_is_forgotten_after_ten_good_minutes(node: Node) -> None:
    await node.create("web")
    pod = await node.wait_phase("web", "Running")
    for restarts in (1, 2):
        node.runtime.kill_container(node.container_id(pod), 1)
        await node.clock.run(11)
        pod = await node.wait("web", _has_restarts(restarts))
    await node.clock.run(700)
    node.runtime.kill_container(node.container_id(pod), 1)
    pod = await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 3)
    assert "running" in state(pod)


async def test_restart_of_the_kubelet_restarts_nothing(node: Node) -> None:
    await node.create("web")
    before = await node.wait_phase("web", "Running")
    await node.create("gone")
    await node.wait_phase("gone", "Running")
    await node.stop()
    await node.client.delete(PODS, "gone", "default", grace_period_seconds=0)
    await node.clock.run(100)
    await node.start()
    await settle()
    after = await node.get("web")
    assert after["status"] == before["status"]
    assert [pod.name for pod in node.runtime.pods()] == ["web"]
    assert [c.id for c in node.runtime.pods()[0].containers] == [node.container_id(before)]


async def test_lost_container_is_started_again_and_counted(node: Node) -> None:
    await node.create("web")
    pod = await node.wait_phase("web", "Running")
    node.runtime.lose_container(node.container_id(pod))
    pod = await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1)
    ended = pod["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "ContainerStatusUnknown")


async def test_dead_sandbox_is_replaced(node: Node) -> None:
    await node.create("web")
    pod = await node.wait_phase("web", "Running")
    node.runtime.kill_sandbox(node.runtime.pods()[0].sandboxes[0].id)
    pod = await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1)
    assert "running" in state(pod)
    messages = await node.event_messages("web")
    assert "SandboxChanged: Pod sandbox changed, it will be killed and re-created." in messages
    assert [sandbox.attempt for sandbox in node.runtime.pods()[0].sandboxes] == [1]


@pytest.mark.parametrize(
    ("container", "reason"),
    [
        ({"image": "UPPER case"}, "InvalidImageName"),
        ({"image": "missing:2", "imagePullPolicy": "Never"}, "ErrImageNeverPull"),
        (
            {"image": "app:2", "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "k"}}}]},
            "CreateContainerConfigError",
        ),
    ],
)
async def test_container_that_cannot_be_started(node: Node, container: dict[str, Any], reason: str) -> None:
    await node.create("web", containers=[{"name": "a", **container}])
    pod = await node.wait("web", lambda p: bool(p["status"].get("containerStatuses")))
    assert state(pod)["waiting"]["reason"] == reason


async def test_the_exit_of_one_container_restarts_all(node: Node) -> None:
    rule = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}
    await node.create(
        "web",
        restartPolicy="Never",
        initContainers=[
            {"name": "init", "image": "app:1"},
            {"name": "proxy", "image": "app:1", "restartPolicy": "Always"},
        ],
        containers=[
            {"name": "a", "image": "app:1", "restartPolicy": "Never", "restartPolicyRules": [rule]},
            {"name": "b", "image": "app:1"},
        ],
    )

    async def finish_init(restarts: int) -> Any:
        def is_running(pod: Any) -> bool:
            entry = (pod["status"].get("initContainerStatuses") or [{}])[0]
            return entry.get("restartCount") == restarts and "running" in entry["state"]

        pod = await node.wait("web", is_running)
        node.runtime.kill_container(pod["status"]["initContainerStatuses"][0]["containerID"].partition("://")[2], 0)
        return await node.wait("web", lambda p: all("running" in e["state"] for e in p["status"]["containerStatuses"]))

    pod = await finish_init(0)
    assert (condition_of(pod, "AllContainersRestarting") or {})["status"] == "False"
    node.runtime.kill_container(node.container_id(pod), 42)
    pod = await finish_init(1)
    entries = [*pod["status"]["initContainerStatuses"], *pod["status"]["containerStatuses"]]
    assert {entry["name"]: entry["restartCount"] for entry in entries} == {"init": 1, "proxy": 1, "a": 1, "b": 1}
    assert all(entry["lastState"]["terminated"] for entry in entries)
    assert pod["status"]["podIP"]
    assert pod["status"]["phase"] == "Running"
    assert (condition_of(pod, "AllContainersRestarting") or {})["status"] == "False"
    assert (condition_of(pod, "Initialized") or {})["status"] == "True"
    assert "Killing: Container a exited with code 42, triggering pod restart" in await node.event_messages("web")
    node.runtime.kill_container(node.container_id(pod), 1)
    node.runtime.kill_container(node.container_id(pod, 1), 0)
    await node.wait_phase("web", "Failed")


async def test_changed_image_replaces_the_container(node: Node) -> None:
    await node.create("web")
    await node.wait_phase("web", "Running")
    patch = [{"op": "replace", "path": "/spec/containers/0/image", "value": "app:2"}]
    await node.client.patch(PODS, "web", patch, "default", content_type="application/json-patch+json")
    pod = await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1)
    assert pod["status"]["containerStatuses"][0]["image"] == "app:2"
    assert "Killing: Container a definition changed, will be restarted" in await node.event_messages("web")


async def test_a_pod_without_probes_is_ready_all_the_while_that_its_image_changes(node: Node) -> None:
    await node.create("web")
    await node.wait_phase("web", "Running")
    patch = [{"op": "replace", "path": "/spec/containers/0/image", "value": "app:2"}]
    await node.client.patch(PODS, "web", patch, "default", content_type="application/json-patch+json")
    seen: list[Any] = []

    def is_replaced(pod: Any) -> bool:
        seen.extend(condition_of(pod, kind) for kind in ("Ready", "ContainersReady"))
        return bool(pod["status"]["containerStatuses"][0]["restartCount"])

    await node.wait("web", is_replaced)
    assert {condition["status"] for condition in seen if condition} == {"True"}


async def test_a_change_is_told_as_seen_before_the_old_container_has_stopped(node: Node) -> None:
    slow = {"name": "a", "image": "app:1", "lifecycle": {"preStop": {"sleep": {"seconds": 25}}}}
    await node.create("web", containers=[slow])
    await node.wait_phase("web", "Running")
    patch = [{"op": "replace", "path": "/spec/containers/0/image", "value": "app:2"}]
    await node.client.patch(PODS, "web", patch, "default", content_type="application/json-patch+json")
    pod = await node.wait("web", lambda p: p["status"]["observedGeneration"] == 2)
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    assert "running" in state(pod)
    await node.clock.run(26)
    await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1)
