"""Nodes with Engines of their own: one behind TLS with client certificates, one behind ssh."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.manifests import apply, container, is_running, pod, wait_for_pod
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess, clean_environment
from tests.e2e.own_engine import OwnEngine, missing, own_engine
from tests.setup.engine import CLUSTER_LABEL, Engine, find
from tests.setup.images import ARCHITECTURES, ensure

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"a second Engine needs {missing()}")

SSH = """#!/bin/sh
# Takes the place of ssh: the command after the host is run here, with the Engine of "the other account".
while [ "$1" != -- ]; do shift; done
shift 2
DOCKER_HOST={socket} exec "$@"
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[OwnEngine]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with own_engine(port) as one:
        ensure(Engine(one.socket), ARCHITECTURES[os.uname().machine])
        yield one


@pytest.fixture(scope="module")
def process(
    engine: OwnEngine, tmp_path_factory: pytest.TempPathFactory, test_clusters: set[str]
) -> Iterator[OrchestratorProcess]:
    """Three nodes: on the machine's Engine, on the other one through TLS, and on the machine's through ssh."""
    folder = tmp_path_factory.mktemp("engines")
    main = find()[0].address
    (folder / "ssh").write_text(SSH.format(socket=main))
    (folder / "ssh").chmod(0o755)
    config = folder / "orchestrator.yaml"
    config.write_text(
        json.dumps(
            {
                "nodes": 3,
                "nodeEngines": [f"node-2={engine.url}", "node-3=ssh://me@builder"],
                "engineAccess": {engine.url: engine.access},
            }
        )
    )
    one = OrchestratorProcess(folder / "data", "--config", str(config))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        one.start()
        test_clusters.add(one.cluster_id)
        yield one
        one.kill()
        one.down("--config", str(config))
    assert Engine(engine.socket).containers(CLUSTER_LABEL) == []


@pytest.fixture
def k(process: OrchestratorProcess, kubectl: Path) -> Kubectl:
    one = Kubectl(kubectl, process)
    one.wait_for("serviceaccounts", lambda accounts: any(a["metadata"]["name"] == "default" for a in accounts))
    return one


@pytest.mark.parametrize("node", ["node-1", "node-2", "node-3"])
def test_pods_run_and_streams_end(k: Kubectl, engine: OwnEngine, node: str) -> None:
    name = f"on-{node}"
    apply(k, pod(name, container("echo hello; sleep 1000"), nodeName=node))
    wait_for_pod(k, name, is_running)
    sent = os.urandom(2_000_000)
    command = k.arguments("exec", "-i", name, "--", "sha256sum")
    answer = subprocess.run(command, input=sent, capture_output=True, timeout=60, check=True, env=k.environment())
    assert answer.stdout.decode().split()[0] == hashlib.sha256(sent).hexdigest()
    assert k("logs", name) == "hello\n"
    there = {one["Labels"]["io.kubernetes.pod.name"] for one in Engine(engine.socket).containers(CLUSTER_LABEL)}
    assert (name in there) is (node == "node-2")
    k("delete", "pod", name, "--grace-period=0", "--force")
    k.wait_for("pods", lambda pods: all(p["metadata"]["name"] != name for p in pods))


def test_pods_on_different_engines_reach_each_other(k: Kubectl) -> None:
    serve = "while :; do echo there | nc -l -p 8080; done"
    apply(k, pod("server", container(serve), nodeName="node-2"), pod("caller", nodeName="node-1"))
    address = wait_for_pod(k, "server", is_running)["status"]["podIP"]
    wait_for_pod(k, "caller", is_running)
    ask = f"until nc {address} 8080 </dev/null | grep there; do :; done"
    assert k("exec", "caller", "--", "sh", "-c", ask, timeout=30) == "there\n"
    k("delete", "pod", "server", "caller", "--grace-period=0", "--force")


def test_a_plain_address_beyond_this_machine_stops_the_start(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "orchestrator", "up", "--data-dir", str(tmp_path / "data")],
        capture_output=True, text=True, timeout=60, check=False,
        env=clean_environment() | {"DOCKER_HOST": "tcp://192.0.2.77:2375"},
    )  # fmt: skip
    assert answer.returncode == 1
    assert "DOCKER_HOST: whoever reaches an Engine without TLS is root on its machine" in answer.stderr
