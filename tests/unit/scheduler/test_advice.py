"""What would have to change for a node to take a pod, one table for all filters."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.scheduler.explain import as_pending, explain
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.profile import default_profile
from tests.unit.scheduler.builders import ZONE, make_cache, make_node, make_pod

PROFILE = default_profile()


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": key, "operator": operator, "values": [*values]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": required}}


SPREAD = {
    "topologySpreadConstraints": [
        {
            "topologyKey": ZONE,
            "maxSkew": 1,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "a"}},
        }
    ]
}


@pytest.mark.parametrize(
    ("node", "pod", "change"),
    [
        ({}, {"cpu": "3500m"}, "500m more cpu free: 3500m is requested, 3 left"),
        ({}, {"memory": "9Gi"}, "a larger node: memory 9Gi is requested, it has 8Gi in all"),
        ({"pods": "1"}, {}, "one pod less of the 1 that it may run"),
        (
            {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]},
            {},
            "the pod tolerates gpu=yes:NoSchedule, or the node loses it",
        ),
        ({"unschedulable": True}, {}, "the node is uncordoned (kubectl uncordon n)"),
        (
            {},
            {"nodeSelector": {"disk": "ssd"}},
            "the node is labelled disk=ssd, or the pod's nodeSelector asks for something else",
        ),
        ({}, expression("disk", "In", "ssd", "nvme"), "the node has disk In (ssd, nvme)"),
        ({}, expression("gpu", "Exists"), "the node has gpu Exists"),
        ({}, {"ports": [{"hostPort": 80}]}, "host port 80/TCP becomes free"),
        ({}, SPREAD, f"the node is labelled {ZONE}"),
        (
            {},
            {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": ZONE}]}}},
            "node(s) didn't match pod affinity rules",
        ),
    ],
)
def test_advice(node: dict[str, Any], pod: dict[str, Any], change: str) -> None:
    running = make_pod("running", cpu="1", ports=[{"hostPort": 80}], node="n")
    found = explain(PROFILE, make_cache([make_node(**node)], [running]), PodInfo(make_pod(**pod)))
    assert found.nodes[0].changes == (change,)


def test_every_filter_that_refuses_is_named() -> None:
    cache = make_cache([make_node(cpu="1", unschedulable=True, taints=[{"key": "k", "effect": "NoExecute"}])])
    found = explain(PROFILE, cache, PodInfo(make_pod(cpu="2")))
    plugins = [verdict.plugin for verdict in found.nodes[0].verdicts]
    assert plugins == ["NodeUnschedulable", "TaintToleration", "NodeResourcesFit"]
    assert not found.nodes[0].helped_by_eviction


def test_preemption_is_told_with_its_victims() -> None:
    cache = make_cache([make_node(cpu="1")], [make_pod("low", cpu="1", node="n")])
    found = explain(PROFILE, cache, PodInfo(make_pod(cpu="1", priority=5)))
    assert (found.evicts_on, found.victims) == ("n", ("default/low",))
    assert found.nodes[0].helped_by_eviction


def test_a_placed_pod_is_asked_about_as_if_it_had_no_node() -> None:
    cache = make_cache([make_node("a"), make_node("b")])
    found = explain(PROFILE, cache, as_pending(make_pod(node="a")))
    assert [line.is_feasible for line in found.nodes] == [True, True]
