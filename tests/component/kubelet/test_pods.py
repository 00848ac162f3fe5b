"""The life of pods on a hollow node: a real API server, the real kubelet, records instead of containers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.api.objects import condition_of
from orchestrator.api.resources import CONFIG_MAPS, PODS, RUNTIME_CLASSES
from orchestrator.testing import settle
from tests.component.kubelet.hollow_node import Node, state


async def test_pod_runs_with_everything_its_status_needs(node: Node) -> None:
    await node.create("web")
    pod = await node.wait_phase("web", "Running")
    status = pod["status"]
    assert status["podIP"].startswith("10.244.1.")
    assert status["hostIP"] == "172.30.0.2"
    assert status["startTime"]
    entry = status["containerStatuses"][0]
    assert entry["ready"]
    assert entry["started"]
    assert entry["restartCount"] == 0
    for type_ in ("PodScheduled", "Initialized", "ContainersReady", "Ready", "PodReadyToStartContainers"):
        condition = condition_of(pod, type_)
        assert condition is not None, type_
        assert condition["status"] == "True", type_
    messages = await node.event_messages("web")
    assert messages == [
        'Pulled: Container image "app:1" already present on machine and can be accessed by the pod',
        "Created: Container created",
        "Started: Container started",
    ]


async def test_status_is_written_once_for_a_quick_start(node: Node) -> None:
    created = await node.create("web")
    pod = await node.wait_phase("web", "Running")
    await settle()
    again = await node.get("web")
    assert again["metadata"]["resourceVersion"] == pod["metadata"]["resourceVersion"]
    assert int(pod["metadata"]["resourceVersion"]) - int(created["metadata"]["resourceVersion"]) < 5


@pytest.mark.parametrize(
    ("policy", "exit_code", "phase", "reason"),
    [
        ("Never", 0, "Succeeded", "Completed"),
        ("Never", 3, "Failed", "Error"),
        ("OnFailure", 0, "Succeeded", "Completed"),
    ],
)
async def test_pod_that_ends(node: Node, policy: str, exit_code: int, phase: str, reason: str) -> None:
    annotations = {"hollow.orchestrator.dev/run-seconds": "5", "hollow.orchestrator.dev/exit-code": str(exit_code)}
    await node.create("job", restartPolicy=policy, annotations=annotations)
    await node.wait_phase("job", "Running")
    await node.clock.run(6)
    pod = await node.wait_phase("job", phase)
    assert state(pod)["terminated"]["reason"] == reason
    assert state(pod)["terminated"]["exitCode"] == exit_code
    ready = condition_of(pod, "Ready")
    assert ready is not None
    assert ready["reason"] == ("PodCompleted" if phase == "Succeeded" else "PodFailed")
    assert not node.runtime.pods()[0].sandboxes[0].ready
    assert pod["status"]["podIP"]


async def test_a_handler_that_the_runtime_does_not_have(node: Node) -> None:
    await node.client.create(
        RUNTIME_CLASSES,
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": "odd"},
            "handler": "unheard-of",
        },
    )
    await node.create("web", runtimeClassName="odd")
    await settle()
    assert (await node.get("web"))["status"]["phase"] == "Pending"
    failed = 'FailedCreatePodSandBox: Failed to create pod sandbox: no runtime for "unheard-of" is configured'
    assert failed in await node.event_messages("web")


async def test_same_name_again_is_another_pod(node: Node) -> None:
    await node.create("web")
    first = await node.wait_phase("web", "Running")
    await node.client.delete(PODS, "web", "default", grace_period_seconds=0)
    await node.create("web")
    second = await node.wait_phase("web", "Running")
    await settle()
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert [pod.uid for pod in node.runtime.pods()] == [second["metadata"]["uid"]]


async def test_config_map_that_comes_later_lets_the_container_start(node: Node) -> None:
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "k"}}}]
    await node.create("web", containers=[{"name": "a", "image": "app:1", "env": env}])
    pod = await node.wait("web", lambda p: bool(p["status"].get("containerStatuses")))
    assert state(pod)["waiting"]["message"] == 'configmap "later" not found'
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later"}, "data": {"k": "v"}}
    await node.client.create(CONFIG_MAPS, config, "default")
    await node.wait_phase("web", "Running")


async def test_volume_of_a_missing_config_map_holds_the_pod_back(node: Node) -> None:
    """Unless no container mounts it: then it is left alone."""
    volumes = [{"name": "v", "configMap": {"name": "later"}}, {"name": "unused", "configMap": {"name": "never"}}]
    mounts = [{"name": "v", "mountPath": "/v"}]
    await node.create("web", containers=[{"name": "a", "image": "app:1", "volumeMounts": mounts}], volumes=volumes)
    await settle()
    assert (await node.get("web"))["status"]["phase"] == "Pending"
    messages = await node.event_messages("web")
    assert messages == ['FailedMount: MountVolume.SetUp failed for volume "v" : configmap "later" not found']
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later"}}
    await node.client.create(CONFIG_MAPS, config, "default")
    await node.wait_phase("web", "Running")


def _runs_init(index: int) -> Callable[[Any], bool]:
    return lambda pod: "running" in pod["status"]["initContainerStatuses"][index]["state"]


async def test_init_containers_run_one_after_the_other(node: Node) -> None:
    init = [{"name": "one", "image": "app:1"}, {"name": "two", "image": "app:1"}]
    await node.create("web", initContainers=init)
    pod = await node.wait("web", lambda p: bool(p["status"].get("initContainerStatuses")))
    assert "running" in pod["status"]["initContainerStatuses"][0]["state"]
    assert pod["status"]["initContainerStatuses"][1]["state"]["waiting"]["reason"] == "PodInitializing"
    assert state(pod)["waiting"]["reason"] == "PodInitializing"
    initialized = condition_of(pod, "Initialized")
    assert initialized is not None
    assert initialized["message"] == "containers with incomplete status: [one two]"
    for index in (0, 1):
        pod = await node.wait("web", _runs_init(index))
        container_id = pod["status"]["initContainerStatuses"][index]["containerID"].partition("://")[2]
        node.runtime.kill_container(container_id, 0)
    pod = await node.wait_phase("web", "Running")
    assert all(entry["ready"] for entry in pod["status"]["initContainerStatuses"])


async def test_sidecar_starts_first_and_ends_last(node: Node) -> None:
    sidecar = {"name": "proxy", "image": "app:1", "restartPolicy": "Always"}
    annotations: dict[str, str] = {}
    await node.create("job", restartPolicy="Never", initContainers=[sidecar], annotations=annotations)
    pod = await node.wait_phase("job", "Running")
    assert pod["status"]["initContainerStatuses"][0]["started"]
    node.runtime.kill_container(node.container_id(pod), 0)
    pod = await node.wait_phase("job", "Succeeded")
    assert "terminated" in pod["status"]["initContainerStatuses"][0]["state"]
