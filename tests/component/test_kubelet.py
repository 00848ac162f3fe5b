"""The life of pods on a hollow node: a real API server, the real kubelet, records instead of containers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.objects import condition_of, copy_object
from orchestrator.api.resources import CONFIG_MAPS, LEASES, NODES, PODS, RUNTIME_CLASSES, SECRETS
from orchestrator.component.kubelet_api import PodLogOptions
from orchestrator.kubelet.containers.hooks import HollowHooks
from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.node.plan import NodeHealth
from orchestrator.kubelet.node.reporter import NodeReporter
from orchestrator.kubelet.parts import HookFailed
from orchestrator.kubelet.probes.actions import Outcome
from orchestrator.kubelet.runtime import Image, ImagePullError, RuntimeInfo, RuntimeUnavailable
from tests.component.kubelet_cluster import Node, hollow_node, settle


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with hollow_node(tmp_path) as running:
        yield running


def state(pod: dict[str, Any], index: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = pod["status"]["containerStatuses"][index]["state"]
    return found


def restart_count(pod: dict[str, Any]) -> int:
    return int(pod["status"]["containerStatuses"][0]["restartCount"])


async def test_node_is_registered_with_lease_and_conditions(node: Node) -> None:
    obj = await node.client.get(NODES, "node-1")
    assert obj["metadata"]["labels"]["kubernetes.io/hostname"] == "node-1"
    assert obj["spec"]["podCIDR"] == "10.244.1.0/24"
    ready = condition_of(obj, "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("True", "KubeletReady")
    assert obj["status"]["addresses"][0] == {"type": "InternalIP", "address": "172.30.0.2"}
    lease = await node.client.get(LEASES, "node-1", "kube-node-lease")
    assert lease["metadata"]["ownerReferences"][0]["uid"] == obj["metadata"]["uid"]
    before = lease["spec"]["renewTime"]
    await node.clock.advance(25)
    after = await node.client.get(LEASES, "node-1", "kube-node-lease")
    assert after["spec"]["renewTime"] > before


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


async def test_image_is_pulled_when_the_policy_says_so(node: Node) -> None:
    await node.create("web", containers=[{"name": "a", "image": "app:1", "imagePullPolicy": "Always"}])
    await node.wait_phase("web", "Running")
    assert (await node.event_messages("web"))[:2] == [
        'Pulling: Pulling image "app:1"',
        'Pulled: Successfully pulled image "app:1" in 1ms (1ms including waiting). Image size: 1048576 bytes.',
    ]


async def test_status_is_written_once_for_a_quick_start(node: Node) -> None:
    created = await node.create("web")
    pod = await node.wait_phase("web", "Running")
    await settle()
    again = await node.get("web")
    assert again["metadata"]["resourceVersion"] == pod["metadata"]["resourceVersion"]
    assert int(pod["metadata"]["resourceVersion"]) - int(created["metadata"]["resourceVersion"]) < 5


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
    await node.clock.advance(9)
    assert "waiting" in state(await node.get("web"))
    await node.clock.advance(1.1)
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


def _runs_init(index: int) -> Callable[[Any], bool]:
    return lambda pod: "running" in pod["status"]["initContainerStatuses"][index]["state"]


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
        await node.clock.advance(11)
        pod = await node.wait("web", _has_restarts(restarts))
    await node.clock.advance(700)
    node.runtime.kill_container(node.container_id(pod), 1)
    pod = await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 3)
    assert "running" in state(pod)


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
    await node.clock.advance(6)
    pod = await node.wait_phase("job", phase)
    assert state(pod)["terminated"]["reason"] == reason
    assert state(pod)["terminated"]["exitCode"] == exit_code
    ready = condition_of(pod, "Ready")
    assert ready is not None
    assert ready["reason"] == ("PodCompleted" if phase == "Succeeded" else "PodFailed")
    assert not node.runtime.pods()[0].sandboxes[0].ready
    assert pod["status"]["podIP"]


async def test_graceful_deletion_removes_everything(node: Node) -> None:
    await node.create("web")
    await node.wait_phase("web", "Running")
    await node.client.delete(PODS, "web", "default")
    await node.wait_gone("web")
    await settle()
    assert node.runtime.pods() == []
    assert "Killing: Stopping container a" in await node.event_messages("web")


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
    await node.clock.advance(5)
    assert node.runtime.pods()
    await node.client.delete(PODS, "web", "default", grace_period_seconds=0)
    await settle()
    await node.clock.advance(5)
    assert node.runtime.pods() == []


async def test_same_name_again_is_another_pod(node: Node) -> None:
    await node.create("web")
    first = await node.wait_phase("web", "Running")
    await node.client.delete(PODS, "web", "default", grace_period_seconds=0)
    await node.create("web")
    second = await node.wait_phase("web", "Running")
    await settle()
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert [pod.uid for pod in node.runtime.pods()] == [second["metadata"]["uid"]]


async def test_restart_of_the_kubelet_restarts_nothing(node: Node) -> None:
    await node.create("web")
    before = await node.wait_phase("web", "Running")
    await node.create("gone")
    await node.wait_phase("gone", "Running")
    await node.stop()
    await node.client.delete(PODS, "gone", "default", grace_period_seconds=0)
    await node.clock.advance(100)
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


async def test_image_that_cannot_be_pulled(node: Node) -> None:
    await node.create("web", containers=[{"name": "a", "image": "missing:1"}])
    pod = await node.wait("web", lambda p: bool(p["status"].get("containerStatuses")))
    assert state(pod)["waiting"]["reason"] == "ErrImagePull"
    assert pod["status"]["phase"] == "Pending"
    await node.clock.advance(3)
    pod = await node.get("web")
    assert state(pod)["waiting"]["reason"] == "ImagePullBackOff"
    assert state(pod)["waiting"]["message"].startswith('Back-off pulling image "missing:1": ErrImagePull: ')
    node.runtime.missing_images = None
    await node.clock.advance(8)
    await node.wait_phase("web", "Running")
    messages = await node.event_messages("web")
    assert 'BackOff: Back-off pulling image "missing:1"' in messages
    assert "Failed: Error: ErrImagePull" in messages


def pull_secret(name: str, user: str) -> dict[str, Any]:
    auths = {"auths": {"r.io": {"username": user, "password": "x"}}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "default"},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(json.dumps(auths).encode()).decode()},
    }


async def test_pull_secrets_are_tried_in_the_pods_order_until_one_is_taken(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    users: list[object] = []
    pull = node.runtime.pull_image

    async def guarded(reference: str, auth: Mapping[str, Any] | None = None) -> Image:
        user = (auth or {}).get("username")
        users.append(user)
        if user != "good":
            raise ImagePullError(f"unauthorized: {user}")
        return await pull(reference)

    monkeypatch.setattr(node.runtime, "pull_image", guarded)
    for name, user in (("a", "good"), ("b", "worse"), ("z", "bad")):
        await node.client.create(SECRETS, pull_secret(name, user))
    containers = [{"name": "a", "image": "r.io/app", "imagePullPolicy": "Always"}]

    refs = [{"name": name} for name in ("z", "missing", "b")]
    await node.create("refused", containers=containers, imagePullSecrets=refs)
    pod = await node.wait("refused", lambda p: bool(p["status"].get("containerStatuses")))
    assert state(pod)["waiting"]["reason"] == "ErrImagePull"
    assert state(pod)["waiting"]["message"].endswith("[unauthorized: bad, unauthorized: worse]")
    assert users == ["bad", "worse"]

    await node.create("web", containers=containers, imagePullSecrets=[*refs, {"name": "a"}])
    await node.wait_phase("web", "Running")
    assert users == ["bad", "worse"] * 2 + ["good"]
    messages = await node.event_messages("web")
    missing = (
        "FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (missing); "
        "attempting to pull the image may not succeed."
    )
    assert messages.index(missing) < messages.index('Pulling: Pulling image "r.io/app"')


async def test_an_image_volume_that_cannot_be_pulled_is_named_in_the_events(node: Node) -> None:
    node.runtime.missing_images = re.compile("missing")
    await node.create(
        "web",
        containers=[{"name": "a", "image": "app:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        volumes=[{"name": "v", "image": {"reference": "missing:1", "pullPolicy": "IfNotPresent"}}],
    )
    await node.wait("web", lambda p: bool(p["status"].get("containerStatuses")))
    await node.clock.advance(3)
    messages = await node.event_messages("web")
    assert 'BackOff: Back-off pulling image "missing:1"' in messages


async def test_an_image_that_needed_credentials_is_only_for_pods_that_have_them(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    users: list[object] = []
    node.runtime.missing_images = re.compile("private")

    async def guarded(reference: str, auth: Mapping[str, Any] | None = None) -> Image:
        user = (auth or {}).get("username")
        users.append(user)
        if user not in ("good", "better"):
            raise ImagePullError(f"unauthorized: {user}")
        return node.runtime.images.setdefault(reference, Image("sha256:00", (reference,), (), 1))

    monkeypatch.setattr(node.runtime, "pull_image", guarded)
    for name, user in (("a", "good"), ("same", "good"), ("b", "better"), ("wrong", "bad")):
        await node.client.create(SECRETS, pull_secret(name, user))

    async def run(name: str, policy: str, *secrets: str, image: str = "r.io/private:1") -> None:
        containers = [{"name": "a", "image": image, "imagePullPolicy": policy}]
        await node.create(name, containers=containers, imagePullSecrets=[{"name": secret} for secret in secrets])

    async def reason(name: str) -> str:
        pod = await node.wait(name, lambda p: bool(p["status"].get("containerStatuses")))
        return str(state(pod)["waiting"]["reason"])

    await run("owner", "IfNotPresent", "a")
    await node.wait_phase("owner", "Running")
    assert users == ["good"]
    # The same credentials, of this Secret or another one, need no registry.
    for name, policy, secret in (("again", "IfNotPresent", "a"), ("never", "Never", "a"), ("other", "Never", "same")):
        await run(name, policy, secret)
        await node.wait_phase(name, "Running")
    assert users == ["good"]
    # Others have to show that the registry takes theirs.
    await run("nobody", "IfNotPresent")
    assert await reason("nobody") == "ErrImagePull"
    await run("wrong", "IfNotPresent", "wrong")
    assert await reason("wrong") == "ErrImagePull"
    await run("nobody-never", "Never")
    assert await reason("nobody-never") == "ErrImageNeverPull"
    await run("better-never", "Never", "b")
    assert await reason("better-never") == "ErrImageNeverPull"
    assert users == ["good", None, "bad"]
    await run("better", "IfNotPresent", "b")
    await node.wait_phase("better", "Running")
    await run("better-now", "Never", "b")
    await node.wait_phase("better-now", "Running")
    assert users == ["good", None, "bad", "better"]
    # What nobody pulled is for everybody.
    await run("preloaded", "Never", image="app:1")
    await node.wait_phase("preloaded", "Running")


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


async def test_deadline(node: Node) -> None:
    await node.create("job", activeDeadlineSeconds=60)
    await node.wait_phase("job", "Running")
    await node.clock.advance(59)
    assert (await node.get("job"))["status"]["phase"] == "Running"
    await node.clock.advance(2)
    pod = await node.wait_phase("job", "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"


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
        await node.clock.advance(10)
        assert "startTime" not in (await node.get("needed"))["status"]
        assert [pod.name for pod in node.runtime.pods()] == ["victim"]
        if end == "deletion":  # of the one that waits
            await node.client.delete(PODS, "needed", "default")
            await node.wait_gone("needed")
        elif end == "force":
            await node.client.delete(PODS, "victim", "default", grace_period_seconds=0)
            await node.clock.advance(5)
            await node.wait_phase("needed", "Running")
        else:
            await node.clock.advance(30)
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


async def test_a_pod_that_somebody_else_says_has_failed_is_ended(node: Node) -> None:
    await node.create("web", terminationGracePeriodSeconds=5)
    await node.wait_phase("web", "Running")
    status = {"phase": "Failed", "reason": "Lost", "message": "nobody knows it"}
    await node.client.patch(PODS, "web", {"status": status}, "default", subresource="status")
    await settle()
    await node.clock.advance(6)
    pod = await node.wait("web", lambda pod: "terminated" in pod["status"]["containerStatuses"][0]["state"])
    assert {key: pod["status"][key] for key in status} == status


async def test_readiness_gate(node: Node) -> None:
    await node.create("web", readinessGates=[{"conditionType": "example.com/ok"}])
    pod = await node.wait_phase("web", "Running")
    ready = condition_of(pod, "Ready")
    assert ready is not None
    assert ready["reason"] == "ReadinessGatesNotReady"
    patch = {"status": {"conditions": [{"type": "example.com/ok", "status": "True"}]}}
    await node.client.patch(
        PODS, "web", patch, "default", subresource="status", content_type="application/strategic-merge-patch+json"
    )
    pod = await node.wait("web", lambda p: (condition_of(p, "Ready") or {}).get("status") == "True")
    assert condition_of(pod, "example.com/ok") is not None


async def test_readiness_probe_of_a_hollow_pod_succeeds(node: Node) -> None:
    probe = {"tcpSocket": {"port": 80}, "periodSeconds": 5, "initialDelaySeconds": 10}
    await node.create("web", containers=[{"name": "a", "image": "app:1", "readinessProbe": probe}])
    pod = await node.wait_phase("web", "Running")
    assert not pod["status"]["containerStatuses"][0]["ready"]
    await node.clock.advance(11)
    pod = await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["ready"])


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
    await node.clock.advance(26)
    await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1)


async def test_a_deletion_is_told_as_seen_when_it_takes_long(node: Node) -> None:
    slow = {"name": "a", "image": "app:1", "lifecycle": {"preStop": {"sleep": {"seconds": 25}}}}
    await node.create("web", containers=[slow])
    await node.wait_phase("web", "Running")
    await node.client.delete(PODS, "web", "default")
    assert "Killing: Stopping container a" in await node.event_messages("web")
    await node.clock.advance(2)
    pod = await node.wait("web", lambda p: p["status"]["observedGeneration"] == 2)
    assert "running" in state(pod)
    await node.clock.advance(24)
    await node.wait_gone("web")


async def test_logs_and_exec_through_the_kubelets_door(node: Node) -> None:
    await node.create("web")
    await node.wait_phase("web", "Running")
    assert node.kubelets is not None
    door = node.kubelets.kubelet("node-1")
    assert door is not None
    assert node.kubelets.kubelet("other") is None
    chunks = [chunk async for chunk in await door.logs("default", "web", PodLogOptions(container="a"))]
    assert b"".join(chunks) == b"a: a hollow container has no output\n"
    with pytest.raises(errors.BadRequest, match="container b is not valid for pod web"):
        await door.logs("default", "web", PodLogOptions(container="b"))
    with pytest.raises(errors.BadRequest, match='previous terminated container "a" in pod "web" not found'):
        await door.logs("default", "web", PodLogOptions(container="a", previous=True))
    with pytest.raises(errors.InternalError, match="hollow"):
        await door.exec("default", "web", "a", ["ls"], stdin=False, stdout=True, stderr=True, tty=False)


async def test_images_that_came_are_shown_with_the_next_report(node: Node) -> None:
    reporter = NodeReporter(client=node.client, clock=node.clock, options=NodeOptions(name="other", ip="172.30.0.9"))
    info, health = RuntimeInfo("docker", "1"), NodeHealth()
    await reporter.register(info, health, [])
    version = (await node.client.get(NODES, "other"))["metadata"]["resourceVersion"]
    await reporter.report(info, health, [])
    assert (await node.client.get(NODES, "other"))["metadata"]["resourceVersion"] == version
    await reporter.report(info, health, [Image("sha256:1", ("app:1",), (), 5)])
    assert (await node.client.get(NODES, "other"))["status"]["images"] == [{"names": ["app:1"], "sizeBytes": 5}]


async def test_deleted_node_registers_again(node: Node) -> None:
    await node.client.delete(NODES, "node-1")
    await node.clock.advance(320)
    assert (await node.client.get(NODES, "node-1"))["status"]["conditions"]


class ScriptedActions:
    """Probes that do what the test says."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        """Paths of httpGet handlers that fail."""
        self.warning: set[str] = set()
        self.calls: list[str] = []

    async def run(
        self, pod: Any, container: Any, container_id: str, handler: Any, ips: tuple[str, ...], seconds: float
    ) -> tuple[Outcome, str]:
        path = handler["httpGet"]["path"]
        self.calls.append(path)
        outcome = Outcome.WARNING if path in self.warning else Outcome.SUCCESS
        return Outcome.FAILURE if path in self.failing else outcome, f"{path} is scripted"


class ScriptedHooks(HollowHooks):
    """Hooks that are called and fail like probes."""

    def __init__(self, actions: ScriptedActions, clock: Clock) -> None:
        super().__init__(clock=clock)
        self._actions = actions

    async def run(self, pod: Any, container: Any, container_id: str, handler: Any, ips: tuple[str, ...]) -> None:
        if "httpGet" not in handler:
            await super().run(pod, container, container_id, handler, ips)
            return
        outcome, output = await self._actions.run(pod, container, container_id, handler, ips, 1.0)
        if outcome is Outcome.FAILURE:
            raise HookFailed(output)


def http(path: str, **more: Any) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": 80}, "periodSeconds": 5, **more}


@pytest.fixture
async def scripted(tmp_path: Path) -> AsyncIterator[tuple[Node, ScriptedActions]]:
    actions = ScriptedActions()
    async with hollow_node(tmp_path, actions=actions, hooks=partial(ScriptedHooks, actions)) as running:
        yield running, actions


async def test_readiness_follows_its_thresholds(scripted: tuple[Node, ScriptedActions]) -> None:
    node, actions = scripted
    probe = http("/ready", failureThreshold=2, successThreshold=2)
    await node.create("web", containers=[{"name": "a", "image": "app:1", "readinessProbe": probe}])
    pod = await node.wait_phase("web", "Running")
    assert not pod["status"]["containerStatuses"][0]["ready"]
    await node.clock.advance(0.1)
    assert not (await node.get("web"))["status"]["containerStatuses"][0]["ready"]
    await node.clock.advance(5)
    pod = await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["ready"])
    ready = condition_of(pod, "Ready")
    assert ready is not None
    assert "reason" not in ready
    actions.failing.add("/ready")
    await node.clock.advance(5)
    assert (await node.get("web"))["status"]["containerStatuses"][0]["ready"]
    await node.clock.advance(5)
    await node.wait("web", lambda p: not p["status"]["containerStatuses"][0]["ready"])
    assert "Unhealthy: Readiness probe failed: /ready is scripted" in await node.event_messages("web")


async def test_a_probe_that_warns_succeeds(scripted: tuple[Node, ScriptedActions]) -> None:
    node, actions = scripted
    actions.warning.add("/ready")
    await node.create("web", containers=[{"name": "a", "image": "app:1", "readinessProbe": http("/ready")}])
    await node.wait_phase("web", "Running")
    await node.clock.advance(1)
    await node.wait("web", lambda p: (condition_of(p, "Ready") or {}).get("status") == "True")
    assert "ProbeWarning: Readiness probe warning: /ready is scripted" in await node.event_messages("web")


async def test_failed_liveness_restarts_the_container(scripted: tuple[Node, ScriptedActions]) -> None:
    node, actions = scripted
    actions.failing.add("/live")
    probe = http("/live", failureThreshold=3)
    await node.create("web", containers=[{"name": "a", "image": "app:1", "livenessProbe": probe}])
    await node.wait_phase("web", "Running")
    await node.clock.advance(9)
    assert (await node.get("web"))["status"]["containerStatuses"][0]["restartCount"] == 0
    await node.clock.advance(2)
    await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1)
    assert "Killing: Container a failed liveness probe, will be restarted" in await node.event_messages("web")


async def test_a_container_that_failed_liveness_is_probed_no_more_while_it_stops(
    scripted: tuple[Node, ScriptedActions],
) -> None:
    node, actions = scripted
    actions.failing.add("/live")
    lifecycle = {"preStop": {"sleep": {"seconds": 900}}}
    container = {"name": "a", "image": "app:1", "livenessProbe": http("/live"), "lifecycle": lifecycle}
    await node.create("web", containers=[container], terminationGracePeriodSeconds=1000)
    await node.wait_phase("web", "Running")
    await node.clock.advance(60)
    assert actions.calls.count("/live") == 3
    assert node.runtime.pods()
    # Nor does the end of its pod wait for the restart.
    await node.client.delete(PODS, "web", "default", grace_period_seconds=0)
    await settle()
    await node.clock.advance(5)
    assert node.runtime.pods() == []


async def test_nothing_is_probed_before_startup_succeeded(scripted: tuple[Node, ScriptedActions]) -> None:
    node, actions = scripted
    actions.failing.add("/start")
    container = {
        "name": "a",
        "image": "app:1",
        "startupProbe": http("/start", failureThreshold=10),
        "livenessProbe": http("/live"),
        "readinessProbe": http("/ready"),
    }
    await node.create("web", containers=[container])
    pod = await node.wait_phase("web", "Running")
    assert not pod["status"]["containerStatuses"][0]["started"]
    await node.clock.advance(12)
    assert set(actions.calls) == {"/start"}
    actions.failing.clear()
    await node.clock.advance(6)
    pod = await node.wait("web", lambda p: p["status"]["containerStatuses"][0]["ready"])
    assert pod["status"]["containerStatuses"][0]["started"]
    before = actions.calls.count("/start")
    await node.clock.advance(60)
    assert actions.calls.count("/start") == before


async def test_no_probe_is_left_after_the_pod(scripted: tuple[Node, ScriptedActions]) -> None:
    node, actions = scripted
    await node.create("web", containers=[{"name": "a", "image": "app:1", "livenessProbe": http("/live")}])
    await node.wait_phase("web", "Running")
    await node.clock.advance(6)
    await node.client.delete(PODS, "web", "default")
    await node.wait_gone("web")
    count = len(actions.calls)
    await node.clock.advance(60)
    assert count > 0
    assert len(actions.calls) == count


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
    await node.clock.advance(6)
    await node.wait("web", lambda pod: (condition_of(pod, "Ready") or {}).get("status") == "True")
    await node.client.delete(PODS, "web", "default")
    await node.clock.advance(1)
    actions.failing |= {"/ready", "/live"}
    await node.clock.advance(6)
    pod = await node.wait("web", lambda pod: (condition_of(pod, "Ready") or {}).get("status") == "False")
    assert pod["metadata"]["deletionTimestamp"]
    assert "running" in state(pod)
    assert not any("Liveness" in message for message in await node.event_messages("web"))
    await node.clock.advance(20)
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
    await node.clock.advance(26)
    await node.wait_gone("web")


async def test_hooks(scripted: tuple[Node, ScriptedActions]) -> None:
    node, actions = scripted
    lifecycle = {"postStart": http("/post"), "preStop": http("/pre")}
    for hook in lifecycle.values():
        del hook["periodSeconds"]
    actions.failing.add("/pre")
    await node.create("web", containers=[{"name": "a", "image": "app:1", "lifecycle": lifecycle}])
    await node.wait_phase("web", "Running")
    assert actions.calls == ["/post"]
    await node.client.delete(PODS, "web", "default")
    await node.wait_gone("web")
    assert actions.calls == ["/post", "/pre"]
    assert "FailedPreStopHook: PreStopHook failed" in await node.event_messages("web")


async def test_failed_post_start_kills_the_container(scripted: tuple[Node, ScriptedActions]) -> None:
    node, actions = scripted
    actions.failing.add("/post")
    lifecycle = {"postStart": {"httpGet": {"path": "/post", "port": 80}}}
    await node.create(
        "web", containers=[{"name": "a", "image": "app:1", "lifecycle": lifecycle}], restartPolicy="Never"
    )
    pod = await node.wait_phase("web", "Failed")
    assert state(pod)["terminated"]["exitCode"] == 143
    messages = await node.event_messages("web")
    assert "FailedPostStartHook: PostStartHook failed" in messages
    assert "Killing: FailedPostStartHook" in messages


async def test_shorter_grace_cuts_a_running_deletion_short(node: Node) -> None:
    lifecycle = {"preStop": {"sleep": {"seconds": 25}}}
    await node.create("web", containers=[{"name": "a", "image": "app:1", "lifecycle": lifecycle}])
    await node.wait_phase("web", "Running")
    await node.client.delete(PODS, "web", "default")
    await node.clock.advance(3)
    assert (await node.get("web"))["metadata"]["deletionTimestamp"]
    await node.client.delete(PODS, "web", "default", grace_period_seconds=5)
    await node.clock.advance(3)
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
    await node.clock.advance(26)
    await node.wait_gone("slow")


async def test_runtime_that_does_not_answer_makes_the_node_not_ready(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> Any:
        raise RuntimeUnavailable("no such socket")

    await node.create("web")
    await node.wait_phase("web", "Running")
    with monkeypatch.context() as patch:
        patch.setattr(node.runtime, "info", broken)
        await node.clock.advance(15)
        ready = condition_of(await node.client.get(NODES, "node-1"), "Ready")
        assert ready is not None
        assert (ready["status"], ready["reason"]) == ("False", "KubeletNotReady")
        assert "no such socket" in ready["message"]
    await node.clock.advance(30)
    ready = condition_of(await node.client.get(NODES, "node-1"), "Ready")
    assert ready is not None
    assert ready["status"] == "True"
    assert len(node.runtime.pods()) == 1
