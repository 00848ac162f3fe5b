"""KubeSchedulerConfiguration: what it changes, and that every mistake is one clear line."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from orchestrator.api.selectors import LabelSelector, from_label_selector
from orchestrator.scheduler.configuration import parse_configuration
from orchestrator.scheduler.fields import ConfigurationError
from orchestrator.scheduler.framework import Cycle, NoListers, Plugin
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.planner import Placed, Planner, Refused
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.profile import Profile
from tests.unit.scheduler.builders import ZONE, make_cache, make_node, make_pod


def profile_of(**entry: Any) -> Profile:
    return parse_configuration({"profiles": [entry]}).profiles[0]


def args(name: str, **arguments: Any) -> dict[str, Any]:
    return {"pluginConfig": [{"name": name, "args": arguments}]}


def places(profile: Profile, used: dict[str, Any], count: int = 1) -> list[str]:
    """Where pods go on two nodes, one of which has a pod with these requests already."""
    cache = make_cache([make_node("a", cpu="4"), make_node("b", cpu="4")])
    cache.set_pod(PodInfo(make_pod("used", node="a", **used)))
    planner = Planner(profile, cache)
    found = []
    for number in range(count):
        pod = PodInfo(make_pod(f"p{number}", cpu="100m", memory="100Mi"))
        decision = planner.plan(pod)
        assert isinstance(decision, Placed)
        cache.assume(pod, decision.node)
        found.append(decision.node.name)
    return found


@pytest.mark.parametrize(
    ("strategy", "node"),
    [
        ({}, "b"),
        ({"type": "LeastAllocated"}, "b"),
        ({"type": "MostAllocated"}, "a"),
        (
            {
                "type": "RequestedToCapacityRatio",
                "requestedToCapacityRatio": {
                    "shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]
                },
            },
            "a",
        ),
    ],
)
def test_the_scoring_strategy_decides_between_spreading_and_packing(strategy: dict[str, Any], node: str) -> None:
    profile = profile_of(**args("NodeResourcesFit", scoringStrategy=strategy))
    assert places(profile, {"cpu": "1", "memory": "2Gi"}) == [node]


def test_weights_of_plugins_count() -> None:
    packing = args(
        "NodeResourcesFit", scoringStrategy={"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 1}]}
    )
    # Uneven use of node a: balanced allocation speaks against it, the more the heavier it weighs.
    uneven = {"cpu": "3", "memory": "10Mi"}
    assert places(profile_of(**packing), uneven) == ["a"]
    enabled = [{"name": "NodeResourcesBalancedAllocation", "weight": 50}]
    assert places(profile_of(**packing, plugins={"multiPoint": {"enabled": enabled}}), uneven) == ["b"]


def test_a_disabled_filter_refuses_nobody() -> None:
    cache = make_cache([make_node("a", taints=[{"key": "k", "effect": "NoSchedule"}])])
    pod = PodInfo(make_pod())
    assert isinstance(Planner(profile_of(), cache).plan(pod), Refused)
    profile = profile_of(plugins={"filter": {"disabled": [{"name": "TaintToleration"}]}})
    assert isinstance(Planner(profile, cache).plan(pod), Placed)
    assert "TaintToleration" in [plugin.name for plugin, _ in profile.scorers]


class Selecting(NoListers):
    """A Service selects every pod labelled `app: web`."""

    def default_selector(self, pod: PodInfo) -> LabelSelector | None:
        return from_label_selector({"matchLabels": {"app": "web"}})


def test_cluster_default_constraints_hold_pods_without_their_own() -> None:
    defaults = [{"topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]
    profile = profile_of(**args("PodTopologySpread", defaultConstraints=defaults, defaultingType="List"))
    nodes = [make_node("a", labels={ZONE: "x"}), make_node("b", labels={ZONE: "y"}, cpu="100m")]
    web = {"app": "web"}
    cache = make_cache(nodes, [make_pod("one", labels=web, node="a")])
    pod = PodInfo(make_pod("two", labels=web, cpu="1"))
    decision = Planner(profile, cache, listers=Selecting()).plan(pod)
    assert isinstance(decision, Refused)
    assert "1 node(s) didn't match pod topology spread constraints" in decision.message
    assert isinstance(Planner(profile_of(), cache, listers=Selecting()).plan(pod), Placed)  # softly by default


def test_preemption_can_be_switched_off() -> None:
    cache = make_cache([make_node("a", cpu="1")], [make_pod("low", cpu="1", node="a")])
    pod = PodInfo(make_pod("high", cpu="1", priority=10))
    on = Planner(profile_of(), cache).plan(pod)
    assert isinstance(on, Refused)
    assert on.preemption is not None
    off = Planner(profile_of(plugins={"postFilter": {"disabled": [{"name": "DefaultPreemption"}]}}), cache).plan(pod)
    assert isinstance(off, Refused)
    assert off.preemption is None
    assert off.message == "0/1 nodes are available: 1 Insufficient cpu."


def test_back_off_and_enough_candidates() -> None:
    config = parse_configuration(
        {
            "podInitialBackoffSeconds": 2,
            "podMaxBackoffSeconds": 20,
            "parallelism": 4,
            "leaderElection": {"leaderElect": False},
            "profiles": [
                {
                    "pluginConfig": [
                        {
                            "name": "DefaultPreemption",
                            "args": {"minCandidateNodesPercentage": 50, "minCandidateNodesAbsolute": 7},
                        }
                    ]
                }
            ],
        }
    )
    assert (config.backoff_initial_seconds, config.backoff_seconds_max) == (2.0, 20.0)
    assert config.profiles[0].candidates_enough == (50, 7)


class Lucky(Plugin):
    """A third party's score."""

    name = "Lucky"

    def score(self, cycle: Cycle, node: NodeInfo) -> int:
        return 100 if node.name == self.arguments["node"] else 0


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two distributions that offer something under the entry point group of scheduler plugins."""
    entries = [EntryPoint(name="Lucky", value=f"{__name__}:Lucky", group="orchestrator.scheduler_plugins")]
    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda group: [entry for entry in entries if entry.group == group],
    )


@pytest.mark.usefixtures("installed")
def test_a_third_party_plugin_is_found_by_its_entry_point() -> None:
    enabled = {"plugins": {"score": {"enabled": [{"name": "Lucky", "weight": 9}]}}}
    profile = profile_of(**enabled, **args("Lucky", node="a"))
    assert places(profile, {"cpu": "3", "memory": "2Gi"}, count=3) == ["a", "a", "a"]


def plugin_set(point: str, **change: Any) -> dict[str, Any]:
    return {"profiles": [{"plugins": {point: change}}]}


def with_args(name: str, **arguments: Any) -> dict[str, Any]:
    return {"profiles": [args(name, **arguments)]}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"profile": []}, 'unknown field "profile"'),
        ({"podMaxBackoffSeconds": "10"}, "podMaxBackoffSeconds must be a whole number, not '10'"),
        ({"podInitialBackoffSeconds": 0}, "podInitialBackoffSeconds: must be greater than 0"),
        ({"apiVersion": "kubescheduler.config.k8s.io/v1beta3"}, "apiVersion: 'kubescheduler.config.k8s.io/v1beta3'"),
        ({"extenders": [{"urlPrefix": "http://x"}]}, "extenders: not supported"),
        ({"profiles": ["x"]}, "profiles[0]: the configuration must be a map"),
        ({"profiles": [{"schedulername": "x"}]}, 'profiles[0]: unknown field "schedulername"'),
        ({"profiles": [{"plugins": {"filters": {}}}]}, 'unknown field "plugins.filters"'),
        (plugin_set("filter", enable=[]), 'unknown field "plugins.filter.enable"'),
        (plugin_set("score", enabled=[{"name": "Nope"}]), 'plugin "Nope" does not exist'),
        (plugin_set("score", enabled=[{"weight": 1}]), "plugins.score.enabled[0].name: Required value"),
        (plugin_set("score", enabled=[{"name": "NodeResourcesFit", "weight": "2"}]), "weight must be a whole number"),
        (plugin_set("queueSort", disabled=[{"name": "*"}]), "PrioritySort has no substitute"),
        (with_args("Nope"), 'plugin "Nope" is not enabled'),
        (with_args("NodeResourcesFit", strategy={}), 'unknown field "NodeResourcesFit.args.strategy"'),
        (with_args("NodeResourcesFit", scoringStrategy={"type": "Best"}), "Unsupported value: 'Best'"),
        (
            with_args("NodeResourcesFit", scoringStrategy={"resources": [{"name": "cpu", "weight": 101}]}),
            "resources[0].weight: Invalid value: 101: not in valid range [1-100]",
        ),
        (
            with_args("NodeResourcesFit", scoringStrategy={"type": "RequestedToCapacityRatio"}),
            "requestedToCapacityRatio.shape: Required value",
        ),
        (with_args("InterPodAffinity", hardPodAffinityWeight=101), "not in valid range [0-100]"),
        (
            with_args(
                "PodTopologySpread",
                defaultConstraints=[{"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}],
            ),
            "it must be List",
        ),
        (
            with_args("PodTopologySpread", defaultingType="List", defaultConstraints=[{"topologyKey": "zone"}]),
            "defaultConstraints[0].maxSkew: Invalid value: None",
        ),
        (with_args("DefaultPreemption", minCandidateNodesPercentage=101), "not in valid range [0-100]"),
    ],
)
def test_a_mistake_is_named_in_one_line(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(document)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
