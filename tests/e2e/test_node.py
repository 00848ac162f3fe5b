"""The node level on real containers: static pods, reservations, limits of local storage, handlers, rotated logs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.manifests import apply, container, is_running, pod, status_of, wait_for_event, wait_for_pod
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess, docker, is_ready


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("static")


@pytest.fixture(scope="module")
def node(
    start_orchestrator: Callable[..., OrchestratorProcess], folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> OrchestratorProcess:
    config = tmp_path_factory.mktemp("config") / "orchestrator.yaml"
    options = {
        "staticPodPath": str(folder),
        "systemReserved": ["cpu=250m", "memory=64Mi"],
        "containerLogMaxSize": "8Ki",
        "containerLogMaxFiles": 2,
    }
    config.write_text(json.dumps(options))
    return start_orchestrator("--config", str(config))


@pytest.fixture
def k(node: OrchestratorProcess, kubectl: Path) -> Kubectl:
    one = Kubectl(kubectl, node)
    one.wait_for("serviceaccounts", lambda accounts: any(a["metadata"]["name"] == "default" for a in accounts))
    return one


def write(folder: Path, manifest: dict[str, Any]) -> Path:
    """Put a manifest into the node's folder, as a whole."""
    path = folder / "node-1" / "static.yaml"
    hidden = path.with_name(".static.yaml")
    hidden.write_text(json.dumps(manifest))
    hidden.rename(path)
    return path


def test_a_static_pod(k: Kubectl, node: OrchestratorProcess, folder: Path) -> None:
    # What runs may not have come to its output yet: it is ready when it has.
    has_said = {"exec": {"command": ["test", "-e", "/tmp/said"]}, "periodSeconds": 1}
    says = container("echo hello; touch /tmp/said; sleep 1000 & wait $!", readinessProbe=has_said)
    path = write(folder, pod("static", says))
    mirror = wait_for_pod(k, "static-node-1", is_ready)
    assert k("logs", "static-node-1").strip() == "hello"
    assert "static-node-1" in k("describe", "pod", "static-node-1")
    # The node replaces a deleted mirror at once: a kubectl that waits may first look when the new one is there, and
    # then waits for the end of that.
    k("delete", "pod", "static-node-1", "--wait=false")
    again = wait_for_pod(
        k, "static-node-1", lambda p: is_running(p) and p["metadata"]["uid"] != mirror["metadata"]["uid"]
    )
    assert status_of(again)["containerID"] == status_of(mirror)["containerID"]
    # A new process finds the same container.
    node.kill()
    node.start()
    found = wait_for_pod(k, "static-node-1", is_running)
    assert status_of(found)["containerID"] == status_of(mirror)["containerID"]
    path.unlink()
    k("wait", "--for=delete", "pod/static-node-1", "--timeout=30s")
    uid = mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"]
    assert not docker("ps", "-aq", "--filter", f"label=io.kubernetes.pod.uid={uid}")


def test_what_the_node_says_of_itself(k: Kubectl) -> None:
    status = k.json("get", "node", "node-1")["status"]
    assert status["capacity"]["cpu"] != status["allocatable"]["cpu"]
    assert status["allocatable"]["cpu"].endswith("750m")
    assert int(status["capacity"]["ephemeral-storage"].removesuffix("Ki")) > 0
    assert "" in {handler["name"] for handler in status["runtimeHandlers"]}
    summary = json.loads(k("get", "--raw", "/api/v1/nodes/node-1/proxy/stats/summary"))
    assert summary["node"]["fs"]["capacityBytes"] > summary["node"]["fs"]["availableBytes"] > 0
    for node in ("node-1", "node-1:10250"):
        assert "<pre>" in k("get", "--raw", f"/api/v1/nodes/{node}/proxy/logs/")


def test_runtime_classes(k: Kubectl) -> None:
    classes = [
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": name}
        for name in ("runc", "unheard-of")
    ]
    apply(k, *classes)
    apply(k, pod("ordinary", runtimeClassName="runc"), pod("odd", runtimeClassName="unheard-of"))
    wait_for_pod(k, "ordinary", is_running)
    wait_for_event(k, "FailedCreatePodSandBox", 'no runtime for "unheard-of" is configured')
    k("delete", "pod", "ordinary", "odd")


def test_who_writes_too_much_is_evicted(k: Kubectl) -> None:
    volume = {"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}
    script = "dd if=/dev/zero of=/scratch/file bs=1024 count=4096; sleep 1000 & wait $!"
    mounts = [{"name": "scratch", "mountPath": "/scratch"}]
    apply(k, pod("greedy", container(script, volumeMounts=mounts), volumes=[volume]))
    evicted = wait_for_pod(k, "greedy", lambda p: p.get("status", {}).get("phase") == "Failed")
    assert evicted["status"]["reason"] == "Evicted"
    assert evicted["status"]["message"] == 'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". '


def test_logs_are_rotated(k: Kubectl) -> None:
    script = "i=0; while [ $i -lt 1000 ]; do echo line number $i; i=$((i+1)); done; sleep 1000 & wait $!"
    apply(k, pod("talks", container(script)))
    wait_for_pod(k, "talks", is_running)
    with_end = k("logs", "talks", "--tail=1").strip()
    lines = k("logs", "talks").splitlines()
    assert len(lines) < 1000
    assert with_end.startswith("line number ")
    assert lines[-1].startswith("line number ")
