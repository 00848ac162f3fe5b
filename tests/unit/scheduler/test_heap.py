"""The heap agrees with the pass over all nodes: same feasible set, a node of the same best score."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.scheduler.algorithm import evaluate, score_table, total_scores
from orchestrator.scheduler.cache import Cache
from orchestrator.scheduler.framework import Cycle, NoListers
from orchestrator.scheduler.heap import Placement, Placements
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.profile import default_profile
from tests.unit.scheduler.builders import HOST, ZONE, make_cache, make_node, make_pod

PROFILE = default_profile()
APP = {"matchLabels": {"app": "a"}}


def node_of(number: int, cpu: int, zone: int, taint: int, label: str, image: bool) -> dict[str, Any]:
    taints = [[], [{"key": "soft", "effect": "PreferNoSchedule"}], [{"key": "hard", "effect": "NoSchedule"}]][taint]
    labels = {"disk": label}
    if zone:
        labels[ZONE] = f"z{zone}"
    return make_node(
        f"n{number}",
        cpu=str(cpu),
        pods="4",
        labels=labels,
        taints=taints,
        images={"app:1": 500 * 2**20} if image else None,
    )


def spread(key: str, when: str, **more: Any) -> dict[str, Any]:
    constraint = {"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": when, "labelSelector": APP, **more}
    return {"topologySpreadConstraints": [constraint]}


def pod_affinity(side: str, key: str, *, weight: int = 0) -> dict[str, Any]:
    term = {"topologyKey": key, "labelSelector": APP}
    if weight:
        preferred = [{"weight": weight, "podAffinityTerm": term}]
        return {"affinity": {side: {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}}
    return {"affinity": {side: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


PREFER_SSD = {
    "affinity": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 7, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["s"]}]}}
            ]
        }
    }
}
SPECS: list[dict[str, Any]] = [
    {},
    {"tolerations": [{"operator": "Exists"}]},
    {"nodeSelector": {"disk": "s"}},
    PREFER_SSD,
    spread(ZONE, "DoNotSchedule"),
    spread(HOST, "DoNotSchedule"),
    spread(ZONE, "DoNotSchedule", minDomains=3, nodeTaintsPolicy="Honor"),
    spread(ZONE, "ScheduleAnyway"),
    spread(HOST, "ScheduleAnyway"),
    {
        "topologySpreadConstraints": [
            *spread(ZONE, "ScheduleAnyway")["topologySpreadConstraints"],
            *spread(HOST, "ScheduleAnyway")["topologySpreadConstraints"],
        ]
    },
    pod_affinity("podAffinity", ZONE),
    pod_affinity("podAntiAffinity", HOST),
    pod_affinity("podAntiAffinity", ZONE),
    pod_affinity("podAffinity", ZONE, weight=10),
    pod_affinity("podAntiAffinity", HOST, weight=10),
]
Kind = tuple[dict[str, Any], str, str, bool]


def random_kind(random: Random) -> Kind:
    return random.choice(SPECS), random.choice("ab"), random.choice(["", "200m", "500m"]), random.random() < 0.1


def random_node(random: Random, number: int) -> dict[str, Any]:
    taint = random.choice([0, 0, 0, 1, 2])
    return node_of(
        number, random.randint(1, 4), random.randint(0, 2), taint, random.choice("sh"), random.random() < 0.3
    )


def build(kind: Kind, name: str) -> PodInfo:
    spec, app, cpu, has_port = kind
    ports = [{"hostPort": 80}] if has_port else None
    return PodInfo(make_pod(name, labels={"app": app}, cpu=cpu, ports=ports, **spec))


def check(placement: Placement, cache: Cache, pod: PodInfo) -> str | None:
    cycle = Cycle(pod, cache, NoListers())
    result = evaluate(PROFILE, cycle)
    placement.catch_up()
    assert placement.feasible() == {node.name for node in result.feasible}
    assert dict(placement.refusals()) == {
        verdict: list(result.refused.values()).count(verdict) for verdict in result.refused.values()
    }
    assert {node.name: verdict for node, verdict in placement.refused()} == result.refused
    chosen = placement.choose()
    if not result.feasible:
        assert chosen is None
        return None
    assert chosen is not None
    totals = total_scores(score_table(PROFILE, cycle, result.feasible), len(result.feasible))
    by_name = {node.name: total for node, total in zip(result.feasible, totals, strict=True)}
    assert by_name[chosen[0].name] == max(totals)
    return chosen[0].name


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_equal_to_the_pass_over_all_nodes(seed: int) -> None:
    """A random cluster with a long random history; three kinds of pods, some of outsiders."""
    random = Random(seed)
    cache = make_cache([random_node(random, number) for number in range(random.randint(1, 8))])
    pod_kinds = [random_kind(random) for _ in range(3)]
    placements: dict[Any, Placement] = {}
    known = Placements(PROFILE)
    placed: list[str] = []
    for count in range(40):
        step = random.choices(["place", "remove", "node", "node-gone", "outsider"], [12, 4, 1, 0.5, 3])[0]
        if step == "place":
            pod = build(random.choice(pod_kinds), f"p{count}")
            cycle = Cycle(pod, cache, NoListers())
            signature = known.signature(cycle)
            assert signature is not None
            if signature not in placements:
                placements[signature] = Placement(PROFILE, cycle)
            name = check(placements[signature], cache, pod)
            if name is not None:
                cache.assume(pod, cache.nodes[name])
                placed.append(pod.uid)
        elif step == "remove":
            if placed:
                cache.remove_pod(placed.pop(random.randrange(len(placed))))
        elif step == "node":
            cache.set_node(random_node(random, random.randrange(8)))
        elif step == "node-gone":
            cache.remove_node(f"n{random.randrange(8)}")
        else:
            outsider = make_pod(f"o{count}", labels={"app": random.choice("ab")}, node=f"n{random.randrange(8)}")
            if random.random() < 0.3:
                outsider["spec"].update(random.choice([spec for spec in SPECS if "affinity" in spec]))
            cache.set_pod(PodInfo(outsider))
            placed.append(f"uid-default-o{count}")


def test_replicas_go_round_among_equal_nodes() -> None:
    cache = make_cache([make_node(f"n{number}", cpu="100", memory="1000Gi") for number in range(4)])
    placement = Placement(PROFILE, Cycle(PodInfo(make_pod()), cache, NoListers()))
    order = []
    for number in range(8):
        placement.catch_up()
        chosen = placement.choose()
        assert chosen is not None
        order.append(chosen[0].name)
        cache.assume(PodInfo(make_pod(f"p{number}")), chosen[0])
    assert order == ["n0", "n1", "n2", "n3"] * 2


def test_promised_nodes_can_be_left_out_and_come_back() -> None:
    cache = make_cache([make_node("a"), make_node("b", cpu="1")])
    placement = Placement(PROFILE, Cycle(PodInfo(make_pod(cpu="500m")), cache, NoListers()))
    first, other, again = placement.choose(), placement.choose({"a": None}), placement.choose()
    assert [choice[0].name for choice in (first, other, again) if choice] == ["a", "b", "a"]
    assert placement.choose({"a": None, "b": None}) is None


def test_a_heap_is_only_built_for_a_signature_seen_twice_and_their_number_is_bounded() -> None:
    cache = make_cache([make_node("a")])
    placements = Placements(PROFILE)

    def cycle(cpu: int) -> Cycle:
        return Cycle(PodInfo(make_pod(cpu=f"{cpu}m")), cache, NoListers())

    assert placements.find(cycle(1)) is None
    found = placements.find(cycle(1))
    assert found is not None
    assert placements.find(cycle(1)) is found
    for cpu in range(2, 300):
        placements.find(cycle(cpu))
        placements.find(cycle(cpu))
    assert placements.find(cycle(1)) is not found


def test_the_heap_stays_small_however_often_a_node_changes() -> None:
    cache = make_cache([make_node("a"), make_node("b")])
    placement = Placement(PROFILE, Cycle(PodInfo(make_pod(cpu="1m")), cache, NoListers()))
    for _ in range(1000):
        pod = PodInfo(make_pod(node="b", cpu="100m"))
        cache.set_pod(pod)
        placement.catch_up()
        cache.remove_pod(pod.uid)
        placement.catch_up()
    assert sum(len(group.heap) for group in placement._groups.values()) < 200
