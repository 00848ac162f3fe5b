"""Nodes on a network of Docker's, run by somebody who is not root but may open the Engine's socket.

Where nobody but root can read this project or its interpreter, root runs it with `network: docker`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.accounts import find_account
from tests.e2e.manifests import apply, container, pod
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess, docker, is_ready
from tests.e2e.packets import Echo, Place, outcome, place_of, until

PORT, HOST_PORT = 8000, 18_765
MACHINE = Place("machine")
UNVERIFIED = ssl._create_unverified_context()
LIBC = "orchestrator.test/libc:1"


@dataclass
class Stage:
    """A server on each node (one of them with a host port), one that is on its node's own network, and a client."""

    k: Kubectl
    process: OrchestratorProcess
    echo: Echo
    servers: list[Place]
    host: Place
    client: Place
    node_ips: list[str]

    def service(self, name: str, *ports: dict[str, Any], **spec: Any) -> dict[str, Any]:
        spec = {"selector": {"app": "server"}, "ports": [*ports] or [{"port": 80, "targetPort": PORT}], **spec}
        apply(self.k, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
        return dict(self.k.json("get", "service", name)["spec"])


def left_on_the_engine(process: OrchestratorProcess) -> str:
    """Containers and networks of the cluster."""
    label = f"label=orchestrator.dev/cluster={process.cluster_id}"
    return docker("ps", "--all", "--quiet", "--filter", label) + docker("network", "ls", "--quiet", "--filter", label)


@contextmanager
def running(test_clusters: set[str], *options: str) -> Iterator[OrchestratorProcess]:
    """Started with these options; the data is where anybody may be, because that of the tests is root's."""
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-test-", dir="/tmp"))
    account = find_account()
    if account is not None:
        os.chown(folder, account.user, account.user)
    process = OrchestratorProcess(folder / "data", "--network", "docker", *options, account=account)
    try:
        process.start()
        test_clusters.add(process.cluster_id)
        yield process
    finally:
        process.kill()
        if process.has_containers and left_on_the_engine(process):
            process.down()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def process(test_clusters: set[str]) -> Iterator[OrchestratorProcess]:
    """A cluster of two nodes."""
    with running(test_clusters, "--nodes", "2") as process:
        yield process


@pytest.fixture(scope="module")
def stage(process: OrchestratorProcess, kubectl: Path) -> Iterator[Stage]:
    k = Kubectl(kubectl, process)
    k.wait_for("serviceaccounts", lambda accounts: any(a["metadata"]["name"] == "default" for a in accounts))
    ports = [{"containerPort": PORT, "hostPort": HOST_PORT}]
    manifests = [
        pod("server-1", container(ports=ports), nodeName="node-1"),
        pod("server-2", nodeName="node-2"),
        pod("host", nodeName="node-2", hostNetwork=True),
        pod("client", container(image=LIBC), nodeName="node-2"),
    ]
    for one in manifests[:2]:
        one["metadata"]["labels"] = {"app": "server"}
    apply(k, *manifests)
    pods = k.wait_for("pods", lambda pods: len(pods) == 4 and all(map(is_ready, pods)))
    places = {p["metadata"]["name"]: place_of(p) for p in pods}
    nodes = k.json("get", "nodes")["items"]
    echo = Echo()
    servers = [places["server-1"], places["server-2"]]
    for server in servers:
        echo.serve(server, tcp=(PORT,), udp=(PORT,))
    echo.serve(places["host"], tcp=(PORT,))
    yield Stage(k, process, echo, servers, places["host"], places["client"],
                [node["status"]["addresses"][0]["address"] for node in nodes])  # fmt: skip
    echo.close()


BOTH = {"server-1", "server-2"}


def names(place: Place, address: str, port: int, protocol: str = "tcp") -> set[str]:
    return set(place.count(address, port, times=16, protocol=protocol))


def test_a_service_is_reached_by_address_and_name_and_node_port(stage: Stage) -> None:
    spec = stage.service("web", type="NodePort")
    address, node_port = spec["clusterIP"], spec["ports"][0]["nodePort"]
    for place in (stage.client, stage.host, MACHINE):
        until(lambda: names(place, address, 80), BOTH)  # noqa: B023
    for node_ip in (*stage.node_ips, "127.0.0.1"):
        until(lambda: names(MACHINE, node_ip, node_port), BOTH)  # noqa: B023
    until(lambda: names(stage.client, stage.node_ips[0], node_port), BOTH)
    asked = "getent hosts web && exec 3<>/dev/tcp/web/80 && cat <&3"
    answer = stage.k("exec", "client", "--", "bash", "-c", asked)
    assert address in answer
    assert any(name in answer for name in BOTH)


def test_a_service_without_endpoints_is_refused_at_once(stage: Stage) -> None:
    address = stage.service("empty", selector={"app": "nobody"})["clusterIP"]
    for place in (stage.client, MACHINE):
        assert outcome(lambda: place.tcp(address, 80)) == "refused"  # noqa: B023
    stage.k("patch", "service", "empty", "-p", json.dumps({"spec": {"selector": {"app": "server"}}}))
    until(lambda: names(stage.client, address, 80), BOTH)
    stage.k("patch", "service", "empty", "-p", json.dumps({"spec": {"selector": {"app": "nobody"}}}))
    until(lambda: outcome(lambda: stage.client.tcp(address, 80)), "refused")


def test_a_udp_service_and_session_affinity(stage: Stage) -> None:
    ports = (
        {"name": "u", "port": 80, "targetPort": PORT, "protocol": "UDP"},
        {"name": "t", "port": 80, "targetPort": PORT},
    )
    address = stage.service("sticky", *ports, sessionAffinity="ClientIP")["clusterIP"]
    until(lambda: names(stage.client, address, 80, "udp"))
    assert len(names(stage.client, address, 80, "udp")) == 1
    until(lambda: names(stage.client, address, 80))
    assert len(names(stage.client, address, 80)) == 1


def test_ports_of_nodes_lead_to_their_own_pods(stage: Stage) -> None:
    for address in (stage.node_ips[0], "127.0.0.1"):
        until(lambda: MACHINE.tcp(address, HOST_PORT).name, "server-1")  # noqa: B023
    assert outcome(lambda: MACHINE.tcp(stage.node_ips[1], HOST_PORT)) == "refused"
    assert stage.client.tcp(stage.node_ips[1], PORT).name == "host"
    assert outcome(lambda: stage.client.tcp(stage.node_ips[0], PORT)) == "refused"
    assert stage.host.tcp(stage.servers[0].address, PORT).client == stage.node_ips[1]
    for node_ip in stage.node_ips:
        with urllib.request.urlopen(f"http://{node_ip}:10256/healthz", timeout=10) as health:
            assert health.status == 200
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"https://{node_ip}:10250/pods", timeout=10, context=UNVERIFIED)


def test_pods_find_the_api_server(stage: Stage) -> None:
    asked = "exec 3<>/dev/tcp/kubernetes.default/443 && echo connected"
    assert "connected" in stage.k("exec", "client", "--", "bash", "-c", asked)


def test_a_port_that_is_open_on_a_pods_loopback_only_is_forwarded(stage: Stage) -> None:
    listener = stage.client.socket()
    with listener:
        listener.bind(("127.0.0.1", 7777))
        listener.listen()
        forward = subprocess.Popen(
            stage.k.arguments("port-forward", "pod/client", ":7777"), stdout=subprocess.PIPE, text=True,
            env=stage.k.environment(),
        )  # fmt: skip
        try:
            assert forward.stdout is not None
            port = int(forward.stdout.readline().split("->")[0].rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), 20) as connection:
                listener.settimeout(20)
                inside, _ = listener.accept()
                with inside:
                    inside.send(b"hello")
                    assert connection.recv(5) == b"hello"
        finally:
            forward.kill()
            forward.communicate()
    # The helper for this pod may go: nobody listens there, and so nobody else notices.
    (dialer,) = docker("ps", "--quiet", "--filter", f"name=orc_{stage.process.cluster_id}_dial_").split()
    docker("rm", "--force", dialer)
    stage.k("exec", "client", "--", "getent", "hosts", "kubernetes.default")
    assert "helper.died" not in stage.process.log.read_text()


def test_volumes_have_their_group_and_leave_nothing_behind(stage: Stage) -> None:
    k = stage.k
    apply(k, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"colour": "blue"}})
    volumes = [
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "claim", "persistentVolumeClaim": {"claimName": "claim"}},
    ]
    mounts = [{"name": one["name"], "mountPath": f"/{one['name']}"} for one in volumes]
    mounts.append({"name": "settings", "mountPath": "/one", "subPath": "colour"})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    apply(k, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "claim"}, "spec": claim})
    script = (
        "cat /settings/colour /one; stat -c ' %g %a' /scratch; "
        "for folder in /scratch /claim; do mkdir -p $folder/a/b; echo x >$folder/a/b/c; chmod 700 $folder/a; done; "
        "echo written; echo the end >/dev/termination-log"
    )
    one = pod("files", container(script, volumeMounts=mounts), volumes=volumes, restartPolicy="Never",
              securityContext={"fsGroup": 4321})  # fmt: skip
    apply(k, one)
    k("wait", "pod/files", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s")
    found = k.json("get", "pod", "files")
    assert k("logs", "files").split() == ["blueblue", "4321", "2777", "written"]
    assert found["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == "the end\n"
    k("delete", "pod", "files")
    k("delete", "pvc", "claim", "--timeout=30s")
    k("wait", "pv", "--all", "--for=delete", "--timeout=30s")
    left = [*stage.process.data_dir.glob(f"kubelet/*/pods/{found['metadata']['uid']}"),
            *stage.process.data_dir.glob("volumes/*")]  # fmt: skip
    assert until(lambda: not [path for path in left if path.exists()])


def test_what_cannot_be_had_is_said(stage: Stage) -> None:
    volume = {"name": "memory", "emptyDir": {"medium": "Memory"}}
    mounts = [{"name": "memory", "mountPath": "/memory"}]
    assert "network.of_docker" in stage.process.log.read_text()
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "nobody"}}
    done = stage.k.run("apply", "-f", "-", stdin=json.dumps({**policy, "spec": {"podSelector": {}}}))
    assert done.stderr == "Warning: this cluster has no packet filter: NetworkPolicies have no effect\n"
    if stage.process.account is None:
        pytest.skip("root may mount")
    apply(stage.k, pod("memory", container(volumeMounts=mounts), volumes=[volume]))
    selector = "involvedObject.name=memory,reason=FailedMount"
    events = stage.k.wait_for("events", bool, options=("--field-selector", selector))
    assert "an emptyDir in memory needs root rights" in events[0]["message"]
    stage.k("delete", "pod", "memory", "--now")


def test_after_kill_9_everything_goes_on(stage: Stage) -> None:
    """Pods are the same ones, and listeners come back; the last test but one, because it restarts the process."""
    before = {p["metadata"]["name"]: p["status"]["containerStatuses"] for p in stage.k.json("get", "pods")["items"]}
    address = stage.k.json("get", "service", "web")["spec"]["clusterIP"]
    stage.process.kill()
    assert outcome(lambda: stage.client.tcp(address, 80)) == "refused"
    stage.process.start()
    until(lambda: names(stage.client, address, 80), BOTH, seconds=30)
    until(lambda: MACHINE.tcp(stage.node_ips[0], HOST_PORT).name, "server-1", seconds=30)
    after = {p["metadata"]["name"]: p["status"]["containerStatuses"] for p in stage.k.json("get", "pods")["items"]}
    assert after == before


def test_a_helper_that_dies_is_made_anew(stage: Stage) -> None:
    address = stage.k.json("get", "service", "web")["spec"]["clusterIP"]
    docker("rm", "--force", f"orc_{stage.process.cluster_id}_services")
    until(lambda: names(stage.client, address, 80), BOTH, seconds=60)
    assert "10." in stage.k("exec", "client", "--", "getent", "hosts", "web")


def test_down_leaves_nothing(stage: Stage) -> None:
    """After kill -9, by the same user."""
    stage.process.kill()
    stage.process.down()
    assert not left_on_the_engine(stage.process)


def test_the_end_of_an_ephemeral_cluster_leaves_nothing(test_clusters: set[str], kubectl: Path) -> None:
    with running(test_clusters, "--ephemeral") as process:
        k = Kubectl(kubectl, process)
        k.wait_for("serviceaccounts", lambda accounts: any(a["metadata"]["name"] == "default" for a in accounts))
        apply(k, pod("server", container()))
        k.wait_for("pods", lambda pods: any(is_ready(one) for one in pods))
        assert process.stop() == 0
        assert not left_on_the_engine(process)
