"""Each filter and score by itself, with the examples of Kubernetes' documentation."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.node_selection import matches_expression
from orchestrator.api.resources import NODES, PODS
from orchestrator.api.selectors import LabelSelector, parse_label_selector
from orchestrator.scheduler.algorithm import evaluate, score_table
from orchestrator.scheduler.cache import Cache
from orchestrator.scheduler.framework import Action, ClusterEvent, Cycle, NoListers, Plugin, normalized
from orchestrator.scheduler.plugins.image_locality import normalized_image_name, priority_of
from orchestrator.scheduler.plugins.node_affinity import named_nodes
from orchestrator.scheduler.plugins.node_resources import NodeResourcesBalancedAllocation, NodeResourcesFit
from orchestrator.scheduler.plugins.taint_toleration import TaintToleration, tolerates_taint
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.profile import default_profile
from tests.unit.scheduler.builders import HOST, ZONE, make_cache, make_cycle, make_node, make_pod

PROFILE = default_profile()
Spec = dict[str, Any]


def refusals(pod: Spec, cache: Cache) -> dict[str, tuple[str, ...]]:
    result = evaluate(PROFILE, make_cycle(pod, cache))
    return {name: verdict.reasons for name, verdict in result.refused.items()}


def scores(plugin: str, pod: Spec, cache: Cache) -> dict[str, int]:
    cycle = make_cycle(pod, cache)
    feasible = evaluate(PROFILE, cycle).feasible
    table = score_table(PROFILE, cycle, feasible)
    weight = {scorer.name: weight for scorer, weight in PROFILE.scorers}[plugin]
    return {node.name: score // weight for node, score in zip(feasible, table[plugin], strict=True)}


# NodeResourcesFit


@pytest.mark.parametrize(
    ("node", "pod", "reasons"),
    [
        ({"cpu": "1"}, {"cpu": "1"}, ()),
        ({"cpu": "1"}, {"cpu": "1001m"}, ("Insufficient cpu",)),
        ({"memory": "1Gi"}, {"memory": "1025Mi"}, ("Insufficient memory",)),
        ({"cpu": "1", "memory": "1Gi"}, {"cpu": "2", "memory": "2Gi"}, ("Insufficient cpu", "Insufficient memory")),
        ({"pods": "0"}, {}, ("Too many pods",)),
        ({"pods": "0", "cpu": "1"}, {"cpu": "2"}, ("Too many pods", "Insufficient cpu")),
    ],
)
def test_fit(node: Spec, pod: Spec, reasons: tuple[str, ...]) -> None:
    assert refusals(make_pod(**pod), make_cache([make_node("n", **node)])) == ({"n": reasons} if reasons else {})


def test_fit_counts_extended_resources_and_tells_whether_eviction_can_help() -> None:
    pod = make_pod()
    pod["spec"]["containers"][0]["resources"] = {"requests": {"example.com/gpu": "2"}}
    other = make_pod("other", node="full")
    other["spec"]["containers"][0]["resources"] = {"requests": {"example.com/gpu": "1"}}
    full, none = make_node("full"), make_node("none")
    full["status"]["allocatable"]["example.com/gpu"] = "2"
    result = evaluate(PROFILE, make_cycle(pod, make_cache([full, none], [other])))
    assert {name: (v.reasons, v.resolvable) for name, v in result.refused.items()} == {
        "full": (("Insufficient example.com/gpu",), True),
        "none": (("Insufficient example.com/gpu",), False),
    }


@pytest.mark.parametrize(
    ("kind", "expected"),
    # 4 cores and 8 GiB, of which 1 core and 4 GiB would be taken
    [("LeastAllocated", (75 + 50) // 2), ("MostAllocated", (25 + 50) // 2)],
)
def test_fit_strategies(kind: str, expected: int) -> None:
    plugin = NodeResourcesFit({"scoringStrategy": {"type": kind}})
    cycle = make_cycle(make_pod(cpu="1", memory="4Gi"), make_cache([make_node("n")]))
    assert plugin.score(cycle, cycle.cache.nodes["n"]) == expected


@pytest.mark.parametrize(
    ("used_cpu", "expected"),
    # a shape that packs: 0 % scores 0, 100 % scores 10
    [("0", 25), ("1", 50), ("2", 75), ("3", 100)],
)
def test_fit_requested_to_capacity_ratio(used_cpu: str, expected: int) -> None:
    strategy = {
        "type": "RequestedToCapacityRatio",
        "resources": [{"name": "cpu", "weight": 1}],
        "requestedToCapacityRatio": {"shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]},
    }
    plugin = NodeResourcesFit({"scoringStrategy": strategy})
    cache = make_cache([make_node("n")], [make_pod("other", cpu=used_cpu, node="n")])
    assert plugin.score(make_cycle(make_pod(cpu="1"), cache), cache.nodes["n"]) == expected


def test_fit_documented_bin_packing_example() -> None:
    """The resource bin packing page: 2 of foo and 1 of bar, weights 5 and 3; it counts 5 of 10 points."""
    strategy = {
        "type": "RequestedToCapacityRatio",
        "resources": [{"name": "intel.com/foo", "weight": 5}, {"name": "intel.com/bar", "weight": 3}],
        "requestedToCapacityRatio": {"shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]},
    }
    plugin = NodeResourcesFit({"scoringStrategy": strategy})
    node = make_node("n")
    node["status"]["allocatable"].update({"intel.com/foo": "4", "intel.com/bar": "8"})
    other = make_pod("other", node="n")
    other["spec"]["containers"][0]["resources"] = {"requests": {"intel.com/foo": "1", "intel.com/bar": "1"}}
    pod = make_pod()
    pod["spec"]["containers"][0]["resources"] = {"requests": {"intel.com/foo": "2", "intel.com/bar": "1"}}
    cache = make_cache([node], [other])
    # foo: 3 of 4 used is 75, bar: 2 of 8 is 25: (75*5 + 25*3) / 8 = 56.25
    assert plugin.score(make_cycle(pod, cache), cache.nodes["n"]) == 56


def test_unknown_strategy_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scoringStrategy\.type"):
        NodeResourcesFit({"scoringStrategy": {"type": "Best"}})


@pytest.mark.parametrize(
    ("pod", "expected"),
    [({"cpu": "2", "memory": "4Gi"}, 100), ({"cpu": "4"}, 50), ({"cpu": "1", "memory": "4Gi"}, 87)],
)
def test_balanced_allocation(pod: Spec, expected: int) -> None:
    cache = make_cache([make_node("n")])
    assert NodeResourcesBalancedAllocation().score(make_cycle(make_pod(**pod), cache), cache.nodes["n"]) == expected


# TaintToleration, NodeUnschedulable, NodeName, NodePorts


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "k", "operator": "Exists", "effect": "NoSchedule"}, True),
        ({"key": "k", "value": "v"}, True),  # Equal is the default, no effect means every effect
        ({"operator": "Exists"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "x", "operator": "Exists"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
        ({}, False),
    ],
)
def test_toleration(toleration: Spec, expected: bool) -> None:
    assert tolerates_taint(toleration, {"key": "k", "value": "v", "effect": "NoSchedule"}) is expected


def test_taints_refuse_or_cost_points() -> None:
    hard = make_node("hard", taints=[{"key": "k", "effect": "NoExecute"}])
    soft = make_node("soft", taints=[{"key": "k", "effect": "PreferNoSchedule"}])
    cache = make_cache([hard, soft, make_node("free")])
    assert refusals(make_pod(), cache) == {"hard": ("node(s) had untolerated taint(s)",)}
    assert scores("TaintToleration", make_pod(), cache) == {"soft": 0, "free": 100}


def test_cordoned_nodes_take_only_pods_that_tolerate_it() -> None:
    cache = make_cache([make_node("n", unschedulable=True)])
    assert refusals(make_pod(), cache) == {"n": ("node(s) were unschedulable",)}
    key = "node.kubernetes.io/unschedulable"
    assert refusals(make_pod(tolerations=[{"key": key, "operator": "Exists"}]), cache) == {}


@pytest.mark.parametrize(
    ("used", "wanted", "free"),
    [
        ({"hostPort": 80}, {"hostPort": 80}, False),
        ({"hostPort": 80}, {"hostPort": 81}, True),
        ({"hostPort": 80}, {"hostPort": 80, "protocol": "UDP"}, True),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80, "hostIP": "10.0.0.2"}, True),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80, "hostIP": "10.0.0.1"}, False),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80}, False),
        ({"hostPort": 80}, {"hostPort": 80, "hostIP": "10.0.0.1"}, False),
    ],
)
def test_host_ports(used: Spec, wanted: Spec, free: bool) -> None:
    cache = make_cache([make_node("n")], [make_pod("other", node="n", ports=[used])])
    reasons = ("node(s) didn't have free ports for the requested pod ports",)
    assert refusals(make_pod(ports=[wanted]), cache) == ({} if free else {"n": reasons})


# NodeAffinity


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"key": "zone", "operator": "In", "values": ["antarctica-east1", "antarctica-west1"]}, True),
        ({"key": "zone", "operator": "NotIn", "values": ["antarctica-east1"]}, False),
        ({"key": "absent", "operator": "NotIn", "values": ["x"]}, True),
        ({"key": "zone", "operator": "Exists"}, True),
        ({"key": "absent", "operator": "DoesNotExist"}, True),
        ({"key": "cores", "operator": "Gt", "values": ["4"]}, True),
        ({"key": "cores", "operator": "Lt", "values": ["8"]}, False),
        ({"key": "zone", "operator": "Gt", "values": ["4"]}, False),
        ({"key": "absent", "operator": "Gt", "values": ["4"]}, False),
    ],
)
def test_node_expressions(expression: Spec, expected: bool) -> None:
    assert matches_expression(expression, {"zone": "antarctica-east1", "cores": "8"}) is expected


def required(*terms: Spec) -> Spec:
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}}


def expressions(*items: tuple[str, str, list[str]]) -> Spec:
    return {
        "matchExpressions": [{"key": key, "operator": operator, "values": values} for key, operator, values in items]
    }


REFUSED_BY_AFFINITY = ("node(s) didn't match Pod's node affinity/selector",)


@pytest.mark.parametrize(
    ("spec", "feasible"),
    [
        ({"nodeSelector": {"disk": "ssd"}}, {"a", "c"}),
        ({"affinity": required(expressions(("disk", "In", ["ssd"])))}, {"a", "c"}),
        ({"affinity": required(expressions(("disk", "In", ["hdd"])), expressions(("gpu", "Exists", [])))}, {"b", "c"}),
        ({"affinity": required(expressions(("disk", "In", ["ssd"]), ("gpu", "Exists", [])))}, {"c"}),
        ({"nodeSelector": {"disk": "ssd"}, "affinity": required(expressions(("gpu", "Exists", [])))}, {"c"}),
        ({"affinity": required({})}, set()),
    ],
)
def test_node_selector_and_required_affinity(spec: Spec, feasible: set[str]) -> None:
    nodes = {"a": {"disk": "ssd"}, "b": {"disk": "hdd"}, "c": {"disk": "ssd", "gpu": "1"}}
    cache = make_cache([make_node(name, labels=labels) for name, labels in nodes.items()])
    assert refusals(make_pod(**spec), cache) == dict.fromkeys(nodes.keys() - feasible, REFUSED_BY_AFFINITY)


def by_name(*names: str) -> Spec:
    return {"matchFields": [{"key": "metadata.name", "operator": "In", "values": list(names)}]}


def test_terms_that_name_nodes_leave_the_others_out() -> None:
    assert named_nodes([by_name("a"), by_name("b")]) == {"a", "b"}
    assert named_nodes([by_name("a"), expressions(("disk", "Exists", []))]) is None
    cache = make_cache([make_node("a"), make_node("b")])
    result = evaluate(PROFILE, make_cycle(make_pod(affinity=required(by_name("b"))), cache))
    assert [node.name for node in result.feasible] == ["b"]
    assert result.left_out == (1, ("NodeAffinity",))


def test_preferred_affinity_adds_weights() -> None:
    preferred = [
        {"weight": 1, "preference": expressions(("disk", "In", ["ssd"]))},
        {"weight": 50, "preference": expressions(("gpu", "Exists", []))},
    ]
    pod = make_pod(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}})
    nodes = {"a": {"disk": "ssd"}, "b": {}, "c": {"disk": "ssd", "gpu": "1"}}
    cache = make_cache([make_node(name, labels=labels) for name, labels in nodes.items()])
    assert scores("NodeAffinity", pod, cache) == {"a": 100 * 1 // 51, "b": 0, "c": 100}


# PodTopologySpread: the pictures of its documentation page.


def two_zones(pods: dict[str, int]) -> Cache:
    """Nodes 1 and 2 in zone A, 3 and 4 in zone B, with so many pods `foo: bar` each."""
    nodes = [make_node(f"node{n}", labels={ZONE: "A" if n < 3 else "B", "node": f"node{n}"}) for n in range(1, 5)]
    placed = [
        make_pod(f"{node}-{number}", node=node, labels={"foo": "bar"})
        for node, count in pods.items()
        for number in range(count)
    ]
    return make_cache(nodes, placed)


def spread(key: str, *, when: str = "DoNotSchedule", skew: int = 1, **more: Any) -> Spec:
    selector = {"matchLabels": {"foo": "bar"}}
    return {"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": selector, **more}


def feasible(pod: Spec, cache: Cache) -> set[str]:
    return {node.name for node in evaluate(PROFILE, make_cycle(pod, cache)).feasible}


def test_one_spread_constraint() -> None:
    cache = two_zones({"node1": 1, "node2": 1, "node3": 1})
    pod = make_pod(labels={"foo": "bar"}, topologySpreadConstraints=[spread(ZONE)])
    assert feasible(pod, cache) == {"node3", "node4"}
    pod = make_pod(labels={"foo": "bar"}, topologySpreadConstraints=[spread(ZONE, skew=2)])
    assert feasible(pod, cache) == {"node1", "node2", "node3", "node4"}


def test_several_spread_constraints() -> None:
    cache = two_zones({"node1": 1, "node2": 1, "node3": 1})
    pod = make_pod(labels={"foo": "bar"}, topologySpreadConstraints=[spread(ZONE), spread("node")])
    assert feasible(pod, cache) == {"node4"}


def test_conflicting_spread_constraints() -> None:
    nodes = [make_node(f"node{n}", labels={ZONE: "A" if n < 3 else "B", "node": f"node{n}"}) for n in range(1, 4)]
    placed = [
        make_pod(f"{node}-{number}", node=node, labels={"foo": "bar"})
        for node, count in {"node1": 2, "node2": 1, "node3": 2}.items()
        for number in range(count)
    ]
    pod = make_pod(labels={"foo": "bar"}, topologySpreadConstraints=[spread(ZONE), spread("node")])
    assert set(refusals(pod, make_cache(nodes, placed)).values()) == {
        ("node(s) didn't match pod topology spread constraints",)
    }


def test_spread_leaves_out_what_node_affinity_excludes() -> None:
    cache = two_zones({"node1": 1, "node2": 1, "node3": 1})
    cache.set_node(make_node("node5", labels={ZONE: "C", "node": "node5"}))
    pod = make_pod(
        labels={"foo": "bar"},
        topologySpreadConstraints=[spread(ZONE)],
        affinity=required(expressions((ZONE, "NotIn", ["C"]))),
    )
    assert feasible(pod, cache) == {"node3", "node4"}


def test_min_domains_treats_the_minimum_as_zero() -> None:
    cache = two_zones({"node1": 1, "node3": 1})
    pod = make_pod(labels={"foo": "bar"}, topologySpreadConstraints=[spread(ZONE, minDomains=3)])
    assert feasible(pod, cache) == set()
    pod = make_pod(labels={"foo": "bar"}, topologySpreadConstraints=[spread(ZONE, minDomains=2)])
    assert feasible(pod, cache) == {"node1", "node2", "node3", "node4"}


def test_spread_needs_its_label() -> None:
    cache = make_cache([make_node("bare")])
    reason = "node(s) didn't match pod topology spread constraints (missing required label)"
    assert refusals(make_pod(topologySpreadConstraints=[spread(ZONE)]), cache) == {"bare": (reason,)}


def test_taints_policy_honor_leaves_tainted_domains_out() -> None:
    cache = two_zones({"node1": 1, "node2": 1})
    for name in ("node3", "node4"):
        taints = [{"key": "k", "effect": "NoSchedule"}]
        cache.set_node(make_node(name, labels={ZONE: "B", "node": name}, taints=taints))
    pod = make_pod(labels={"foo": "bar"}, topologySpreadConstraints=[spread(ZONE)])
    assert feasible(pod, cache) == set()
    pod = make_pod(labels={"foo": "bar"}, topologySpreadConstraints=[spread(ZONE, nodeTaintsPolicy="Honor")])
    assert feasible(pod, cache) == {"node1", "node2"}


def test_match_label_keys_spread_each_revision_by_itself() -> None:
    cache = two_zones({"node1": 1, "node2": 1})  # of another revision
    constraint = spread(ZONE, matchLabelKeys=["pod-template-hash"])
    pod = make_pod(labels={"foo": "bar", "pod-template-hash": "x"}, topologySpreadConstraints=[constraint])
    assert feasible(pod, cache) == {"node1", "node2", "node3", "node4"}


def test_soft_spread_prefers_the_emptier_zone() -> None:
    cache = two_zones({"node1": 2, "node3": 1})
    pod = make_pod(labels={"foo": "bar"}, topologySpreadConstraints=[spread(ZONE, when="ScheduleAnyway")])
    found = scores("PodTopologySpread", pod, cache)
    assert found["node3"] == found["node4"] == 100
    assert found["node1"] == found["node2"] < 100


class Selecting(NoListers):
    def default_selector(self, pod: PodInfo) -> LabelSelector | None:
        return parse_label_selector("foo=bar")


def test_pods_of_a_workload_spread_softly_by_default() -> None:
    cache = two_zones({"node1": 2})
    cycle = Cycle(PodInfo(make_pod(labels={"foo": "bar"})), cache, Selecting())
    nodes = evaluate(PROFILE, cycle).feasible
    found = dict(zip((n.name for n in nodes), score_table(PROFILE, cycle, nodes)["PodTopologySpread"], strict=True))
    assert found["node1"] < found["node2"] < found["node3"] == found["node4"]


# InterPodAffinity


def near(side: str, key: str, **more: Any) -> Spec:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": {"foo": "bar"}}, **more}
    return {side: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_required_affinity_wants_the_place_of_a_matching_pod() -> None:
    cache = two_zones({"node3": 1})
    pod = make_pod(affinity=near("podAffinity", ZONE))
    assert feasible(pod, cache) == {"node3", "node4"}
    assert set(refusals(pod, cache).values()) == {("node(s) didn't match pod affinity rules",)}


def test_the_first_of_a_group_may_go_anywhere() -> None:
    cache = two_zones({})
    assert feasible(make_pod(affinity=near("podAffinity", ZONE)), cache) == set()
    assert len(feasible(make_pod(labels={"foo": "bar"}, affinity=near("podAffinity", ZONE)), cache)) == 4


def test_required_anti_affinity_works_both_ways() -> None:
    cache = two_zones({"node3": 1})
    pod = make_pod(affinity=near("podAntiAffinity", ZONE))
    assert feasible(pod, cache) == {"node1", "node2"}
    assert set(refusals(pod, cache).values()) == {("node(s) didn't match pod anti-affinity rules",)}
    cache = two_zones({})
    cache.set_pod(PodInfo(make_pod("hermit", node="node1", affinity=near("podAntiAffinity", HOST))))
    reasons = ("node(s) didn't satisfy existing pods anti-affinity rules",)
    assert refusals(make_pod(labels={"foo": "bar"}), cache) == {"node1": reasons}


def test_affinity_speaks_of_its_own_namespace_unless_it_names_others() -> None:
    cache = two_zones({})
    cache.set_namespace("other", {"team": "x"})
    cache.set_pod(PodInfo(make_pod("far", namespace="other", node="node1", labels={"foo": "bar"})))
    assert feasible(make_pod(affinity=near("podAffinity", ZONE)), cache) == set()
    assert feasible(make_pod(affinity=near("podAffinity", ZONE, namespaces=["other"])), cache) == {"node1", "node2"}
    for selector, expected in (({"matchLabels": {"team": "x"}}, 2), ({}, 2), ({"matchLabels": {"team": "y"}}, 0)):
        pod = make_pod(affinity=near("podAffinity", ZONE, namespaceSelector=selector))
        assert len(feasible(pod, cache)) == expected


def test_mismatch_label_keys_keep_tenants_apart() -> None:
    cache = two_zones({})
    cache.set_pod(PodInfo(make_pod("o", node="node1", labels={"foo": "bar", "tenant": "1"})))
    away = near("podAntiAffinity", ZONE, mismatchLabelKeys=["tenant"])
    assert feasible(make_pod(labels={"tenant": "2"}, affinity=away), cache) == {"node3", "node4"}
    assert len(feasible(make_pod(labels={"tenant": "1"}, affinity=away), cache)) == 4


def test_preferred_affinity_scores_both_ways() -> None:
    cache = two_zones({"node3": 1})
    term = {"topologyKey": ZONE, "labelSelector": {"matchLabels": {"foo": "bar"}}}
    entry = [{"weight": 5, "podAffinityTerm": term}]
    liked = make_pod(affinity={"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": entry}})
    assert scores("InterPodAffinity", liked, cache) == {"node1": 0, "node2": 0, "node3": 100, "node4": 100}
    shy = make_pod(affinity={"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": entry}})
    assert scores("InterPodAffinity", shy, cache) == {"node1": 100, "node2": 100, "node3": 0, "node4": 0}
    cache.set_pod(PodInfo(make_pod("host", node="node1", affinity=liked["spec"]["affinity"])))
    assert scores("InterPodAffinity", make_pod(labels={"foo": "bar"}), cache)["node2"] == 100


# ImageLocality


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a", "a:latest"), ("a:1", "a:1"), ("r:5000/a", "r:5000/a:latest"), ("a@sha256:0", "a@sha256:0")],
)
def test_image_names(name: str, expected: str) -> None:
    assert normalized_image_name(name) == expected


def test_image_locality() -> None:
    assert priority_of(0, 1) == 0
    assert priority_of(1000 * 2**20, 1) == 100
    cache = make_cache([make_node("a", images={"app:1": 2000 * 2**20}), make_node("b")])
    found = scores("ImageLocality", make_pod(), cache)
    assert found == {"a": 100, "b": 0}  # 2000 MiB on one node of two count as 1000


# What events help


@pytest.mark.parametrize(
    ("plugin", "event", "expected"),
    [
        (NodeResourcesFit(), ClusterEvent(NODES, Action.ADD, new=make_node(cpu="4")), True),
        (NodeResourcesFit(), ClusterEvent(NODES, Action.ADD, new=make_node(cpu="500m")), False),
        (
            NodeResourcesFit(),
            ClusterEvent(NODES, Action.UPDATE, old=make_node(cpu="4"), new=make_node(cpu="4", labels={"x": "y"})),
            False,
        ),
        (NodeResourcesFit(), ClusterEvent(PODS, Action.DELETE, old_pod=PodInfo(make_pod(node="n"))), True),
        (NodeResourcesFit(), ClusterEvent(PODS, Action.DELETE, old_pod=PodInfo(make_pod())), False),
        (
            TaintToleration(),
            ClusterEvent(NODES, Action.UPDATE, old=make_node(), new=make_node(taints=[{"effect": "NoSchedule"}])),
            False,
        ),
        (TaintToleration(), ClusterEvent(NODES, Action.UPDATE, old=make_node(), new=make_node()), True),
    ],
)
def test_hints(plugin: Plugin, event: ClusterEvent, expected: bool) -> None:
    assert plugin.may_help(PodInfo(make_pod("waiting", cpu="1")), event) is expected


@pytest.mark.parametrize(
    ("raw", "reverse", "expected"),
    [([0, 0], False, [0, 0]), ([0, 0], True, [100, 100]), ([1, 2, 4], False, [25, 50, 100]), ([1, 3], True, [67, 0])],
)
def test_normalisation(raw: list[int], reverse: bool, expected: list[int]) -> None:
    assert normalized(raw, reverse=reverse) == expected
