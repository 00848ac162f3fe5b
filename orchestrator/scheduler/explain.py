"""Why a pod runs, or does not run, on each node: the verdicts and scores as a table.

Pure; runs the straightforward algorithm once, so it says exactly what decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.scheduler.algorithm import evaluate, score_table, total_scores
from orchestrator.scheduler.cache import Cache
from orchestrator.scheduler.diagnosis import NO_NODES
from orchestrator.scheduler.framework import Cycle, Listers, NoListers
from orchestrator.scheduler.planner import diagnosis_of
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.profile import Profile


@dataclass(frozen=True, slots=True)
class NodeExplanation:
    """One line: a node, who refused it and why, or what it scored."""

    node: str
    plugin: str = ""
    """The filter that refused the node; empty when it is feasible."""
    reasons: tuple[str, ...] = ()
    helped_by_eviction: bool = False
    """Whether evicting pods could change the refusal."""
    scores: dict[str, int] = field(default_factory=dict)
    """Normalised and weighted, by plugin."""

    @property
    def is_feasible(self) -> bool:
        return not self.plugin

    @property
    def total(self) -> int:
        return sum(self.scores.values())


@dataclass(frozen=True, slots=True)
class Explanation:
    """All lines, the best node first, then the refused ones by name."""

    nodes: tuple[NodeExplanation, ...]
    message: str = ""
    """As FailedScheduling says it, when no node is feasible."""


def explain(profile: Profile, cache: Cache, pod: PodInfo, *, listers: Listers | None = None) -> Explanation:
    """Filter and score every node for a pod, pending or placed (a placed pod is not counted against itself)."""
    if not cache.nodes:
        return Explanation((), NO_NODES)
    cycle = Cycle(pod, cache, listers or NoListers())
    result = evaluate(profile, cycle)
    table = score_table(profile, cycle, result.feasible) if result.feasible else {}
    totals = total_scores(table, len(result.feasible))
    lines = [
        NodeExplanation(node.name, scores={plugin: scores[number] for plugin, scores in table.items()})
        for number, node in enumerate(result.feasible)
    ]
    lines = [line for _, line in sorted(zip(totals, lines, strict=True), key=lambda pair: (-pair[0], pair[1].node))]
    everywhere = result.refused_everywhere
    for name in sorted(cache.nodes):
        verdict = result.refused.get(name, everywhere)
        if verdict is not None:
            lines.append(NodeExplanation(name, verdict.plugin, verdict.reasons, verdict.resolvable))
        elif not any(node.name == name for node in result.feasible):
            plugins = result.left_out[1]
            reason = f"node(s) didn't satisfy plugin(s) [{' '.join(plugins)}]"
            lines.append(NodeExplanation(name, plugins[0] if plugins else "", (reason,)))
    message = "" if result.feasible else diagnosis_of(result, len(cache)).sentence()
    return Explanation(tuple(lines), message)
