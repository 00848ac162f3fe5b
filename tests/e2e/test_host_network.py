"""hostNetwork: each node has its own network namespace, with its own address and ports."""

from __future__ import annotations

import itertools
from typing import Any

from tests.e2e.manifests import apply, container, is_running, pod, wait_for_pod
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess, docker, is_ready

WEB = "orchestrator.test/web:1"
LIBC = "orchestrator.test/libc:1"


def web(name: str, node: str, **spec: Any) -> dict[str, Any]:
    """A web server on port 8080 of its node, probed there."""
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}
    return pod(
        name,
        {"name": "main", "image": WEB, "imagePullPolicy": "Never", "readinessProbe": probe},
        nodeName=node,
        **spec,
    )


def fetch(k: Kubectl, name: str, url: str) -> str:
    """What a pod with a real libc gets from a URL without a name in it."""
    server, _, path = url.removeprefix("http://").partition("/")
    address, _, port = server.partition(":")
    script = (
        f"exec 3<>/dev/tcp/{address}/{port} && printf 'GET /{path} HTTP/1.0\\r\\n\\r\\n' >&3 && "
        'while IFS= read -t 5 -r line <&3 || [ -n "$line" ]; do echo "$line"; line=; done'
    )
    return k("exec", name, "-c", "main", "--", "bash", "-c", script)


def test_pods_of_two_nodes_have_the_same_port(k: Kubectl, cluster: OrchestratorProcess) -> None:
    apply(k, web("one", "node-1", hostNetwork=True), web("two", "node-2", hostNetwork=True))
    one, two = (wait_for_pod(k, name, is_ready) for name in ("one", "two"))
    addresses = [pod["status"]["podIP"] for pod in (one, two)]
    assert addresses == [pod["status"]["hostIP"] for pod in (one, two)]
    assert addresses[0] != addresses[1]

    client = pod(
        "client",
        container("sleep infinity", image=LIBC),
        dnsPolicy="ClusterFirstWithHostNet",
        hostNetwork=True,
        nodeName="node-1",
    )
    apply(k, client, pod("pod", container("sleep infinity", image=LIBC), nodeName="node-2"))
    wait_for_pod(k, "client", is_running)
    wait_for_pod(k, "pod", is_running)
    for where in ("client", "pod"):
        assert "node-1" in fetch(k, where, f"http://{addresses[0]}:8080/")
        assert "node-2" in fetch(k, where, f"http://{addresses[1]}:8080/")
    # Its own node is also its loopback.
    assert "node-1" in fetch(k, "client", "http://127.0.0.1:8080/")
    assert k("exec", "client", "--", "hostname").strip() == "node-1"
    assert k("exec", "client", "--", "getent", "hosts", "kubernetes.default.svc.cluster.local")

    # Host ports and node ports of the node, seen from itself.
    port = {"name": "http", "containerPort": 8080, "hostPort": 8081}
    apply(
        k,
        pod("ported", {"name": "main", "image": WEB, "imagePullPolicy": "Never", "ports": [port]}, nodeName="node-1")
        | {"metadata": {"name": "ported", "labels": {"app": "ported"}}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "ported"},
            "spec": {"type": "NodePort", "selector": {"app": "ported"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    )
    wait_for_pod(k, "ported", is_ready)
    k.wait_for(
        "endpointslices", lambda slices: any(e["conditions"]["ready"] for s in slices for e in s["endpoints"] or ())
    )
    node_port = k.json("get", "service", "ported")["spec"]["ports"][0]["nodePort"]
    for address in (
        f"{addresses[0]}:8081",
        "127.0.0.1:8081",
        f"{addresses[0]}:{node_port}",
        f"{addresses[1]}:{node_port}",
    ):
        assert "ported" in fetch(k, "client", f"http://{address}/"), address
    for address in (f"{addresses[0]}:8081", f"{addresses[0]}:{node_port}"):
        assert "ported" in fetch(k, "pod", f"http://{address}/"), address


def test_every_node_has_the_pages_of_its_proxy(k: Kubectl) -> None:
    shell = container("sleep infinity", image=LIBC)
    apply(k, pod("pod", shell, nodeName="node-2"), pod("host", shell, nodeName="node-1", hostNetwork=True))
    node = (
        wait_for_pod(k, "pod", is_running)["status"]["hostIP"],
        wait_for_pod(k, "host", is_running)["status"]["hostIP"],
    )
    for where, address in itertools.product(("pod", "host"), node):
        assert '"nodeEligible": true' in fetch(k, where, f"http://{address}:10256/healthz"), (where, address)
    assert "200 OK" in fetch(k, "host", "http://127.0.0.1:10256/healthz")
    assert fetch(k, "host", "http://127.0.0.1:10249/proxyMode").splitlines()[-1] == "nftables"
    assert "kubeproxy_sync_proxy_rules_duration_seconds_count" in fetch(k, "host", "http://127.0.0.1:10249/metrics")
    # The status is on the loopback alone.
    for where, address in (("host", node[1]), ("pod", node[0]), ("pod", node[1])):
        assert k.run("exec", where, "--", "bash", "-c", f"exec 3<>/dev/tcp/{address}/10249").returncode != 0, address


def test_a_lost_node_namespace_is_made_anew(k: Kubectl, cluster: OrchestratorProcess) -> None:
    apply(k, web("one", "node-1", hostNetwork=True))
    before = wait_for_pod(k, "one", is_ready)["status"]["containerStatuses"][0]
    docker("kill", f"orc_{cluster.cluster_id}_node-1_node")
    after = wait_for_pod(
        k,
        "one",
        lambda pod: is_ready(pod) and pod["status"]["containerStatuses"][0]["containerID"] != before["containerID"],
    )["status"]["containerStatuses"][0]
    assert after["restartCount"] == 1
