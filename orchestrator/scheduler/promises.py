"""Nodes that have room for a pod, but only until those come to whom they are promised.

A node that was nominated for other pods, as important or more, takes a pod only if it also has room for them. Like
the scored nodes, these answers are kept for a kind of pod and renewed only for the nodes that changed. Mirrors
RunFilterPluginsWithNominatedPods of kube-scheduler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from orchestrator.scheduler.algorithm import Nominations, run_filters_with
from orchestrator.scheduler.framework import Cycle, Plugin, Verdict
from orchestrator.scheduler.pod_info import PodInfo


class PromisedNodes:
    """For pods of one signature and one priority; their filters look at nothing but the node itself."""

    def __init__(self, filters: Sequence[Plugin], cycle: Cycle) -> None:
        """`cycle` has run the pre-filters of these filters, for any pod of the signature."""
        self._filters = tuple(filters)
        self._cycle = cycle
        self._versions = (-1, -1)
        self._taken: dict[str, Verdict] = {}
        self.counts: Counter[Verdict] = Counter()
        """How many nodes each of the verdicts is about."""

    def taken(self, pod: PodInfo, nominations: Nominations, is_candidate: Callable[[str], bool]) -> dict[str, Verdict]:
        """By node why the pod must leave it to others; `is_candidate`: whether it would fit without them."""
        cache, known = self._cycle.cache, self._versions
        self._versions = (cache.version, nominations.version)
        changes, promises = cache.changes_since(known[0]), nominations.changes_since(known[1])
        dirty: dict[str, None]
        if changes is None or promises is None:
            self._taken.clear()
            self.counts.clear()
            dirty = dict.fromkeys(nominations.nodes())
        else:
            dirty = dict.fromkeys((*(change.node.name for change in changes), *promises))
        for name in dirty:
            self._renew(name, nominations.at_least(name, pod.priority), is_candidate)
        own = nominations.node_of(pod.uid)
        if not own:
            return self._taken
        # What is promised to the pod itself does not stand in its way.
        found = PromisedNodes(self._filters, self._cycle)
        found._renew(own, nominations.on(own, pod), is_candidate)
        others = {name: verdict for name, verdict in self._taken.items() if name != own}
        return {**others, **found._taken}

    def _renew(self, name: str, others: Sequence[PodInfo], is_candidate: Callable[[str], bool]) -> None:
        known = self._taken.pop(name, None)
        if known is not None:
            self.counts[known] -= 1
        if others and is_candidate(name):
            verdict = run_filters_with(self._filters, self._cycle, self._cycle.cache.nodes[name], others)
            if verdict is not None:
                self._taken[name] = verdict
                self.counts[verdict] += 1
