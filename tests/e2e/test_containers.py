"""Real containers: served pages, killed processes, memory limits, nodes that are full, a killed orchestrator."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess, docker, is_ready
from tests.e2e.private_registry import USER, private_registry
from tests.e2e.test_kubectl import all_ready

WEB = "orchestrator.test/web:1"
BUSYBOX = "orchestrator.test/busybox:1"


def page_of(pod: dict[str, Any], port: int = 8080) -> str:
    """What the pod answers on its own address."""
    with urllib.request.urlopen(f"http://{pod['status']['podIP']}:{port}/", timeout=10) as response:
        text: str = response.read().decode()
    return text


def container_id_of(pod: dict[str, Any]) -> str:
    """The Engine's id of the pod's first container."""
    identifier: str = pod["status"]["containerStatuses"][0]["containerID"]
    return identifier.removeprefix("docker://")


def pod_manifest(name: str, **container: Any) -> str:
    """A pod of one container, as JSON."""
    spec = {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", **container}],
    }
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


def test_the_web_application_answers_on_its_pod_ip(k: Kubectl) -> None:
    k("create", "configmap", "web", "--from-literal=message=hello from a file")
    k("create", "secret", "generic", "web", "--from-literal=password=not-a-real-one")
    manifest = (Path(__file__).parents[2] / "config" / "demo" / "deployment.yaml").read_text()
    k("apply", "-f", "-", stdin=manifest)
    pods = k.wait_for("pods", all_ready(3), selector="app=web")
    for pod in pods:
        page = page_of(pod)
        assert pod["metadata"]["name"] in page
        assert "hello from a file" in page
    assert len({pod["status"]["podIP"] for pod in pods}) == 3
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node-1", "node-2"}


def test_a_killed_container_is_started_again_and_says_why(k: Kubectl) -> None:
    k("create", "deployment", "web", f"--image={WEB}")
    [pod] = k.wait_for("pods", all_ready(1))
    docker("kill", container_id_of(pod))

    def healed(pods: list[dict[str, Any]]) -> bool:
        return len(pods) == 1 and is_ready(pods[0]) and pods[0]["status"]["containerStatuses"][0]["restartCount"] == 1

    [again] = k.wait_for("pods", healed)
    status = again["status"]["containerStatuses"][0]
    assert again["metadata"]["uid"] == pod["metadata"]["uid"]
    assert status["lastState"]["terminated"]["exitCode"] == 137
    assert status["lastState"]["terminated"]["reason"] == "Error"
    assert container_id_of(again) != container_id_of(pod)
    assert status["lastState"]["terminated"]["containerID"].endswith(container_id_of(pod))


def test_a_deleted_pod_is_replaced(k: Kubectl) -> None:
    k("create", "deployment", "web", f"--image={WEB}")
    [pod] = k.wait_for("pods", all_ready(1))
    k("delete", "pod", pod["metadata"]["name"])
    [new] = k.wait_for("pods", lambda pods: all_ready(1)(pods) and pods[0]["metadata"]["uid"] != pod["metadata"]["uid"])
    assert new["metadata"]["ownerReferences"] == pod["metadata"]["ownerReferences"]


def test_a_memory_limit_that_is_exceeded_shows_oom_killed(k: Kubectl) -> None:
    manifest = pod_manifest("greedy", command=["sh", "-c", "tail /dev/zero"], resources={"limits": {"memory": "16Mi"}})
    k("apply", "-f", "-", stdin=manifest)

    def killed(pods: list[dict[str, Any]]) -> bool:
        statuses = pods[0]["status"].get("containerStatuses", []) if pods else []
        states = [status.get(key, {}).get("terminated", {}) for status in statuses for key in ("state", "lastState")]
        return any(state.get("reason") == "OOMKilled" for state in states)

    k.wait_for("pods", killed)
    assert "OOMKilled" in k("describe", "pod", "greedy")


def test_a_container_that_keeps_failing_is_backed_off(k: Kubectl) -> None:
    k("apply", "-f", "-", stdin=pod_manifest("crashing", command=["sh", "-c", "exit 3"]))

    def backing_off(pods: list[dict[str, Any]]) -> bool:
        statuses = pods[0]["status"].get("containerStatuses", []) if pods else []
        return any(s["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff" for s in statuses)

    [pod] = k.wait_for("pods", backing_off)
    assert pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3
    assert k("get", "pod", "crashing", "--no-headers").split()[2] in ("CrashLoopBackOff", "Error")


def test_an_image_that_is_not_there_says_so(k: Kubectl) -> None:
    k("apply", "-f", "-", stdin=pod_manifest("nowhere", image="orchestrator.test/none:1"))

    def refused(pods: list[dict[str, Any]]) -> bool:
        statuses = pods[0]["status"].get("containerStatuses", []) if pods else []
        return any(s["state"].get("waiting", {}).get("reason") == "ErrImageNeverPull" for s in statuses)

    k.wait_for("pods", refused)
    k("apply", "-f", "-", stdin=pod_manifest("no-registry", image="orchestrator.test/none:1", imagePullPolicy="Always"))

    def pulling_fails(pods: list[dict[str, Any]]) -> bool:
        return any(
            s["state"].get("waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff")
            for pod in pods
            for s in pod["status"].get("containerStatuses", [])
        )

    k.wait_for("pods", pulling_fails)


def test_a_private_registry_wants_the_pods_pull_secret(k: Kubectl) -> None:
    def waiting(pods: list[dict[str, Any]]) -> list[str]:
        statuses = [s for pod in pods for s in pod["status"].get("containerStatuses", [])]
        return [s["state"].get("waiting", {}).get("reason", "") for s in statuses]

    def pull(name: str, *secrets: str, policy: str = "Always") -> None:
        pod = json.loads(pod_manifest(name, image=registry.image, imagePullPolicy=policy, command=["sleep", "1000"]))
        pod["spec"]["imagePullSecrets"] = [{"name": secret} for secret in secrets]
        k("apply", "-f", "-", stdin=json.dumps(pod))

    with private_registry(BUSYBOX) as registry:
        for name, password in (("right", registry.password), ("wrong", "wrong")):
            access = (
                f"--docker-server={registry.server}",
                f"--docker-username={USER}",
                f"--docker-password={password}",
            )
            k("create", "secret", "docker-registry", name, *access)
        pull("none")
        pull("wrong", "wrong")
        failed = {"ErrImagePull", "ImagePullBackOff"}
        k.wait_for("pods", lambda pods: len(waiting(pods)) == 2 and {*waiting(pods)} <= failed)
        assert registry.manifests_served == 0
        k("delete", "pods", "--all", "--force")
        pull("right", "wrong", "missing", "right")
        [pod] = k.wait_for("pods", all_ready(1))
        assert registry.manifests_served
        status = pod["status"]["containerStatuses"][0]
        assert (status["image"], status["imageID"].partition("@sha256:")[0]) == (
            registry.image,
            registry.image.removesuffix(":1"),
        )
        # What needed credentials is on the machine now, for this Secret alone, also on other nodes (KEP-2535).
        pull("theirs", "right", policy="Never")
        pull("stolen", policy="Never")
        pull("late", "wrong", policy="IfNotPresent")

        def decided(pods: list[dict[str, Any]]) -> bool:
            found = {p["metadata"]["name"]: is_ready(p) or (waiting([p]) or [""])[0] for p in pods}
            return (
                found.get("theirs") is True
                and found.get("stolen") == "ErrImageNeverPull"
                and found.get("late") in ("ErrImagePull", "ImagePullBackOff")
            )

        k.wait_for("pods", decided)
        k("delete", "pods", "--all", "--force")


def test_volumes_and_environment_reach_the_container(k: Kubectl) -> None:
    k("create", "configmap", "c", "--from-literal=key=value-c")
    k("create", "secret", "generic", "s", "--from-literal=key=value-s")
    command = (
        "echo $FROM_C $FROM_S $(cat /c/key) $(cat /s/key); echo x > /scratch/a && cat /scratch/a; cat /etc/hostname"
    )
    pod = json.loads(pod_manifest("reader", command=["sh", "-c", command]))
    pod["spec"]["restartPolicy"] = "Never"
    pod["spec"]["containers"][0].update(
        env=[
            {"name": "FROM_C", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "key"}}},
            {"name": "FROM_S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
        ],
        volumeMounts=[
            {"name": "c", "mountPath": "/c"},
            {"name": "s", "mountPath": "/s"},
            {"name": "scratch", "mountPath": "/scratch"},
        ],
    )
    pod["spec"]["volumes"] = [
        {"name": "c", "configMap": {"name": "c"}},
        {"name": "s", "secret": {"secretName": "s"}},
        {"name": "scratch", "emptyDir": {}},
    ]
    k("apply", "-f", "-", stdin=json.dumps(pod))
    k.wait_for("pods", lambda pods: any(p["status"].get("phase") == "Succeeded" for p in pods))
    assert k("logs", "reader").splitlines() == ["value-c value-s value-c value-s", "x", "reader"]


def test_a_pod_stops_gracefully(k: Kubectl) -> None:
    command = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done"
    pod = json.loads(pod_manifest("polite", command=["sh", "-c", command]))
    pod["spec"]["terminationGracePeriodSeconds"] = 20
    k("apply", "-f", "-", stdin=json.dumps(pod))
    k.wait_for("pods", all_ready(1))
    k("delete", "pod", "polite", "--wait=true", timeout=15)  # well before the grace period is over


def test_pods_spread_by_requests_and_wait_for_room(
    start_orchestrator: Callable[..., OrchestratorProcess], kubectl: Path
) -> None:
    process = start_orchestrator("--nodes", "2", "--runtime", "hollow")
    k = Kubectl(kubectl, process)
    k.wait_for("nodes", lambda nodes: len(nodes) == 2 and all(is_ready(node) for node in nodes))
    k.wait_for("serviceaccounts", lambda accounts: any(a["metadata"]["name"] == "default" for a in accounts))
    allocatable = k.json("get", "node", "node-1")["status"]["allocatable"]
    half = int(allocatable["cpu"]) * 1000 // 2

    def deployment(name: str, replicas: int, milli: int) -> str:
        container = {"name": "c", "image": "hollow/app:1", "resources": {"requests": {"cpu": f"{milli}m"}}}
        return json.dumps(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": name}},
                    "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
                },
            }
        )

    k("apply", "-f", "-", stdin=deployment("half", 2, half))
    pods = k.wait_for("pods", all_ready(2), selector="app=half")
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node-1", "node-2"}

    k("apply", "-f", "-", stdin=deployment("large", 1, half + 100))
    unschedulable = k.wait_for(
        "pods",
        lambda pods: any(
            c.get("reason") == "Unschedulable" for pod in pods for c in pod["status"].get("conditions", ())
        ),
        selector="app=large",
    )
    [condition] = [c for c in unschedulable[0]["status"]["conditions"] if c["type"] == "PodScheduled"]
    assert condition["message"].startswith("0/2 nodes are available: 2 Insufficient cpu.")
    name = unschedulable[0]["metadata"]["name"]
    events = k.wait_for("events", lambda found: any(e["reason"] == "FailedScheduling" for e in found))
    [event] = [e for e in events if e["reason"] == "FailedScheduling" and e["involvedObject"]["name"] == name]
    assert "0/2 nodes are available: 2 Insufficient cpu." in event["message"]
    assert event["type"] == "Warning"
    k("scale", "deployment", "half", "--replicas=1")
    k.wait_for("pods", all_ready(1), selector="app=large")


async def _write_until_killed(process: OrchestratorProcess, count: int) -> list[tuple[int, str]]:
    """Keep `count` creates in flight, kill -9 in the middle, return what was acknowledged."""
    pki = process.data_dir / "pki"
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    acknowledged: list[tuple[int, str]] = []
    enough = asyncio.Event()

    async with aiohttp.ClientSession(
        base_url=process.url, connector=aiohttp.TCPConnector(ssl=context, limit=count)
    ) as session:

        async def writer(number: int) -> None:
            for attempt in range(10_000):
                name = f"w{number}-{attempt}"
                body = {"metadata": {"name": name}, "data": {"n": str(attempt)}}
                try:
                    async with session.post("/api/v1/namespaces/default/configmaps", json=body) as response:
                        answer = await response.json()
                except (aiohttp.ClientError, OSError):
                    return
                assert response.status == 201, answer
                acknowledged.append((int(answer["metadata"]["resourceVersion"]), name))
                if len(acknowledged) > 1000:
                    enough.set()

        async def killer() -> None:
            await enough.wait()
            process.kill()

        await asyncio.gather(killer(), *(writer(number) for number in range(count)))
    return acknowledged


def test_kill_9_loses_no_acknowledged_write_and_restarts_no_container(
    start_orchestrator: Callable[..., OrchestratorProcess], kubectl: Path
) -> None:
    process = start_orchestrator("--nodes", "1", "--runtime", "docker")
    k = Kubectl(kubectl, process)
    k.wait_for("serviceaccounts", lambda accounts: any(a["metadata"]["name"] == "default" for a in accounts))
    k("create", "deployment", "web", f"--image={WEB}", "--replicas=2")
    before = k.wait_for("pods", all_ready(2))
    started = {p["metadata"]["uid"]: (container_id_of(p), _started_at(p)) for p in before}

    acknowledged = asyncio.run(_write_until_killed(process, 200))
    assert len(acknowledged) > 1000
    process.start()

    listed = k.json("get", "configmaps")["items"]
    stored = {item["metadata"]["name"]: int(item["metadata"]["resourceVersion"]) for item in listed}
    lost = [name for _, name in acknowledged if name not in stored]
    assert not lost
    assert all(stored[name] == revision for revision, name in acknowledged)
    # New revisions go on above everything that was ever handed out.
    k("create", "configmap", "afterwards")
    assert int(k.json("get", "configmap", "afterwards")["metadata"]["resourceVersion"]) > max(acknowledged)[0]

    after = k.wait_for("pods", all_ready(2))
    assert {p["metadata"]["uid"]: (container_id_of(p), _started_at(p)) for p in after} == started
    for pod in after:
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
        assert docker("inspect", "-f", "{{.State.Running}}", container_id_of(pod)) == "true"
    # And it is in command again: what dies now is healed.
    victim = after[0]
    docker("kill", container_id_of(victim))
    k.wait_for(
        "pods",
        lambda pods: all_ready(2)(pods) and any(p["status"]["containerStatuses"][0]["restartCount"] == 1 for p in pods),
    )


def _started_at(pod: dict[str, Any]) -> str:
    moment: str = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    return moment


def test_nothing_is_left_after_down(start_orchestrator: Callable[..., OrchestratorProcess], kubectl: Path) -> None:
    """Nor of a cluster whose end was cut short: rules without its bridge are gone with the next start."""
    for command in ("add table ip orchestrator_svc_0badcafe", "add table ip orchestrator_svc_bystander"):
        subprocess.run(["nft", *command.split()], check=True)
    process = start_orchestrator("--nodes", "2", "--runtime", "docker")
    tables = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout
    subprocess.run(["nft", "delete", "table", "ip", "orchestrator_svc_bystander"], check=True)
    assert "orchestrator_svc_0badcafe" not in tables
    assert "orchestrator_svc_bystander" in tables
    k = Kubectl(kubectl, process)
    k.wait_for("serviceaccounts", lambda accounts: any(a["metadata"]["name"] == "default" for a in accounts))
    k("create", "deployment", "web", f"--image={WEB}", "--replicas=2")
    k.wait_for("pods", all_ready(2))
    label = f"label=orchestrator.dev/cluster={process.cluster_id}"
    assert docker("ps", "-aq", "--filter", label)
    process.kill()
    process.down()
    assert docker("ps", "-aq", "--filter", label) == ""
    from tests.leftovers import find_leftovers

    assert find_leftovers(cluster_ids={process.cluster_id}, folders=[process.data_dir]) == []
    process.down()  # again, with nothing to do
