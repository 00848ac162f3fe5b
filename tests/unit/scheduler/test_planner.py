"""Decisions as a whole: messages in kube-scheduler's words, nominations, preemption, profiles, explanations."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.objects import Object
from orchestrator.scheduler.cache import Cache
from orchestrator.scheduler.configuration import parse_configuration
from orchestrator.scheduler.explain import explain
from orchestrator.scheduler.fields import ConfigurationError
from orchestrator.scheduler.framework import Cycle, NoListers, Plugin, Verdict
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.planner import Placed, Planner, Refused
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.pod_writer import plan_refusal
from orchestrator.scheduler.profile import default_profile
from tests.unit.scheduler.builders import make_cache, make_node, make_pod

PROFILE = default_profile()


def plan(cache: Cache, pod: Object, times: int = 1) -> Placed | Refused:
    planner = Planner(PROFILE, cache)
    for _ in range(times - 1):
        planner.plan(PodInfo(pod))
    return planner.plan(PodInfo(pod))


def test_no_nodes() -> None:
    assert plan(Cache(), make_pod()) == Refused("no nodes available to schedule pods", frozenset())


@pytest.mark.parametrize("times", [1, 2, 3])  # by the pass over all nodes, then from the heap
def test_the_message_names_each_reason_with_its_count(times: int) -> None:
    cache = make_cache(
        [
            make_node("a", taints=[{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]),
            make_node("b", cpu="2"),
            make_node("c", cpu="2"),
        ],
        [make_pod("other", cpu="1", node="c")],
    )
    decision = plan(cache, make_pod(cpu="1500m", nodeSelector={}), times)
    assert isinstance(decision, Placed)
    decision = plan(cache, make_pod(cpu="3"), times)
    assert isinstance(decision, Refused)
    assert decision.message == (
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. "
        "no new claims to deallocate, preemption: 0/3 nodes are available: "
        "3 Preemption is not helpful for scheduling."
    )
    assert decision.plugins == {"TaintToleration", "NodeResourcesFit"}


@pytest.mark.parametrize("times", [1, 3])
def test_a_full_node_without_less_important_pods(times: int) -> None:
    cache = make_cache([make_node("a", cpu="2"), make_node("b", cpu="1")], [make_pod("other", cpu="1", node="a")])
    decision = plan(cache, make_pod(cpu="2"), times)
    assert isinstance(decision, Refused)
    assert decision.message == (
        "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: "
        "0/2 nodes are available: 1 No preemption victims found for incoming pod, "
        "1 Preemption is not helpful for scheduling."
    )


def test_reasons_are_sorted_as_text() -> None:
    nodes = [make_node(f"n{number}", cpu="1") for number in range(10)]
    tainted = [make_node(f"t{number}", taints=[{"key": "k", "effect": "NoSchedule"}]) for number in range(2)]
    decision = plan(make_cache([*nodes, *tainted]), make_pod(cpu="5"))
    assert isinstance(decision, Refused)
    assert "10 Insufficient cpu, 2 node(s) had untolerated taint(s)." in decision.message


def test_a_daemon_pod_speaks_of_the_nodes_that_it_does_not_want() -> None:
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    decision = plan(
        make_cache([make_node("a", cpu="1"), make_node("b"), make_node("c")]), make_pod(cpu="2", affinity=affinity)
    )
    assert isinstance(decision, Refused)
    assert decision.message.startswith(
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    )


# Preemption


def full_cluster(**pods: dict[str, Any]) -> Cache:
    """One node for each pod that runs, all full."""
    nodes = sorted({pod.get("node", "a") for pod in pods.values()})
    running = [make_pod(name, **{"cpu": "1", "node": "a", **pod}) for name, pod in pods.items()]
    return make_cache([make_node(node, cpu="1") for node in nodes], running)


def victims(decision: Placed | Refused) -> tuple[str, list[str]]:
    assert isinstance(decision, Refused)
    assert decision.preemption is not None, decision.message
    return decision.preemption.node.name, [victim.name for victim in decision.preemption.victims]


def started(time: str) -> dict[str, Any]:
    return {"status": {"startTime": f"2026-01-01T{time}Z"}}


@pytest.mark.parametrize("times", [1, 3])
def test_the_least_important_pod_is_evicted(times: int) -> None:
    cache = full_cluster(low={"priority": 1, "node": "a"}, lower={"priority": 0, "node": "b"})
    assert victims(plan(cache, make_pod(cpu="1", priority=10), times)) == ("b", ["lower"])


def test_only_as_many_as_needed() -> None:
    cache = full_cluster(
        one={"cpu": "300m", "priority": 1}, two={"cpu": "300m", "priority": 2}, three={"cpu": "300m", "priority": 3}
    )
    assert victims(plan(cache, make_pod(cpu="500m", priority=10))) == ("a", ["two", "one"])
    assert victims(plan(cache, make_pod(cpu="300m", priority=10))) == ("a", ["one"])


def test_among_equals_the_one_that_started_last() -> None:
    cache = full_cluster(old={"node": "a", **started("01:00:00")}, young={"node": "b", **started("02:00:00")})
    assert victims(plan(cache, make_pod(cpu="1", priority=10))) == ("b", ["young"])


class Budgets(NoListers):
    def disruption_budgets(self, namespace: str) -> list[Object]:
        return [
            {
                "metadata": {"name": "pdb", "namespace": namespace},
                "spec": {"selector": {"matchLabels": {"app": "guarded"}}},
                "status": {"disruptionsAllowed": 0},
            }
        ]


def test_a_disruption_budget_protects() -> None:
    cache = full_cluster(
        guarded={"node": "a", "priority": 0, "labels": {"app": "guarded"}}, free={"node": "b", "priority": 5}
    )
    decision = Planner(PROFILE, cache, listers=Budgets()).plan(PodInfo(make_pod(cpu="1", priority=10)))
    assert victims(decision) == ("b", ["free"])


def test_preemption_policy_never() -> None:
    cache = full_cluster(low={})
    decision = plan(cache, make_pod(cpu="1", priority=10, preemptionPolicy="Never"))
    assert isinstance(decision, Refused)
    assert decision.preemption is None
    assert decision.message.endswith("preemption: not eligible due to preemptionPolicy=Never.")


def test_no_second_eviction_while_the_first_victim_terminates() -> None:
    cache = full_cluster(low={}, other={"node": "b"})
    victim = make_pod(
        "low",
        cpu="1",
        node="a",
        status={"conditions": [{"type": "DisruptionTarget", "reason": "PreemptionByScheduler"}]},
    )
    victim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cache.set_pod(PodInfo(victim))
    decision = plan(cache, make_pod(cpu="1", priority=10, status={"nominatedNodeName": "a"}))
    assert isinstance(decision, Refused)
    assert decision.preemption is None
    assert "not eligible due to a terminating pod on the nominated node." in decision.message


@pytest.mark.parametrize("times", [1, 3])
def test_room_that_is_promised_is_not_taken_by_the_less_important(times: int) -> None:
    cache = make_cache([make_node("a", cpu="1")])
    planner = Planner(PROFILE, cache)
    planner.nominations.set(PodInfo(make_pod("vip", cpu="1", priority=10)), "a")
    for _ in range(times):
        decision = planner.plan(PodInfo(make_pod(cpu="1", priority=5)))
    assert isinstance(decision, Refused)
    assert isinstance(planner.plan(PodInfo(make_pod("king", cpu="1", priority=20))), Placed)
    assert planner.plan(PodInfo(make_pod("vip", cpu="1", priority=10))) == Placed(cache.nodes["a"])


# Reports


def test_the_condition_is_written_only_when_it_changes() -> None:
    pod = make_pod()
    status = plan_refusal(pod, "why", now="T1")
    assert status == {
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "why",
                "lastTransitionTime": "T1",
                "lastProbeTime": None,
            }
        ]
    }
    pod["status"].update(status)
    assert plan_refusal(pod, "why", now="T2") is None
    changed = plan_refusal(pod, "other", now="T2")
    assert changed is not None
    assert changed["conditions"][0]["lastTransitionTime"] == "T1"
    pod["status"]["nominatedNodeName"] = "a"
    assert plan_refusal(pod, "why", now="T2") == {"nominatedNodeName": None}
    assert plan_refusal(pod, "why", now="T2", nominated_node_name="b") == {"nominatedNodeName": "b"}


def test_explain() -> None:
    cache = make_cache(
        [
            make_node("big", cpu="8"),
            make_node("small"),
            make_node("tiny", cpu="1"),
            make_node("off", unschedulable=True),
        ]
    )
    found = explain(PROFILE, cache, PodInfo(make_pod(cpu="2", memory="1Gi")))
    assert [line.node for line in found.nodes] == ["big", "small", "off", "tiny"]
    big = found.nodes[0]
    assert big.is_feasible
    assert big.scores["NodeResourcesFit"] == (75 + 87) // 2
    assert big.total == sum(big.scores.values())
    assert [(verdict.plugin, verdict.reasons) for verdict in found.nodes[3].verdicts] == [
        ("NodeResourcesFit", ("Insufficient cpu",))
    ]
    assert found.nodes[3].changes == ("a larger node: cpu 2 is requested, it has 1 in all",)
    assert found.message == ""
    assert explain(PROFILE, cache, PodInfo(make_pod(cpu="20"))).message == (
        "0/4 nodes are available: 1 node(s) were unschedulable, 3 Insufficient cpu. "
        "no new claims to deallocate, preemption: 0/4 nodes are available: "
        "4 Preemption is not helpful for scheduling."
    )


# Profiles


class Friday(Plugin):
    """A third party's filter, of which nobody knows what it reads."""

    name = "Friday"

    def filter(self, cycle: Cycle, node: NodeInfo) -> Verdict | None:
        wanted = self.arguments.get("node")
        return None if node.name == wanted else Verdict(self.name, ("node(s) closed on Friday",))


def test_a_third_party_plugin_from_the_configuration() -> None:
    config = parse_configuration(
        {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "profiles": [
                {
                    "schedulerName": "mine",
                    "plugins": {"filter": {"enabled": [{"name": "Friday"}]}},
                    "pluginConfig": [{"name": "Friday", "args": {"node": "b"}}],
                },
                {"plugins": {"multiPoint": {"disabled": [{"name": "TaintToleration"}]}}},
            ],
        },
        registry={"Friday": Friday},
    )
    mine, default = config.profiles
    cache = make_cache([make_node("a"), make_node("b")])
    planner = Planner(mine, cache)
    for _ in range(3):
        decision = planner.plan(PodInfo(make_pod()))
        assert isinstance(decision, Placed)
        assert decision.node.name == "b"
    assert default.scheduler_name == "default-scheduler"
    assert "TaintToleration" not in {plugin.name for plugin in default.plugins}


def test_weights_come_from_the_configuration() -> None:
    profile = parse_configuration(
        {
            "profiles": [
                {
                    "plugins": {
                        "score": {
                            "disabled": [{"name": "*"}],
                            "enabled": [{"name": "NodeResourcesFit", "weight": 7}],
                        }
                    }
                }
            ]
        }
    ).profiles[0]
    assert [(plugin.name, weight) for plugin, weight in profile.scorers] == [("NodeResourcesFit", 7)]
    assert len(profile.filters) > 5


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"kind": "Pod"}, "kind"),
        ({"podInitialBackoffSeconds": 5, "podMaxBackoffSeconds": 1}, "podMaxBackoffSeconds"),
        ({"profiles": [{"plugins": {"filter": {"enabled": [{"name": "Nope"}]}}}]}, '"Nope" does not exist'),
        ({"profiles": [{}, {}]}, "Duplicate value"),
        (
            {
                "profiles": [
                    {"pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "X"}}}]}
                ]
            },
            r"profiles\[0\].*scoringStrategy",
        ),
    ],
)
def test_a_wrong_configuration_is_named(document: Object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_configuration(document)


def test_a_nominated_node_that_would_not_take_the_pod_anyhow_is_not_waited_for() -> None:
    cache = full_cluster(low={}, other={"node": "b"})
    victim = make_pod(
        "low",
        cpu="1",
        node="a",
        status={"conditions": [{"type": "DisruptionTarget", "reason": "PreemptionByScheduler"}]},
    )
    victim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cache.set_pod(PodInfo(victim))
    cache.set_node(make_node("a", cpu="1", unschedulable=True))
    assert victims(plan(cache, make_pod(cpu="1", priority=10, status={"nominatedNodeName": "a"}))) == ("b", ["other"])
