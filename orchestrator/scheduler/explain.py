"""Why a pod runs, or does not run, on each node: the verdicts and scores, and what would have to change.

Pure; runs the straightforward algorithm once, so it says exactly what decides.
"""

from __future__ import annotations

from msgspec import Struct, field

from orchestrator.api.objects import Object
from orchestrator.scheduler.advice import advice
from orchestrator.scheduler.algorithm import (
    Nominations,
    evaluate,
    run_filters,
    score_table,
    total_scores,
)
from orchestrator.scheduler.cache import Cache
from orchestrator.scheduler.diagnosis import NO_NODES
from orchestrator.scheduler.framework import Cycle, Listers, NoListers, Verdict
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.planner import Planner, Refused
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.profile import Profile


class NodeExplanation(Struct, frozen=True):
    """One line: a node, who refused it and why, or what it scored."""

    node: str
    verdicts: tuple[Verdict, ...] = ()
    """Of every filter that refuses the node, in their order; none when it is feasible."""
    changes: tuple[str, ...] = ()
    """What would have to change, one for each verdict."""
    scores: dict[str, int] = field(default_factory=dict)
    """Normalised and weighted, by plugin."""

    @property
    def is_feasible(self) -> bool:
        return not self.verdicts

    @property
    def helped_by_eviction(self) -> bool:
        """Whether evicting pods could change every refusal."""
        return bool(self.verdicts) and all(verdict.resolvable for verdict in self.verdicts)

    @property
    def total(self) -> int:
        return sum(self.scores.values())


class Explanation(Struct, frozen=True):
    """All lines, the best node first, then the refused ones by name."""

    nodes: tuple[NodeExplanation, ...]
    message: str = ""
    """As FailedScheduling says it, when no node is feasible."""
    everywhere: str = ""
    """Why the pod is refused before any node is looked at."""
    evicts_on: str = ""
    """Where preemption would make room; empty when it would not."""
    victims: tuple[str, ...] = ()
    """Whom it would evict there, as `namespace/name`."""


def explain(
    profile: Profile,
    cache: Cache,
    pod: PodInfo,
    *,
    listers: Listers | None = None,
    nominations: Nominations | None = None,
) -> Explanation:
    """Filter and score every node for a pod that is in no cache."""
    if not cache.nodes:
        return Explanation((), NO_NODES)
    listers = listers or NoListers()
    nominations = nominations if nominations is not None else Nominations()
    cycle = Cycle(pod, cache, listers)
    result = evaluate(profile, cycle, nominations)
    table = score_table(profile, cycle, result.feasible) if result.feasible else {}
    totals = total_scores(table, len(result.feasible))
    lines = [
        NodeExplanation(node.name, scores={plugin: scores[number] for plugin, scores in table.items()})
        for number, node in enumerate(result.feasible)
    ]
    lines = [line for _, line in sorted(zip(totals, lines, strict=True), key=lambda pair: (-pair[0], pair[1].node))]
    if result.refused_everywhere is not None:
        message, evicts_on, victims = _decision(profile, cache, pod, listers, nominations)
        return Explanation((), message, ", ".join(result.refused_everywhere.reasons), evicts_on, victims)
    feasible = {node.name for node in result.feasible}
    lines += [
        _refused(profile, cycle, cache.nodes[name], result.refused.get(name), result.left_out[1])
        for name in sorted(cache.nodes)
        if name not in feasible
    ]
    if feasible:
        return Explanation(tuple(lines))
    message, evicts_on, victims = _decision(profile, cache, pod, listers, nominations)
    return Explanation(tuple(lines), message, "", evicts_on, victims)


def _refused(
    profile: Profile, cycle: Cycle, node: NodeInfo, first: Verdict | None, left_out_by: tuple[str, ...]
) -> NodeExplanation:
    """All that is against a node, not only what the scheduling cycle stops at."""
    found: list[Verdict] = []
    for plugin in profile.filters:
        verdict = run_filters((plugin,), cycle, node)
        if verdict is not None:
            found.append(verdict)
    if first is not None and first not in found:
        found.append(first)  # because of pods to which the node is promised
    if not found:
        plugin_name = left_out_by[0] if left_out_by else ""
        reason = f"node(s) didn't satisfy plugin(s) [{' '.join(left_out_by)}]"
        found.append(Verdict(plugin_name, (reason,), resolvable=False))
    return NodeExplanation(node.name, tuple(found), tuple(advice(verdict, cycle.pod, node) for verdict in found))


def _decision(
    profile: Profile, cache: Cache, pod: PodInfo, listers: Listers, nominations: Nominations
) -> tuple[str, str, tuple[str, ...]]:
    """What the scheduler would say and do now: its message, the node and the victims of preemption."""
    decision = Planner(profile, cache, listers=listers, nominations=nominations).plan(pod)
    if not isinstance(decision, Refused):
        return "", "", ()
    if decision.preemption is None:
        return decision.message, "", ()
    victims = tuple(victim.key for victim in decision.preemption.victims)
    return decision.message, decision.preemption.node.name, victims


def as_pending(pod: Object) -> PodInfo:
    """A pod as if it had no node yet, so that it can be asked about a pod that runs."""
    spec = {key: value for key, value in (pod.get("spec") or {}).items() if key != "nodeName"}
    return PodInfo({**pod, "spec": spec})
