"""What nodes and pods use, measured on real containers and read with kubectl."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from functools import partial
from typing import Any

from tests.e2e.manifests import apply, container, is_running, pod, wait_for_pod
from tests.e2e.orchestrator_process import Kubectl, OrchestratorProcess
from tests.e2e.packets import in_namespace, place_of

BURN = "while :; do :; done"


def test_top_and_stats_show_what_containers_use(k: Kubectl) -> None:
    apply(k, pod("busy", container(BURN, name="burns"), container(name="waits")))
    running = wait_for_pod(k, "busy", is_running)
    node = running["spec"]["nodeName"]

    lines = k("top", "pod", "busy", "--containers", "--no-headers").splitlines()
    usage = {name: (cpu, memory) for _, name, cpu, memory in (line.split() for line in lines)}
    # Averages since the start, which costs a little itself.
    assert int(usage["burns"][0].removesuffix("m")) > int(usage["waits"][0].removesuffix("m"))
    assert usage["burns"][1].endswith("Mi")
    assert k("top", "pods", "--sort-by=cpu", "--no-headers").split()[0] == "busy"
    assert {line.split()[0] for line in k("top", "nodes", "--no-headers").splitlines()} >= {node}

    summary = json.loads(k("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary"))
    (own,) = [one for one in summary["pods"] if one["podRef"]["uid"] == running["metadata"]["uid"]]
    burns = next(one for one in own["containers"] if one["name"] == "burns")
    assert burns["cpu"]["usageCoreNanoSeconds"] > 0
    assert own["memory"]["workingSetBytes"] > 0
    assert own["network"]["name"] == "eth0"
    assert own["process_stats"]["process_count"] >= 3

    labels = f'namespace="{k.namespace}",pod="busy"'
    assert f"pod_cpu_usage_seconds_total{{{labels}}}" in _page(k, node, "metrics/resource")
    assert f'container_network_receive_bytes_total{{id="/{running["metadata"]["uid"]}"' in _page(
        k, node, "metrics/cadvisor"
    )
    assert _page(k, node, "healthz") == "ok"


def test_metrics_are_an_api_group(k: Kubectl) -> None:
    resources: Any = json.loads(k("get", "--raw", "/apis/metrics.k8s.io/v1beta1"))["resources"]
    assert {one["name"]: one["kind"] for one in resources} == {"nodes": "NodeMetrics", "pods": "PodMetrics"}
    assert "NodeMetrics" in k("api-resources", "--api-group=metrics.k8s.io")


def test_a_scraper_reaches_the_kubelets_of_all_nodes(k: Kubectl, cluster: OrchestratorProcess) -> None:
    shell = container("sleep infinity")
    apply(k, pod("scraper", shell, nodeName="node-1"), pod("on-host", shell, nodeName="node-2", hostNetwork=True))
    places = [place_of(wait_for_pod(k, name, is_running)) for name in ("scraper", "on-host")]
    nodes = {
        one["metadata"]["name"]: (
            one["status"]["addresses"][0]["address"], one["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
        )
        for one in k.json("get", "nodes")["items"]
    }  # fmt: skip
    pki = cluster.data_dir / "pki"
    anybody, admin = (ssl.create_default_context(cafile=str(pki / "ca.crt")) for _ in range(2))
    admin.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    k("create", "clusterrole", k.namespace, "--verb=get", "--resource=nodes/metrics")
    k(
        "create",
        "clusterrolebinding",
        k.namespace,
        f"--clusterrole={k.namespace}",
        f"--serviceaccount={k.namespace}:default",
    )
    token = k("create", "token", "default").strip()

    def ask(node: str, path: str, context: ssl.SSLContext = anybody, token: str = "", **more: Any) -> tuple[int, str]:
        address, port = nodes[node]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"https://{address}:{port}/{path}", headers=headers, **more)
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    for node in nodes:
        code, text = ask(node, "pods", admin)
        assert code == 200
        assert {one["spec"]["nodeName"] for one in json.loads(text)["items"]} == {node}
        assert ask(node, "metrics") == (401, "Unauthorized")
    assert ask("node-1", f"run/{k.namespace}/scraper/main?cmd=hostname", admin, method="POST") == (200, "scraper\n")
    user = f"system:serviceaccount:{k.namespace}:default"
    for place in places:
        for node in nodes:
            code, text = in_namespace(place.pid, partial(ask, node, "metrics/resource", token=token))
            assert (code, "node_cpu_usage_seconds_total" in text) == (200, True), (place, node)
        refused = in_namespace(place.pid, lambda: ask("node-2", "pods", token=token))
        assert refused == (403, f"Forbidden (user={user}, verb=get, resource=nodes, subresource(s)=[pods proxy])")
    k("delete", "clusterrole,clusterrolebinding", k.namespace)


def _page(k: Kubectl, node: str, path: str) -> str:
    return k("get", "--raw", f"/api/v1/nodes/{node}/proxy/{path}")
