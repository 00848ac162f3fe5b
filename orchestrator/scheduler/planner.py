"""One decision: which node for this pod, or why none, and whom to evict.

Synchronous from begin to end, so that the cluster cannot change under a decision. Reads the cache,
never writes it. Mirrors schedulePod and RunPostFilterPlugins of kube-scheduler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import Struct

from orchestrator.scheduler.algorithm import (
    Evaluation,
    Nominations,
    evaluate,
    run_filters,
    run_filters_with,
    run_pre_filters,
    score_table,
    total_scores,
)
from orchestrator.scheduler.cache import Cache
from orchestrator.scheduler.diagnosis import NO_NODES, Diagnosis
from orchestrator.scheduler.framework import Cycle, Listers, NoListers, Plugin, Reads, Reservation, Skip, Verdict
from orchestrator.scheduler.heap import Placement, Placements
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.preemption import Candidate, candidates_enough, plan_preemption, why_not_eligible
from orchestrator.scheduler.profile import Profile


class Placed(Struct, frozen=True):
    """The pod goes to this node."""

    node: NodeInfo
    score: int = 0


class Refused(Struct, frozen=True):
    """No node takes the pod as things are."""

    message: str
    plugins: frozenset[str]
    """Those that refused; empty when anything may help."""
    preemption: Candidate | None = None


class Planner:
    """Decides for the pods of one profile."""

    def __init__(
        self, profile: Profile, cache: Cache, *, listers: Listers | None = None, nominations: Nominations | None = None
    ) -> None:
        self.profile = profile
        self.nominations = nominations if nominations is not None else Nominations()
        self._cache = cache
        self._listers: Listers = listers or NoListers()
        self._placements = Placements(profile)
        self._turn = 0
        self._reserving = [plugin for plugin in profile.plugins if type(plugin).reserve is not Plugin.reserve]

    def cycle(self, pod: PodInfo) -> Cycle:
        """A fresh cycle for a pod."""
        return Cycle(pod, self._cache, self._listers)

    def plan(self, pod: PodInfo) -> Placed | Refused:
        """Decide for one pod."""
        cache = self._cache
        if not cache.nodes:
            return Refused(NO_NODES, frozenset())
        cycle = self.cycle(pod)
        promised = self.nominations.node_of(pod.uid)
        if promised and (node := cache.nodes.get(promised)) is not None:
            refusal, names, _ = run_pre_filters(self.profile, cycle)
            others = self.nominations.on(promised, pod)
            if (
                refusal is None
                and (names is None or promised in names)
                and run_filters_with(self.profile.filters, cycle, node, others) is None
            ):
                return Placed(node)
            cycle = self.cycle(pod)
        placement = None if self._is_restricted(cycle) else self._placements.find(self.cycle(pod))
        if placement is None:
            return self._plan_over_all(cycle)
        taken = self._taken(pod, placement) if self.nominations else {}
        best = placement.choose(taken)
        return Placed(*best) if best is not None else self._refuse_by_placement(pod, placement, taken)

    def reserve(self, pod: PodInfo, node: NodeInfo) -> dict[str, Reservation]:
        """What plugins, by name, keep for a pod that goes to this node; usually nothing."""
        found: dict[str, Reservation] = {}
        for plugin in self._reserving:
            reservation = plugin.reserve(self.cycle(pod), node)
            if reservation is not None:
                found[plugin.name] = reservation
        return found

    def _taken(self, pod: PodInfo, placement: Placement) -> dict[str, Verdict]:
        """The nodes with room for the pod, but only until those come to whom they are promised; and why."""
        if placement.is_local:
            return placement.promised(pod.priority).taken(pod, self.nominations, placement.is_candidate)
        promised = {
            name: others
            for name in self.nominations.nodes()
            if placement.is_candidate(name) and (others := self.nominations.on(name, pod))
        }
        if not promised:
            return {}
        cycle = self.cycle(pod)
        run_pre_filters(self.profile, cycle)
        found: dict[str, Verdict] = {}
        for name, others in promised.items():
            verdict = run_filters_with(self.profile.filters, cycle, self._cache.nodes[name], others)
            if verdict is not None:
                found[name] = verdict
        return found

    def _counts(self, pod: PodInfo, placement: Placement, taken: Mapping[str, Verdict]) -> Counter[Verdict]:
        if not taken or self.nominations.node_of(pod.uid):
            return Counter(taken.values())
        return placement.promised(pod.priority).counts

    def _refuse_by_placement(self, pod: PodInfo, placement: Placement, taken: dict[str, Verdict]) -> Placed | Refused:
        cache = self._cache
        if not placement.is_local:
            if taken:  # rare: say exactly why, the promised nodes included
                return self._plan_over_all(self.cycle(pod))
            diagnosis = Diagnosis(len(cache), placement.refusals())
            return self._refuse(self.cycle(pod), diagnosis, placement.refused(), prepared=False)
        diagnosis = Diagnosis(len(cache), placement.refusals() + self._counts(pod, placement, taken))
        if not self.profile.preempts:
            return Refused(diagnosis.sentence(), frozenset(diagnosis.plugins))
        if not cache.has_lower_priority(pod.priority) or self._why_not_eligible(pod):
            return self._refuse(self.cycle(pod), diagnosis, (), prepared=True)
        preemption = placement.evictions(pod.priority).plan(
            pod,
            self.nominations,
            lambda name: taken.get(name) or placement.verdict(name),
            enough=candidates_enough(self.profile, len(cache)),
        )
        return Refused(diagnosis.sentence(preemption.sentence), frozenset(diagnosis.plugins), preemption.chosen)

    def _is_restricted(self, cycle: Cycle) -> bool:
        """Whether pre-filters name the only nodes to look at: a heap of all nodes would be no gain."""
        if not cycle.pod.spec.get("affinity") and all(plugin.name in _UNRESTRICTING for plugin in self.profile.filters):
            return False
        for plugin in self.profile.filters:
            if plugin.reads in (Reads.NODE, Reads.USAGE):
                answer = plugin.pre_filter(cycle)
                if answer is not None and not isinstance(answer, Skip):
                    return True
        return False

    def _plan_over_all(self, cycle: Cycle) -> Placed | Refused:
        result = evaluate(self.profile, cycle, self.nominations)
        nodes = result.feasible
        if not nodes:
            return self._refuse(cycle, diagnosis_of(result, len(self._cache)), self._refused(result), prepared=True)
        if len(nodes) == 1:
            return Placed(nodes[0])
        totals = total_scores(score_table(self.profile, cycle, nodes), len(nodes))
        best = max(totals)
        equal = [node for node, total in zip(nodes, totals, strict=True) if total == best]
        self._turn += 1
        return Placed(equal[self._turn % len(equal)], best)

    def _refused(self, result: Evaluation) -> Iterable[tuple[NodeInfo, Verdict]]:
        nodes = self._cache.nodes
        return ((nodes[name], verdict) for name, verdict in result.refused.items())

    def _why_not_eligible(self, pod: PodInfo) -> str:
        """As `why_not_eligible`; a pod does not wait for a node that would not take it whoever leaves."""
        why_not = why_not_eligible(pod, self._cache, self.nominations)
        if why_not and pod.preempts:
            node = self._cache.nodes[self.nominations.node_of(pod.uid) or pod.nominated_node_name]
            cycle = self.cycle(pod)
            refusal, _, _ = run_pre_filters(self.profile, cycle)
            verdict = refusal or run_filters(self.profile.filters, cycle, node)
            if verdict is not None and not verdict.resolvable:
                return ""
        return why_not

    def _refuse(
        self, cycle: Cycle, diagnosis: Diagnosis, refused: Iterable[tuple[NodeInfo, Verdict]], *, prepared: bool
    ) -> Refused:
        plugins = frozenset(diagnosis.plugins)
        if not self.profile.preempts:
            return Refused(diagnosis.sentence(), plugins)
        if why_not := self._why_not_eligible(cycle.pod):
            return Refused(diagnosis.sentence(why_not), plugins)
        if not prepared and self._cache.has_lower_priority(cycle.pod.priority):
            run_pre_filters(self.profile, cycle)
        self._turn += 1
        resolvable = sum(count for verdict, count in diagnosis.verdicts.items() if verdict.resolvable)
        preemption = plan_preemption(
            self.profile, cycle, refused, self.nominations, resolvable_count=resolvable, start=self._turn
        )
        return Refused(diagnosis.sentence(preemption.sentence), plugins, preemption.chosen)


_UNRESTRICTING = frozenset(
    {
        "NodeUnschedulable",
        "NodeName",
        "TaintToleration",
        "NodeAffinity",  # only with affinity
        "NodePorts",
        "NodeResourcesFit",
        "VolumeRestrictions",
        "NodeVolumeLimits",
        "VolumeBinding",
        "VolumeZone",
        "PodTopologySpread",
        "InterPodAffinity",
        "DynamicResources",
    }
)
"""Built-in filters whose pre-filter never names nodes, unless the pod has an affinity."""


def diagnosis_of(result: Evaluation, nodes_total: int) -> Diagnosis:
    """The diagnosis of a pass over all nodes that found none."""
    return Diagnosis(nodes_total, Counter(result.refused.values()), result.refused_everywhere, result.left_out)
