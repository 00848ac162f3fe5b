"""The straightforward algorithm: every filter on every node, every score on every feasible one.

Pure: reads the cache, changes nothing. It is what `heap` must agree with, what places pods whose
signature is unknown or seen only once, and what explains. Mirrors schedulePod of kube-scheduler, except
that all nodes are looked at (percentageOfNodesToScore is always 100).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct, field

from orchestrator.scheduler.cache import JOURNAL_MAX
from orchestrator.scheduler.framework import Cycle, Plugin, Skip, Verdict
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.profile import Profile


class Evaluation(Struct):
    """Where a pod may run, and why it may not run elsewhere."""

    feasible: list[NodeInfo] = field(default_factory=list)
    refused: dict[str, Verdict] = field(default_factory=dict)
    """By node name; nodes that a plugin's pre-filter left out are not in it."""
    refused_everywhere: Verdict | None = None
    left_out: tuple[int, tuple[str, ...]] = (0, ())
    """How many nodes pre-filters left out, and the plugins that did."""


def run_pre_filters(profile: Profile, cycle: Cycle) -> tuple[Verdict | None, set[str] | None, tuple[str, ...]]:
    """Prepare all filters: a refusal everywhere, or the only nodes to look at and who said so."""
    names: set[str] | None = None
    restricting: list[str] = []
    for plugin in profile.filters:
        answer = plugin.pre_filter(cycle)
        if answer is None:
            continue
        if isinstance(answer, Skip):
            cycle.skip_filter.add(plugin.name)
        elif isinstance(answer, Verdict):
            return answer, None, ()
        else:
            restricting.append(plugin.name)
            names = set(answer) if names is None else names & set(answer)
            if not names:
                what = f"{plugin.name}" if len(restricting) == 1 else f"[{' '.join(sorted(restricting))}]"
                reason = (
                    f"node(s) didn't satisfy plugin(s) {what} simultaneously"
                    if len(restricting) > 1
                    else f"node(s) didn't satisfy plugin {what}"
                )
                return Verdict(plugin.name, (reason,), resolvable=False), None, ()
    return None, names, tuple(sorted(restricting))


def run_filters(filters: Iterable[Plugin], cycle: Cycle, node: NodeInfo) -> Verdict | None:
    """The first refusal of a node, None when it is feasible."""
    skipped = cycle.skip_filter
    for plugin in filters:
        if plugin.name not in skipped:
            verdict = plugin.filter(cycle, node)
            if verdict is not None:
                return verdict
    return None


def run_filters_with(
    filters: Sequence[Plugin], cycle: Cycle, node: NodeInfo, nominated: Collection[PodInfo]
) -> Verdict | None:
    """As `run_filters`, also supposing that more important pods came to the node they are promised.

    A node must do with and without them: they may end up elsewhere.
    """
    if nominated:
        crowded = node.copy()
        for other in nominated:
            crowded.add_pod(other)
            for plugin in filters:
                plugin.add_pod(cycle, other, crowded)
        try:
            verdict = run_filters(filters, cycle, crowded)
        finally:
            for other in nominated:
                for plugin in filters:
                    plugin.remove_pod(cycle, other, crowded)
        if verdict is not None:
            return verdict
    return run_filters(filters, cycle, node)


def evaluate(profile: Profile, cycle: Cycle, nominations: Nominations | None = None) -> Evaluation:
    """Run all filters over all nodes."""
    result = Evaluation()
    refusal, names, restricting = run_pre_filters(profile, cycle)
    if refusal is not None:
        result.refused_everywhere = refusal
        return result
    nodes: Iterable[NodeInfo]
    every = cycle.cache.nodes
    if names is None:
        nodes = every.values()
    else:
        nodes = [every[name] for name in sorted(names) if name in every]
        result.left_out = (len(every) - len(nodes), restricting)
    for node in nodes:
        promised = nominations.on(node.name, cycle.pod) if nominations else ()
        verdict = run_filters_with(profile.filters, cycle, node, promised)
        if verdict is None:
            result.feasible.append(node)
        else:
            result.refused[node.name] = verdict
    return result


def score_table(profile: Profile, cycle: Cycle, nodes: Sequence[NodeInfo]) -> dict[str, list[int]]:
    """Normalised, weighted scores of these (feasible) nodes, by plugin."""
    table: dict[str, list[int]] = {}
    for plugin, weight in profile.scorers:
        if plugin.name not in cycle.notes and plugin not in profile.filters:
            plugin.pre_filter(cycle)  # a plugin that only scores still prepares
        if isinstance(plugin.pre_score(cycle, nodes), Skip):
            cycle.skip_score.add(plugin.name)
            table[plugin.name] = [0] * len(nodes)
            continue
        scores = plugin.normalize(cycle, nodes, [plugin.score(cycle, node) for node in nodes])
        table[plugin.name] = [weight * score for score in scores]
    return table


def total_scores(table: dict[str, list[int]], count: int) -> list[int]:
    """The sum over all plugins, by node."""
    totals = [0] * count
    for scores in table.values():
        totals = [total + score for total, score in zip(totals, scores, strict=True)]
    return totals


class Nominations:
    """Which pods are promised a node while their victims terminate."""

    def __init__(self) -> None:
        self._by_node: dict[str, dict[str, PodInfo]] = {}
        self._nodes: dict[str, str] = {}
        self._journal: list[str] = []
        self._journal_start = 0

    def __bool__(self) -> bool:
        return bool(self._by_node)

    @property
    def version(self) -> int:
        """The number of the next change."""
        return self._journal_start + len(self._journal)

    def changes_since(self, version: int) -> Sequence[str] | None:
        """The nodes whose promises changed from this number on; None when that is too long ago."""
        return None if version < self._journal_start else self._journal[version - self._journal_start :]

    def _record(self, node: str) -> None:
        self._journal.append(node)
        if len(self._journal) > 2 * JOURNAL_MAX:
            del self._journal[:JOURNAL_MAX]
            self._journal_start += JOURNAL_MAX

    def set(self, pod: PodInfo, node: str) -> None:
        """Promise a node to a pod, or nothing when the name is empty."""
        self.remove(pod.uid)
        if node:
            self._by_node.setdefault(node, {})[pod.uid] = pod
            self._nodes[pod.uid] = node
            self._record(node)

    def remove(self, uid: str) -> None:
        """The pod was placed or is gone."""
        node = self._nodes.pop(uid, None)
        if node is not None:
            pods = self._by_node[node]
            del pods[uid]
            if not pods:
                del self._by_node[node]
            self._record(node)

    def node_of(self, uid: str) -> str:
        """The node promised to a pod, or an empty string."""
        return self._nodes.get(uid, "")

    def nodes(self) -> list[str]:
        """The nodes that are promised to someone."""
        return [*self._by_node]

    def on(self, node: str, pod: PodInfo) -> list[PodInfo]:
        """The pods promised this node that this pod has to yield to: as important, or more."""
        return [
            other
            for other in self._by_node.get(node, {}).values()
            if other.priority >= pod.priority and other.uid != pod.uid
        ]

    def at_least(self, node: str, priority: int) -> list[PodInfo]:
        """The pods promised this node that are as important, or more."""
        return [other for other in self._by_node.get(node, {}).values() if other.priority >= priority]

    def below(self, node: str, priority: int) -> list[PodInfo]:
        """The pods promised this node that are less important."""
        return [other for other in self._by_node.get(node, {}).values() if other.priority < priority]
