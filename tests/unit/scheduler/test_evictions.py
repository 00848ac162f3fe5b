"""The pool of eviction plans agrees with trying every node: the same harm done, the same message."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.scheduler.algorithm import evaluate, score_table, total_scores
from orchestrator.scheduler.cache import Cache
from orchestrator.scheduler.framework import NoListers
from orchestrator.scheduler.planner import Placed, Planner, Refused
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.preemption import harm_of
from orchestrator.scheduler.profile import default_profile
from tests.unit.scheduler.builders import make_cache, make_node, make_pod

PROFILE = default_profile()


class Budgets(NoListers):
    """One budget for the pods labelled `app: a`."""

    def __init__(self) -> None:
        self.allowed = 1
        self.version = 0

    @property
    def budgets_version(self) -> int:
        return self.version

    def disruption_budgets(self, namespace: str) -> list[dict[str, Any]]:
        spec = {"selector": {"matchLabels": {"app": "a"}}}
        return [{"metadata": {"name": "a"}, "spec": spec, "status": {"disruptionsAllowed": self.allowed}}]


def running(random: Random, number: int) -> PodInfo:
    status = {"startTime": f"2026-01-01T00:00:{random.randint(10, 59)}Z"}
    return PodInfo(
        make_pod(
            f"r{number}",
            cpu=random.choice(["300m", "500m", "1"]),
            priority=random.randint(-1, 3),
            labels={"app": random.choice("ab")},
            node=f"n{random.randrange(6)}",
            status=status,
        )
    )


def outcome(decision: Placed | Refused) -> Any:
    if isinstance(decision, Placed):
        return "placed"
    chosen = decision.preemption
    return decision.message, None if chosen is None else harm_of(chosen)


def check(cache: Cache, planner: Planner, pod: PodInfo) -> Placed | Refused:
    decision = planner.plan(pod)
    afresh = Planner(PROFILE, cache, listers=planner._listers, nominations=planner.nominations)
    assert outcome(decision) == outcome(afresh._plan_over_all(afresh.cycle(pod)))
    if isinstance(decision, Placed):
        cycle = afresh.cycle(pod)
        nodes = evaluate(PROFILE, cycle, planner.nominations).feasible
        totals = total_scores(score_table(PROFILE, cycle, nodes), len(nodes))
        by_name = {node.name: total for node, total in zip(nodes, totals, strict=True)}
        assert by_name[decision.node.name] == max(totals)
    return decision


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_equal_to_trying_every_node(seed: int) -> None:
    """A random history of pods that come and go, budgets that change, and nodes promised to others."""
    random = Random(seed)
    taints = [{"key": "k", "effect": "NoSchedule"}]
    cache = make_cache([make_node(f"n{n}", cpu="1", taints=taints if n == 5 else None) for n in range(6)])
    budgets = Budgets()
    planner = Planner(PROFILE, cache, listers=budgets)
    present: list[str] = []
    for number in range(40):
        step = random.choices(["plan", "run", "end", "budget", "node"], [8, 8, 3, 1, 1])[0]
        if step == "plan":
            cpu = random.choice(["700m", "900m", "2"])
            pod = PodInfo(make_pod(f"p{number}", cpu=cpu, priority=random.choice([0, 2, 5])))
            decision = check(cache, planner, pod)
            if isinstance(decision, Placed):
                cache.assume(pod, decision.node)
                present.append(pod.uid)
            elif decision.preemption is not None:
                planner.nominations.set(pod, decision.preemption.node.name)
        elif step == "run":
            other = running(random, number)
            cache.set_pod(other)
            present.append(other.uid)
        elif step == "end":
            if present:
                cache.remove_pod(present.pop(random.randrange(len(present))))
        elif step == "budget":
            budgets.allowed = random.randint(0, 2)
            budgets.version += 1
        else:
            cache.set_node(make_node(f"n{random.randrange(5)}", cpu=random.choice(["1", "2"])))


def test_a_nodes_plan_is_made_anew_only_when_the_node_changed() -> None:
    nodes = [make_node(f"n{number}", cpu="1") for number in range(300)]
    pods = [make_pod(f"low{number}", cpu="1", node=f"n{number}") for number in range(300)]
    cache = make_cache(nodes, pods)
    planner = Planner(PROFILE, cache)
    chosen = []
    for number in range(8):
        pod = PodInfo(make_pod(f"high{number}", cpu="1", priority=10))
        decision = planner.plan(pod)
        assert isinstance(decision, Refused)
        assert decision.preemption is not None
        chosen.append(decision.preemption.node.name)
        planner.nominations.set(pod, chosen[-1])
    assert len(set(chosen)) == 8
    placement = planner._placements.find(planner.cycle(PodInfo(make_pod("x", cpu="1", priority=10))))
    assert placement is not None
    pool = placement.evictions(10)
    assert len(pool._plans) <= 100 + 8


def test_eviction_stays_possible_when_filters_look_at_other_nodes() -> None:
    """Anti-affinity of others: no pool, every node is tried."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    labels = {"app": "web"}
    cache = make_cache([make_node("a")], [make_pod("low", node="a", labels=labels, affinity=anti)])
    planner = Planner(PROFILE, cache)
    for _ in range(3):
        decision = planner.plan(PodInfo(make_pod("high", priority=1, labels=labels, affinity=anti)))
        assert isinstance(decision, Refused)
        assert decision.preemption is not None
        assert [victim.name for victim in decision.preemption.victims] == ["low"]
