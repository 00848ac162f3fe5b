"""What happens when the Engine goes away, containers vanish, or the orchestrator is killed in the middle."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.engine_proxy import EngineProxy
from tests.e2e.manifests import apply, is_running, pod, status_of, wait_for_event, wait_for_pod
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess, docker, is_ready


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProxy]:
    one = EngineProxy(tmp_path_factory.mktemp("engine") / "docker.sock")
    one.start()
    yield one
    one.close()


@pytest.fixture(scope="module")
def fragile(
    start_orchestrator: Callable[..., OrchestratorProcess], proxy: EngineProxy, tmp_path_factory: pytest.TempPathFactory
) -> OrchestratorProcess:
    """Two nodes, of which the second has its Engine behind the proxy."""
    config = tmp_path_factory.mktemp("config") / "orchestrator.yaml"
    config.write_text(json.dumps({"nodes": 2, "nodeEngines": [f"node-2={proxy.url}"]}))
    return start_orchestrator("--config", str(config))


@pytest.fixture
def k(fragile: OrchestratorProcess, kubectl: Path) -> Kubectl:
    one = Kubectl(kubectl, fragile)
    one.wait_for("serviceaccounts", lambda accounts: any(a["metadata"]["name"] == "default" for a in accounts))
    return one


def node_is_ready(name: str, status: str) -> Callable[[list[dict[str, Any]]], bool]:
    def found(nodes: list[dict[str, Any]]) -> bool:
        return any(
            n["metadata"]["name"] == name
            and any(c["type"] == "Ready" and c["status"] == status for c in n["status"]["conditions"])
            for n in nodes
        )

    return found


def same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether a pod's container is still the same one."""
    fields = ("containerID", "restartCount")
    return [status_of(before)[f] for f in fields] == [status_of(after)[f] for f in fields]


def test_an_engine_that_goes_away_takes_only_its_node(k: Kubectl, proxy: EngineProxy) -> None:
    apply(k, pod("here", nodeName="node-1"), pod("there", nodeName="node-2"))
    here, there = (wait_for_pod(k, name, is_running) for name in ("here", "there"))
    proxy.cut()
    try:
        nodes = k.wait_for("nodes", node_is_ready("node-2", "False"))
        lost = next(n for n in nodes if n["metadata"]["name"] == "node-2")
        ready = next(c for c in lost["status"]["conditions"] if c["type"] == "Ready")
        assert "container runtime is down" in ready["message"]
        assert node_is_ready("node-1", "True")(nodes)
        apply(k, pod("meanwhile", nodeName="node-1"), pod("patient", nodeName="node-2"))
        wait_for_pod(k, "meanwhile", is_running)
    finally:
        proxy.mend()
    k.wait_for("nodes", node_is_ready("node-2", "True"))
    wait_for_pod(k, "patient", is_running)
    assert same(here, k.json("get", "pod", "here"))
    assert same(there, k.json("get", "pod", "there"))
    k("delete", "pod", "here", "there", "meanwhile", "patient")


def is_deadlocked(method: str, path: str) -> bool:
    """What an Engine of version 20.10 no longer answers once its network code is stuck; lists go on."""
    return method == "DELETE" or path.partition("?")[0].endswith("/start") or path.startswith("networks")


def test_an_engine_that_hangs_takes_only_its_node(k: Kubectl, proxy: EngineProxy) -> None:
    apply(k, pod("beside", nodeName="node-1"), pod("inside", nodeName="node-2"))
    beside, inside = (wait_for_pod(k, name, is_running) for name in ("beside", "inside"))
    proxy.hang(is_deadlocked)
    try:
        apply(k, pod("stuck", nodeName="node-2"))
        proxy.wait_hanging(10)
        nodes = k.wait_for("nodes", node_is_ready("node-2", "False"))
        lost = next(n for n in nodes if n["metadata"]["name"] == "node-2")
        ready = next(c for c in lost["status"]["conditions"] if c["type"] == "Ready")
        assert "the Docker Engine hangs" in ready["message"]
        assert node_is_ready("node-1", "True")(nodes)
        apply(k, pod("meanwhile", nodeName="node-1"))
        wait_for_pod(k, "meanwhile", is_running)
    finally:
        proxy.go_on()
    k.wait_for("nodes", node_is_ready("node-2", "True"))
    started = wait_for_pod(k, "stuck", is_running)
    assert status_of(started)["restartCount"] == 0
    labels = (f"label=io.kubernetes.pod.uid={started['metadata']['uid']}", "label=orchestrator.dev/kind=container")
    assert len(docker("ps", "-aq", "--filter", labels[0], "--filter", labels[1]).split()) == 1
    assert same(beside, k.json("get", "pod", "beside"))
    assert same(inside, k.json("get", "pod", "inside"))
    k("delete", "pod", "beside", "inside", "stuck", "meanwhile")


def test_what_dies_while_the_engine_cannot_be_asked_is_seen_afterwards(k: Kubectl, proxy: EngineProxy) -> None:
    apply(k, pod("dies", nodeName="node-2"))
    before = wait_for_pod(k, "dies", is_running)
    proxy.cut()
    try:
        docker("kill", status_of(before)["containerID"].removeprefix("docker://"))
    finally:
        proxy.mend()
    after = wait_for_pod(k, "dies", lambda p: is_running(p) and status_of(p)["restartCount"] == 1)
    assert status_of(after)["lastState"]["terminated"]["exitCode"] == 137
    k("delete", "pod", "dies")


@pytest.mark.parametrize("what", ["container", "sandbox"])
def test_what_is_removed_behind_our_back_comes_back(k: Kubectl, fragile: OrchestratorProcess, what: str) -> None:
    name = f"lost-{what}"
    apply(k, pod(name, nodeName="node-1"))
    before = wait_for_pod(k, name, is_running)
    if what == "container":
        docker("rm", "--force", status_of(before)["containerID"].removeprefix("docker://"))
    else:
        uid = before["metadata"]["uid"]
        labels = (f"label=io.kubernetes.pod.uid={uid}", "label=orchestrator.dev/kind=sandbox")
        docker("kill", docker("ps", "-q", "--filter", labels[0], "--filter", labels[1]))
    after = wait_for_pod(
        k, name, lambda p: is_ready(p) and status_of(p)["containerID"] != status_of(before)["containerID"]
    )
    assert status_of(after)["restartCount"] == 1
    if what == "sandbox":
        wait_for_event(k, "SandboxChanged")
    k("delete", "pod", name)


class Killer:
    """Kills an orchestrator at the n-th request that changes something, before or after the Engine has it."""

    def __init__(self, process: OrchestratorProcess, number: int, *, before: bool) -> None:
        self._process = process
        self._left = number
        self._is_before = before
        self._due: tuple[str, str] | None = None
        self.has_struck = False

    def before(self, method: str, path: str) -> bool:
        if self.has_struck:
            return True  # nothing of a dead process arrives
        if method == "GET" or "/wait" in path or not path.startswith("containers/"):
            return False
        self._left -= 1
        if self._left == 0:
            if self._is_before:
                self._strike()
                return True
            self._due = method, path
        return False

    def after(self, method: str, path: str) -> None:
        if self._due == (method, path) and not self.has_struck:
            self._strike()

    def _strike(self) -> None:
        self.has_struck = True
        self._process.kill_now()


def test_kills_in_the_middle_of_a_pods_life(
    start_orchestrator: Callable[..., OrchestratorProcess], kubectl: Path, proxy: EngineProxy, tmp_path: Path
) -> None:
    config = tmp_path / "orchestrator.yaml"
    config.write_text(json.dumps({"nodeEngines": [f"node-1={proxy.url}"]}))
    process = start_orchestrator("--config", str(config))
    k = Kubectl(kubectl, process)
    k.wait_for("serviceaccounts", lambda accounts: any(a["metadata"]["name"] == "default" for a in accounts))
    for number in range(1, 5):
        # Kills at the other half of these moments, and at every request that reads, are in the component tests.
        name = f"pod-{number}"
        before = number % 2 == 0
        assert run_and_kill(process, proxy, number, before=before, act=partial(apply, k, pod(name)))
        running = wait_for_pod(k, name, is_running)
        assert status_of(running)["restartCount"] == 0
        uid = running["metadata"]["uid"]
        labels = (f"label=io.kubernetes.pod.uid={uid}", "label=orchestrator.dev/kind=container")
        assert len(docker("ps", "-aq", "--filter", labels[0], "--filter", labels[1]).split()) == 1
        run_and_kill(process, proxy, number, before=not before, act=partial(k, "delete", "pod", name, "--wait=false"))
        k("wait", "--for=delete", f"pod/{name}", "--timeout=30s")
        assert not docker("ps", "-aq", "--filter", labels[0])
        assert not (process.data_dir / "kubelet" / "node-1" / "pods" / uid).exists()
    assert not [*(process.data_dir / "network" / "addresses").iterdir()]


def run_and_kill(
    process: OrchestratorProcess, proxy: EngineProxy, number: int, *, before: bool, act: Callable[[], object]
) -> bool:
    """Act, let the orchestrator be killed at a request, and start it again; whether it was."""
    killer = Killer(process, number, before=before)
    proxy.before, proxy.after = killer.before, killer.after
    try:
        act()
        struck = process.wait_killed(5.0)
    finally:
        proxy.before, proxy.after = (lambda method, path: False), (lambda method, path: None)
    if struck:
        process.start()
    return struck
