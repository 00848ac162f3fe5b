"""Preemption: which less important pods to evict, on which node, so that a pod fits.

Pure: plans only. Mirrors the DefaultPreemption plugin: as few PodDisruptionBudgets broken as possible,
then the least important victims, then the fewest
(https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from orchestrator.api.objects import Object, name_of
from orchestrator.api.selectors import from_label_selector
from orchestrator.scheduler.algorithm import Nominations, run_filters_with
from orchestrator.scheduler.cache import Cache
from orchestrator.scheduler.diagnosis import NO_VICTIMS, not_eligible_sentence, preemption_sentence
from orchestrator.scheduler.framework import Cycle, Plugin, Reads, Verdict
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.profile import Profile


class Candidate(Struct, frozen=True):
    """A node that would do after these evictions."""

    node: NodeInfo
    victims: tuple[PodInfo, ...]
    """The most important first."""
    violations: int
    """How many of them a PodDisruptionBudget protects."""


class Preemption(Struct, frozen=True):
    """What to do: evict the candidate's victims, or nothing, and why."""

    chosen: Candidate | None
    sentence: str = ""


def plan_preemption(
    profile: Profile,
    cycle: Cycle,
    refused: Iterable[tuple[NodeInfo, Verdict]],
    nominations: Nominations,
    *,
    resolvable_count: int,
    start: int = 0,
) -> Preemption:
    """Choose the node and the victims for a pod that no node takes.

    `cycle` must have run all pre-filters. `resolvable_count`: how many of the refusals eviction could
    change; when it or the priorities leave no hope, `refused` is not even read. `start`: at which of
    the possible nodes to begin; a different one each time spreads evictions in large clusters.
    """
    pod, cache = cycle.pod, cycle.cache
    statuses: Counter[str] = Counter()
    candidates: list[Candidate] = []
    if not cache.has_lower_priority(pod.priority):
        statuses[NO_VICTIMS] = resolvable_count
    elif resolvable_count:
        possible = [node for node, verdict in refused if verdict.resolvable]
        enough = candidates_enough(profile, len(cache))
        begin = start % len(possible)
        for node in (*possible[begin:], *possible[:begin]):
            found = plan_victims(profile.filters, cycle, pod, node, nominations.on(node.name, pod))
            if isinstance(found, Candidate):
                candidates.append(found)
                if len(candidates) >= enough and any(not candidate.violations for candidate in candidates):
                    break
            else:
                statuses[", ".join(found)] += 1
    if not candidates:
        return Preemption(None, preemption_sentence(len(cache), statuses))
    return Preemption(choose_candidate(candidates))


def candidates_enough(profile: Profile, nodes_total: int) -> int:
    """How many possible nodes are enough to choose from."""
    percent, absolute = profile.candidates_enough
    return max(absolute, nodes_total * percent // 100, 1)


def why_not_eligible(pod: PodInfo, cache: Cache, nominations: Nominations) -> str:
    """What forbids a pod to evict others, as a sentence for the event; empty when nothing does."""
    if not pod.preempts:
        return not_eligible_sentence("not eligible due to preemptionPolicy=Never.")
    promised = nominations.node_of(pod.uid) or pod.nominated_node_name
    node = cache.nodes.get(promised) if promised else None
    if node is not None and any(
        other.is_terminating and other.priority < pod.priority and _is_preempted(other) for other in node.pods.values()
    ):
        return not_eligible_sentence("not eligible due to a terminating pod on the nominated node.")
    return ""


def _is_preempted(pod: PodInfo) -> bool:
    return any(
        condition.get("type") == "DisruptionTarget" and condition.get("reason") == "PreemptionByScheduler"
        for condition in (pod.obj.get("status") or {}).get("conditions") or ()
    )


def plan_victims(
    filters: Sequence[Plugin], cycle: Cycle, pod: PodInfo, node: NodeInfo, promised: Sequence[PodInfo]
) -> Candidate | tuple[str, ...]:
    """The fewest victims on one node, the least important ones; or the reasons why none will do.

    `promised`: pods to which the node is promised and that the pod has to yield to.
    """
    lower = [other for other in node.pods.values() if other.priority < pod.priority]
    if not lower:
        return (NO_VICTIMS,)
    trial = node.copy()
    # Evictions change nothing for filters that read only the node, nor for those that were skipped.
    moving = [plugin for plugin in filters if type(plugin).add_pod is not Plugin.add_pod]
    moving = [plugin for plugin in moving if plugin.name not in cycle.skip_filter]
    changing = tuple(plugin for plugin in filters if plugin.reads is not Reads.NODE)
    gone: list[PodInfo] = []

    def remove(other: PodInfo) -> None:
        trial.remove_pod(other.uid)
        gone.append(other)
        for plugin in moving:
            plugin.remove_pod(cycle, other, trial)

    def put_back(other: PodInfo) -> None:
        trial.add_pod(other)
        gone.remove(other)
        for plugin in moving:
            plugin.add_pod(cycle, other, trial)

    try:
        for other in lower:
            remove(other)
        verdict = run_filters_with(filters, cycle, trial, promised)
        if verdict is not None:
            return verdict.reasons
        lower.sort(key=importance)
        protected, free = _split_by_budget(cycle, lower)
        victims: list[PodInfo] = []
        violations = 0
        for other in (*protected, *free):
            put_back(other)
            if run_filters_with(changing, cycle, trial, promised) is not None:
                remove(other)
                victims.append(other)
                violations += other in protected
    finally:
        for other in [*gone]:
            put_back(other)
    victims.sort(key=importance)
    return Candidate(node, tuple(victims), violations)


def importance(pod: PodInfo) -> tuple[int, str]:
    """Sort key, the most important first: by priority, then who runs longest."""
    return -pod.priority, started(pod)


def started(pod: PodInfo) -> str:
    """When the pod started, as RFC 3339; one that did not yet counts as the latest."""
    return (pod.obj.get("status") or {}).get("startTime") or "9999"


def _split_by_budget(cycle: Cycle, pods: Sequence[PodInfo]) -> tuple[list[PodInfo], list[PodInfo]]:
    """Those whose eviction breaks a PodDisruptionBudget, and the others; both keep their order."""
    left: dict[int, int] = {}
    protected: list[PodInfo] = []
    free: list[PodInfo] = []
    for pod in pods:
        violates = False
        for budget in cycle.listers.disruption_budgets(pod.namespace):
            if not _is_budget_of(budget, pod):
                continue
            status = budget.get("status") or {}
            if pod.name in (status.get("disruptedPods") or {}):
                continue  # counted already
            allowed = left.get(id(budget), int(status.get("disruptionsAllowed") or 0)) - 1
            left[id(budget)] = allowed
            violates = violates or allowed < 0
        (protected if violates else free).append(pod)
    return protected, free


def _is_budget_of(budget: Object, pod: PodInfo) -> bool:
    selector = from_label_selector((budget.get("spec") or {}).get("selector"))
    return bool(name_of(budget)) and not selector.is_everything and selector.matches(pod.labels)


Harm = tuple[int, int, int, int, int]


def harm_of(candidate: Candidate) -> Harm:
    """Sort key of candidates, the least harm first.

    Budgets broken, the most important victim, the sum of the priorities, the number of victims, and how long ago
    the most important ones started: those that run longest stay.
    """
    victims = candidate.victims
    if not victims:
        return (candidate.violations, -(2**31), 0, 0, 0)
    highest = victims[0].priority
    start = min(started(victim) for victim in victims if victim.priority == highest)
    digits = "".join(filter(str.isdigit, start))[:14]
    # Priorities may be negative: shifted, so that more victims always weigh more.
    total = sum(victim.priority + 2**31 + 1 for victim in victims)
    return (candidate.violations, highest, total, len(victims), -int(digits.ljust(14, "0")))


def choose_candidate(candidates: Sequence[Candidate]) -> Candidate:
    """The one that hurts least; among equals the first."""
    return min(candidates, key=harm_of)
