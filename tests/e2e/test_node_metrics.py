"""What nodes and pods use, measured on real containers and read with kubectl."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.manifests import apply, container, is_running, pod, wait_for_pod
from tests.e2e.orchestrator_process import Kubectl

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


def _page(k: Kubectl, node: str, path: str) -> str:
    return k("get", "--raw", f"/api/v1/nodes/{node}/proxy/{path}")
