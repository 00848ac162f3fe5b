"""Eviction plans kept node by node, so that the next pod of the same kind need not try every node again.

kube-scheduler tries evictions on a tenth of all nodes for every pod that preempts. Between two pods of one
signature and priority few nodes change, so the plans of the others still hold: an `EvictionPool` keeps them in a
heap ordered by the harm they do, drops those of nodes that changed, and tries as many others as are missing to
have enough to choose from. Only for pods whose filters look at nothing but the node itself; the others take
`preemption.plan_preemption`.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence

from orchestrator.scheduler.algorithm import Nominations
from orchestrator.scheduler.diagnosis import preemption_sentence
from orchestrator.scheduler.framework import Cycle, Plugin, Verdict
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.preemption import Candidate, Harm, Preemption, harm_of, plan_victims

VerdictOf = Callable[[str], "Verdict | None"]


class EvictionPool:
    """What evictions could do for pods of one signature and one priority."""

    def __init__(self, filters: Sequence[Plugin], cycle: Cycle) -> None:
        """`cycle` has run the pre-filters of these filters, for any pod of the signature."""
        self._filters = tuple(filters)
        self._cycle = cycle
        self._versions = (-1, -1, -1)
        self._reset()

    def _reset(self) -> None:
        self._tick = 0
        self._plans: dict[str, Candidate | str] = {}
        """By node: what to evict, or why nothing would do. Nodes that no eviction can help are not in it."""
        self._ticks: dict[str, int] = {}
        self._heap: list[tuple[Harm, int, str]] = []
        """(harm, tick, node); an entry whose tick is not the node's is dead."""
        self._statuses: Counter[str] = Counter()
        self._untried = dict.fromkeys(self._cycle.cache.nodes)

    def plan(self, pod: PodInfo, nominations: Nominations, verdict_of: VerdictOf, *, enough: int) -> Preemption:
        """Choose node and victims for a pod that every node refused; `verdict_of` says why each did."""
        self._catch_up(nominations)
        while self._untried and not self._has(enough):
            name = next(iter(self._untried))
            del self._untried[name]
            self._try(name, pod, nominations, verdict_of(name))
        best = self._best()
        if best is None:
            return Preemption(None, preemption_sentence(len(self._cycle.cache), self._statuses))
        return Preemption(best)

    def _catch_up(self, nominations: Nominations) -> None:
        cache = self._cycle.cache
        known = self._versions
        versions = (cache.version, nominations.version, self._cycle.listers.budgets_version)
        if known == versions:
            return
        self._versions = versions
        changes, promises = cache.changes_since(known[0]), nominations.changes_since(known[1])
        if changes is None or promises is None or known[2] != versions[2]:
            self._reset()
            return
        for name in dict.fromkeys((*(change.node.name for change in changes), *promises)):
            self._drop(name)
            if name in cache.nodes:
                self._untried[name] = None

    def _drop(self, name: str) -> None:
        plan = self._plans.pop(name, None)
        self._untried.pop(name, None)
        if isinstance(plan, str):
            self._statuses[plan] -= 1
        elif plan is not None:
            del self._ticks[name]

    def _try(self, name: str, pod: PodInfo, nominations: Nominations, verdict: Verdict | None) -> None:
        if verdict is None or not verdict.resolvable:
            return  # no eviction can help here
        node = self._cycle.cache.nodes[name]
        found = plan_victims(self._filters, self._cycle, pod, node, nominations.on(name, pod))
        if isinstance(found, Candidate):
            self._plans[name] = found
            self._tick += 1
            self._ticks[name] = self._tick
            heapq.heappush(self._heap, (harm_of(found), self._tick, name))
            if len(self._heap) > 2 * len(self._ticks) + 64:
                self._heap = [entry for entry in self._heap if self._ticks.get(entry[2]) == entry[1]]
                heapq.heapify(self._heap)
        else:
            status = self._plans[name] = ", ".join(found)
            self._statuses[status] += 1

    def _best(self) -> Candidate | None:
        heap = self._heap
        while heap:
            _, tick, name = heap[0]
            if self._ticks.get(name) == tick:
                plan = self._plans[name]
                assert isinstance(plan, Candidate)
                return plan
            heapq.heappop(heap)
        return None

    def _has(self, enough: int) -> bool:
        if len(self._ticks) < enough:
            return False
        best = self._best()
        return best is not None and not best.violations
