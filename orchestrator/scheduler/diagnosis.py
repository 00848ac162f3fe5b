"""Why a pod could not be placed, in kube-scheduler's words.

Owns the sentence of FailedScheduling events and of the PodScheduled condition. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct, field

from orchestrator.scheduler.framework import Verdict

NO_NODES: Final = "no nodes available to schedule pods"
NOT_HELPFUL: Final = "Preemption is not helpful for scheduling"
NO_VICTIMS: Final = "No preemption victims found for incoming pod"
NO_CLAIMS: Final = "no new claims to deallocate"
"""What DynamicResources says, before preemption, of every pod without resource claims (since v1.34)."""


class Diagnosis(Struct):
    """How many nodes each verdict refused; `sentence` puts it in words."""

    nodes_total: int
    verdicts: Mapping[Verdict, int] = field(default_factory=dict)
    refused_everywhere: Verdict | None = None
    left_out: tuple[int, tuple[str, ...]] = (0, ())
    """Nodes that pre-filters left out, and which plugins did."""

    @property
    def plugins(self) -> set[str]:
        """Those that refused: only events that they care about can help."""
        found = {verdict.plugin for verdict in self.verdicts}
        found.update(self.left_out[1])
        if self.refused_everywhere is not None:
            found.add(self.refused_everywhere.plugin)
        return found

    def reasons(self) -> Counter[str]:
        """How many nodes gave each reason; a node may give several."""
        reasons: Counter[str] = Counter()
        for verdict, count in self.verdicts.items():
            for reason in verdict.reasons:
                reasons[reason] += count
        count, plugins = self.left_out
        if count:
            reasons[f"node(s) didn't satisfy plugin(s) [{' '.join(plugins)}]"] += count
        return reasons

    def sentence(self, after: str = "") -> str:
        """`0/3 nodes are available: ...`, followed by what preemption found, if anything."""
        text = f"0/{self.nodes_total} nodes are available:"
        if self.refused_everywhere is not None:
            text += f" {', '.join(self.refused_everywhere.reasons)}."
        elif listed := histogram(self.reasons().items()):
            text += f" {listed}."
        return f"{text} {after}" if after else text


def histogram(reasons: Iterable[tuple[str, int]]) -> str:
    """`1 this, 2 that`, sorted as text like kube-scheduler does (10 comes before 2)."""
    return ", ".join(sorted(f"{count} {reason}" for reason, count in reasons))


def preemption_sentence(nodes_total: int, statuses: Mapping[str, int]) -> str:
    """What preemption says when it found nobody to evict; `statuses`: nodes by reason."""
    reasons = Counter({reason: count for reason, count in statuses.items() if count})
    rest = nodes_total - sum(statuses.values())
    if rest > 0:
        reasons[NOT_HELPFUL] += rest
    text = f"{NO_CLAIMS}, preemption: 0/{nodes_total} nodes are available:"
    listed = histogram(reasons.items())
    return f"{text} {listed}." if listed else text


def not_eligible_sentence(why: str) -> str:
    """What preemption says of a pod that must not evict others."""
    return f"{NO_CLAIMS}, preemption: {why}"
