"""Controllers on real containers: names that stay, Jobs that fail, schedules, drains, autoscaling, a lost node.

What takes long by itself (a node that must be missed, the next minute of a schedule, the pace of an
autoscaler) is set going first, and looked at in the last tests of this module.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import in_fresh_namespace
from tests.e2e.manifests import WAIT, Pod, apply, container
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess, docker, is_ready

NODES = {"node-1", "node-2", "node-3"}
READY_AND_ALIVE = {"exec": {"command": ["true"]}, "periodSeconds": 1}
BURN = "trap 'exit 0' TERM; while :; do if [ -e /tmp/quiet ]; then sleep 1 & wait $!; fi; done"


def template(name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    spec.setdefault("terminationGracePeriodSeconds", 1)
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [*containers] or [container()], **spec}}


def workload(kind: str, name: str, pods: dict[str, Any], *, group: str = "apps/v1", **spec: Any) -> dict[str, Any]:
    if group == "apps/v1":
        spec["selector"] = {"matchLabels": {"app": name}}
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": {"template": pods, **spec}}


def finite(name: str, script: str, **spec: Any) -> dict[str, Any]:
    """The spec of a Job."""
    return {"template": template(name, container(script), restartPolicy="Never"), **spec}


def node_of(pod: Pod) -> str:
    return str(pod["spec"].get("nodeName", ""))


def image_of(pod: Pod) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def all_ready(count: int) -> Callable[[list[Pod]], bool]:
    return lambda pods: len(pods) == count and all(map(is_ready, pods))


def by_name(pods: list[Pod]) -> dict[str, Pod]:
    return {pod["metadata"]["name"]: pod for pod in pods}


@pytest.fixture(scope="module")
def three_nodes(start_orchestrator: Callable[..., OrchestratorProcess]) -> OrchestratorProcess:
    """A cluster of its own: a node of it will be taken away."""
    return start_orchestrator("--nodes", "3", "--runtime", "docker")


@pytest.fixture(scope="module")
def k3(three_nodes: OrchestratorProcess, kubectl: Path) -> Iterator[Kubectl]:
    """kubectl in the one namespace of this module, for what goes on across its tests."""
    yield from in_fresh_namespace(three_nodes, kubectl)


@pytest.fixture
def own(three_nodes: OrchestratorProcess, kubectl: Path) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own."""
    yield from in_fresh_namespace(three_nodes, kubectl)


# While there are three nodes.


def test_a_daemon_set_is_on_each_node_through_a_rolling_update(own: Kubectl) -> None:
    apply(own, workload("DaemonSet", "agent", template("agent", container(env=[{"name": "GENERATION", "value": "1"}]))))
    first = own.wait_for("pods", all_ready(3))
    assert {node_of(pod) for pod in first} == NODES
    own("set", "env", "daemonset/agent", "GENERATION=2")
    own("rollout", "status", "daemonset/agent", "--timeout=60s")
    second = own.wait_for("pods", all_ready(3))
    assert {node_of(pod) for pod in second} == NODES
    assert {pod["spec"]["containers"][0]["env"][0]["value"] for pod in second} == {"2"}
    assert not by_name(first).keys() & by_name(second).keys()
    history = own("rollout", "history", "daemonset/agent")
    assert [line.split()[0] for line in history.splitlines()[2:4]] == ["1", "2"]


def test_a_drain_waits_for_the_budget(own: Kubectl) -> None:
    """Two pods on the node, and a budget that lets only one be away at a time; no moment has fewer than three."""
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
              "labelSelector": {"matchLabels": {"app": "web"}}}  # fmt: skip
    pods = template("web", container(readinessProbe=READY_AND_ALIVE), topologySpreadConstraints=[spread])
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
              "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": "web"}}}}  # fmt: skip
    apply(own, workload("Deployment", "web", pods, replicas=4), budget)
    placed = own.wait_for("pods", all_ready(4))
    (node, count), *_ = Counter(map(node_of, placed)).most_common()
    assert count == 2
    own.wait_for("poddisruptionbudgets", lambda found: any(
        one.get("status", {}).get("disruptionsAllowed") == 1 for one in found))  # fmt: skip
    watch = subprocess.Popen(
        own.arguments("get", "pods", "--watch", "--output-watch-events", "-o", "json"),
        stdout=subprocess.PIPE, text=True, env=own.environment(),
    )  # fmt: skip
    try:
        said = own.run("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s",
                       timeout=100)  # fmt: skip
        assert said.returncode == 0, said.stderr
    finally:
        watch.terminate()
        seen, _ = watch.communicate()
        own("uncordon", node)
    assert "evicting pod" in said.stdout + said.stderr
    assert node not in {node_of(pod) for pod in own.wait_for("pods", all_ready(4))}
    assert min(healthy_counts(seen)) >= 3


def healthy_counts(stream: str) -> list[int]:
    """How many pods were ready after each event, once all had been shown."""
    decoder, pods, counts = json.JSONDecoder(), {}, []
    while stream := stream.lstrip():
        try:
            event, end = decoder.raw_decode(stream)
        except json.JSONDecodeError:
            break  # the client was ended in the middle of an event
        stream = stream[end:]
        pod = event["object"]
        pods[pod["metadata"]["uid"]] = is_ready(pod) and event["type"] != "DELETED"
        counts.append(sum(pods.values()))
    return counts[3:]


# What goes on while the other tests run.


@pytest.fixture(scope="module")
def wanderers(three_nodes: OrchestratorProcess, k3: Kubectl) -> list[Pod]:
    """Pods on all three nodes, before the process starts again with two."""
    gone = [{"key": f"node.kubernetes.io/{why}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
            for why in ("not-ready", "unreachable")]  # fmt: skip
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
              "labelSelector": {"matchLabels": {"app": "wanderer"}}}  # fmt: skip
    pods = template("wanderer", tolerations=gone, topologySpreadConstraints=[spread])
    apply(k3, workload("Deployment", "wanderer", pods, replicas=3))
    placed = k3.wait_for("pods", all_ready(3), selector="app=wanderer")
    assert {node_of(pod) for pod in placed} == NODES
    # Nobody misses the node for a while; what the other tests start meanwhile should keep clear of it.
    k3("cordon", "node-3")
    assert three_nodes.stop() == 0
    three_nodes.options = ("--nodes", "2", "--runtime", "docker")
    three_nodes.start()
    return placed


@pytest.fixture(scope="module")
def slow_ones(wanderers: list[Pod], k3: Kubectl) -> None:
    """A CronJob and an autoscaler, on the two nodes that are left."""
    cron: dict[str, Any] = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"}}
    cron["spec"] = {"schedule": "* * * * *", "jobTemplate": {"spec": finite("tick", "echo tick")}}
    resources = {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}
    burner = workload("Deployment", "burner", template("burner", container(BURN, resources=resources)), replicas=1)
    target = {"type": "Utilization", "averageUtilization": 50}
    scaler: dict[str, Any] = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "burner"},
    }
    scaler["spec"] = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "burner"},
        "maxReplicas": 3,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    }
    apply(k3, cron, burner, scaler)


@pytest.mark.usefixtures("slow_ones")
def test_a_stateful_set_keeps_its_names_through_an_update_and_a_killed_container(own: Kubectl) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"},
               "spec": {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 80}]}}  # fmt: skip
    says = container(f"hostname > /tmp/name; {WAIT}")
    apply(own, service, workload("StatefulSet", "db", template("db", says), replicas=3, serviceName="db"))
    first = by_name(own.wait_for("pods", all_ready(3)))
    assert sorted(first) == ["db-0", "db-1", "db-2"]
    created = [first[name]["metadata"]["creationTimestamp"] for name in sorted(first)]
    assert created == sorted(created)
    assert own("exec", "db-1", "--", "cat", "/tmp/name").strip() == "db-1"

    docker("kill", first["db-1"]["status"]["containerStatuses"][0]["containerID"].removeprefix("docker://"))
    own.wait_for("pods", lambda pods: all_ready(3)(pods) and by_name(pods)["db-1"]["status"]["containerStatuses"][0][
        "restartCount"] == 1)  # fmt: skip
    own("delete", "pod", "db-2", "--wait=false")
    again = by_name(own.wait_for("pods", lambda pods: all_ready(3)(pods) and by_name(pods)["db-2"]["metadata"][
        "uid"] != first["db-2"]["metadata"]["uid"]))  # fmt: skip
    assert again["db-1"]["metadata"]["uid"] == first["db-1"]["metadata"]["uid"]

    own("set", "env", "statefulset/db", "GENERATION=2")
    own("rollout", "status", "statefulset/db", "--timeout=60s")
    second = by_name(own.wait_for("pods", all_ready(3)))
    assert sorted(second) == ["db-0", "db-1", "db-2"]
    assert {pod["metadata"]["uid"] for pod in second.values()}.isdisjoint(
        pod["metadata"]["uid"] for pod in again.values()
    )
    created = [second[name]["metadata"]["creationTimestamp"] for name in sorted(second, reverse=True)]
    assert created == sorted(created), "the update goes from the last to the first"
    assert own("exec", "db-2", "--", "cat", "/tmp/name").strip() == "db-2"


@pytest.mark.usefixtures("slow_ones")
def test_an_indexed_job_ends_in_spite_of_indexes_that_fail(own: Kubectl) -> None:
    script = 'echo "index $JOB_COMPLETION_INDEX on $(hostname)"; [ "$JOB_COMPLETION_INDEX" != 1 ]'
    spec = finite("parts", script, completions=4, parallelism=4, completionMode="Indexed", backoffLimitPerIndex=0)
    apply(own, {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "parts"}, "spec": spec})
    (done,) = own.wait_for("jobs", lambda jobs: any(
        c["type"] == "Failed" for job in jobs for c in job.get("status", {}).get("conditions", ())))  # fmt: skip
    status = done["status"]
    assert (status["completedIndexes"], status["failedIndexes"]) == ("0,2,3", "1")
    assert (status["succeeded"], status["failed"]) == (3, 1)
    log = own("logs", "-l", "batch.kubernetes.io/job-completion-index=2")
    assert log.strip() == "index 2 on parts-2"
    assert "FailedIndexes" in own("describe", "job", "parts")


@pytest.mark.usefixtures("slow_ones")
def test_an_autoscaler_answers_load(k3: Kubectl) -> None:
    k3.wait_for("pods", all_ready(3), selector="app=burner", seconds=120)
    (scaler,) = k3.json("get", "horizontalpodautoscalers")["items"]
    assert scaler["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"] > 50
    for pod in k3.json("get", "pods", "-l", "app=burner")["items"]:
        k3("exec", pod["metadata"]["name"], "--", "touch", "/tmp/quiet")


def test_pods_of_a_node_that_went_away_move(wanderers: list[Pod], k3: Kubectl) -> None:
    lost = next(pod for pod in wanderers if node_of(pod) == "node-3")
    k3.wait_for("nodes", lambda nodes: any(
        node["metadata"]["name"] == "node-3" and not is_ready(node)
        and any(t["key"] == "node.kubernetes.io/unreachable" for t in node["spec"].get("taints", ()))
        for node in nodes), seconds=120)  # fmt: skip

    def moved(pods: list[Pod]) -> bool:
        return sum(is_ready(pod) and node_of(pod) != "node-3" for pod in pods) == 3

    pods = by_name(k3.wait_for("pods", moved, selector="app=wanderer"))
    kept = [pod for pod in wanderers if node_of(pod) != "node-3"]
    assert all(pods[p["metadata"]["name"]]["metadata"]["uid"] == p["metadata"]["uid"] for p in kept)
    # Its kubelet cannot say that the pod is gone, so it stays until somebody says so for the whole node.
    assert pods[lost["metadata"]["name"]]["metadata"]["deletionTimestamp"]
    k3("delete", "node", "node-3")
    k3("delete", "pod", lost["metadata"]["name"], "--force", "--grace-period=0")
    k3.wait_for("pods", all_ready(3), selector="app=wanderer")


@pytest.mark.usefixtures("slow_ones")
def test_a_cron_job_ran_with_the_minute(k3: Kubectl) -> None:
    jobs = k3.wait_for("jobs", lambda jobs: any(job.get("status", {}).get("succeeded") for job in jobs), seconds=90)
    job = next(job for job in jobs if job.get("status", {}).get("succeeded"))
    assert job["metadata"]["ownerReferences"][0]["name"] == "tick"
    assert job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"].endswith(":00Z")
    assert k3("logs", f"job/{job['metadata']['name']}").strip() == "tick"
    k3("delete", "cronjob", "tick")


@pytest.mark.usefixtures("slow_ones")
def test_an_autoscaler_follows_when_the_load_is_gone(k3: Kubectl) -> None:
    k3.wait_for("pods", all_ready(1), selector="app=burner", seconds=120)
    assert "SuccessfulRescale" in k3("describe", "hpa", "burner")
