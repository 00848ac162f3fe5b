"""Placing identical pods in O(log nodes): the scored nodes of one signature stay in heaps.

kube-scheduler filters and scores every node for every pod. Pods with equal *signatures* (what all
plugins read of a pod) get equal answers, and between two of them few nodes change. So a `Placement`
keeps, for one signature, every node's verdict and score, and repairs them only for the nodes that the
cache's journal names.

Scores that plugins normalise over all feasible nodes, and answers that depend on other pods, cannot
be kept per node: one pod more may change them all. But they are the same for all nodes with the same
*factors* (number of untolerated soft taints, zone, matching pods on the node, ...). So nodes are
grouped by their factors, each group is a heap ordered by the scores that depend on nothing else, and
a choice compares the best of each group. The result is what `algorithm` finds by looking at all nodes;
among equally good nodes the one that was changed longest ago wins, so replicas go round.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from orchestrator.scheduler.algorithm import run_filters
from orchestrator.scheduler.cache import Cache
from orchestrator.scheduler.evictions import EvictionPool
from orchestrator.scheduler.framework import (
    UNSIGNABLE,
    Cycle,
    Plugin,
    Reads,
    Skip,
    Tracker,
    Verdict,
    normalized,
)
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.profile import Profile
from orchestrator.scheduler.promises import PromisedNodes

PLACEMENTS_MAX: Final = 256
SLOTS_MAX: Final = 262_144
"""Over all placements: bounds their memory (about 300 bytes each)."""
SEEN_MAX: Final = 4_096
NOTHING: Final[Mapping[str, Any]] = {}
POOLS_MAX: Final = 4
"""Priorities of one signature whose eviction plans are kept."""


_Kept = TypeVar("_Kept", EvictionPool, PromisedNodes)


class _Slot:
    """What is known of one node for one signature."""

    __slots__ = ("group", "node", "score", "static_factors", "static_verdict", "tick", "verdict")

    def __init__(self, node: NodeInfo) -> None:
        self.node = node
        self.static_verdict: Verdict | None = None
        self.static_factors: tuple[int, ...] = ()
        self.verdict: Verdict | None = None
        self.group: _Group | None = None
        self.score = 0
        self.tick = 0


class _Group:
    """The feasible nodes with the same factors; a heap with late deletion."""

    __slots__ = ("count", "factors", "heap")

    def __init__(self, factors: tuple[Any, ...]) -> None:
        self.factors = factors
        self.heap: list[tuple[int, int, _Slot]] = []
        """(negative score, tick, slot); an entry whose tick is not the slot's is dead."""
        self.count = 0

    def push(self, slot: _Slot) -> None:
        heapq.heappush(self.heap, (-slot.score, slot.tick, slot))
        if len(self.heap) > 2 * self.count + 64:
            self.heap = [entry for entry in self.heap if entry[1] == entry[2].tick and entry[2].group is self]
            heapq.heapify(self.heap)

    def best(self) -> _Slot:
        heap = self.heap
        while True:
            _, tick, slot = heap[0]
            if slot.tick == tick and slot.group is self:
                return slot
            heapq.heappop(heap)


class Placement:
    """All nodes, filtered and scored for one signature."""

    def __init__(self, profile: Profile, cycle: Cycle) -> None:
        self._profile = profile
        self._cycle = cycle
        self._cache: Cache = cycle.cache
        self._tick = 0
        self._trackers: list[tuple[Tracker, int, bool]] = []
        """(tracker, weight of its score, whether it filters)."""
        self._pools: OrderedDict[int, EvictionPool] = OrderedDict()
        self._promised: OrderedDict[int, PromisedNodes] = OrderedDict()
        self._build()

    # Keeping up.

    def _build(self) -> None:
        cycle, profile = self._cycle, self._profile
        self._pools.clear()
        self._promised.clear()
        cycle.notes.clear()
        cycle.skip_filter.clear()
        cycle.skip_score.clear()
        weights = {plugin.name: weight for plugin, weight in profile.scorers}
        self._trackers = []
        self._static_filters: list[Plugin] = []
        self._usage_filters: list[Plugin] = []
        self._static_scorers: list[tuple[Plugin, int]] = []
        self._usage_scorers: list[tuple[Plugin, int]] = []
        self._factor_scorers: list[tuple[Plugin, int]] = []
        for plugin in profile.plugins:
            if plugin.reads is Reads.OTHERS:
                tracker = plugin.tracker(cycle)
                if tracker is not None:
                    self._trackers.append((tracker, weights.get(plugin.name, 0), plugin in profile.filters))
                continue
            filters = plugin in profile.filters
            if isinstance(plugin.pre_filter(cycle), Skip):
                filters = False
            if filters:
                (self._static_filters if plugin.reads is Reads.NODE else self._usage_filters).append(plugin)
            weight = weights.get(plugin.name, 0)
            if weight and not isinstance(plugin.pre_score(cycle, ()), Skip):
                if plugin.normalization != "none":
                    self._factor_scorers.append((plugin, weight))
                elif plugin.reads is Reads.NODE:
                    self._static_scorers.append((plugin, weight))
                else:
                    self._usage_scorers.append((plugin, weight))
        self._has_usage_factors = any(plugin.reads is Reads.USAGE for plugin, _ in self._factor_scorers)
        self._version = self._cache.version
        self._topology = self._cache.topology_version
        self._slots: dict[str, _Slot] = {}
        self._groups: dict[tuple[Any, ...], _Group] = {}
        self._refusals: Counter[Verdict] = Counter()
        self._hidden: set[str] = set()
        """Feasible nodes that the last choice left out; they are in no group."""
        for node in self._cache.nodes.values():
            self._repair(node.name, is_static=True)

    def catch_up(self) -> None:
        """Take in what changed since the last time."""
        cache = self._cache
        if self._version == cache.version and self._topology == cache.topology_version:
            return
        changes = cache.changes_since(self._version)
        if changes is None or (self._trackers and self._topology != cache.topology_version):
            self._build()
            return
        dirty: dict[str, bool] = {}
        for change in changes:
            name = change.node.name
            dirty[name] = dirty.get(name, False) or change.pod is None
            for tracker, _, _ in self._trackers:
                tracker.observe(change)
        if any(tracker.is_stale for tracker, _, _ in self._trackers):
            self._build()
            return
        self._version, self._topology = cache.version, cache.topology_version
        for name, is_static in dirty.items():
            self._repair(name, is_static=is_static)

    def _repair(self, name: str, *, is_static: bool = False) -> None:
        node = self._cache.nodes.get(name)
        slot = self._slots.get(name)
        if slot is not None:
            self._take_out(slot)
        if node is None:
            self._slots.pop(name, None)
            return
        if slot is None or slot.node is not node:
            slot = self._slots[name] = _Slot(node)
            is_static = True
        cycle = self._cycle
        if is_static:
            slot.static_verdict = run_filters(self._static_filters, cycle, node)
        if is_static or self._has_usage_factors:
            slot.static_factors = tuple(plugin.score(cycle, node) for plugin, _ in self._factor_scorers)
        verdict = slot.static_verdict
        if verdict is None:
            for plugin in self._usage_filters:
                verdict = plugin.filter(cycle, node)
                if verdict is not None:
                    break
        slot.verdict = verdict
        self._put_in(slot)

    def _take_out(self, slot: _Slot) -> None:
        group = slot.group
        if group is not None:
            slot.group = None
            group.count -= 1
            if not group.count:
                del self._groups[group.factors]
        elif slot.verdict is not None:
            left = self._refusals[slot.verdict] - 1
            if left:
                self._refusals[slot.verdict] = left
            else:
                del self._refusals[slot.verdict]

    def _put_in(self, slot: _Slot) -> None:
        if slot.verdict is not None:
            self._refusals[slot.verdict] += 1
            return
        cycle, node = self._cycle, slot.node
        if node.name in self._hidden:
            return
        score = 0
        for plugin, weight in self._usage_scorers:
            score += weight * plugin.score(cycle, node)
        for plugin, weight in self._static_scorers:
            score += weight * plugin.score(cycle, node)
        slot.score = score
        factors: tuple[Any, ...] = slot.static_factors
        if self._trackers:
            factors = (*factors, *(tracker.factor(node) for tracker, _, _ in self._trackers))
        group = self._groups.get(factors)
        if group is None:
            group = self._groups[factors] = _Group(factors)
        self._tick += 1
        slot.tick = self._tick
        slot.group = group
        group.count += 1
        group.push(slot)

    # Choosing.

    def choose(self, without: Mapping[str, Any] = NOTHING) -> tuple[NodeInfo, int] | None:
        """The best feasible node and its score; None when there is none.

        `without`: by name the nodes that are not feasible for this one pod, because they are promised to others.
        They stay hidden until a choice no longer leaves them out, so that only differences cost anything.
        """
        if without or self._hidden:
            for name in self._hidden.difference(without):
                self._hidden.discard(name)
                slot = self._slots.get(name)
                if slot is not None and slot.verdict is None:
                    self._put_in(slot)
            for name in without.keys() - self._hidden:
                slot = self._slots.get(name)
                if slot is not None and slot.group is not None:
                    self._take_out(slot)
                    self._hidden.add(name)
        best = self._best()
        return None if best is None else (best[0].node, best[1])

    # Evicting.

    @property
    def is_local(self) -> bool:
        """Whether nothing but a node itself is against it: no filter looks at other nodes' pods."""
        return not any(filters and tracker.refuses for tracker, _, filters in self._trackers)

    @property
    def local_filters(self) -> tuple[Plugin, ...]:
        """The filters that look at nothing but the node, prepared in `cycle`."""
        return (*self._static_filters, *self._usage_filters)

    @property
    def cycle(self) -> Cycle:
        """The cycle in which the local filters are prepared, for any pod of the signature."""
        return self._cycle

    def evictions(self, priority: int) -> EvictionPool:
        """The eviction plans for pods of this priority; only while `is_local`."""
        return self._of_priority(self._pools, priority, EvictionPool)

    def promised(self, priority: int) -> PromisedNodes:
        """The nodes that pods of this priority must leave to others; only while `is_local`."""
        return self._of_priority(self._promised, priority, PromisedNodes)

    def _of_priority(
        self, kept: OrderedDict[int, _Kept], priority: int, make: Callable[[Sequence[Plugin], Cycle], _Kept]
    ) -> _Kept:
        found = kept.get(priority)
        if found is None:
            found = kept[priority] = make(self.local_filters, self._cycle)
            if len(kept) > POOLS_MAX:
                kept.popitem(last=False)
        kept.move_to_end(priority)
        return found

    def verdict(self, name: str) -> Verdict | None:
        """What on the node itself is against it."""
        slot = self._slots.get(name)
        return slot.verdict if slot is not None and slot.group is None else None

    def is_candidate(self, name: str) -> bool:
        """Whether nothing on the node itself is against it (other nodes' pods may be)."""
        slot = self._slots.get(name)
        return slot is not None and slot.verdict is None

    def feasible(self) -> set[str]:
        """The names of all feasible nodes."""
        open_groups = {id(group) for group in self._open_groups()}
        return {name for name, slot in self._slots.items() if slot.group is not None and id(slot.group) in open_groups}

    def _open_groups(self) -> list[_Group]:
        groups = [*self._groups.values()]
        offset = len(self._factor_scorers)
        for number, (tracker, _, filters) in enumerate(self._trackers):
            if filters:
                verdicts: dict[Any, Verdict | None] = {}
                kept: list[_Group] = []
                for group in groups:
                    factor = group.factors[offset + number]
                    if factor not in verdicts:
                        verdicts[factor] = tracker.verdict(factor)
                    if verdicts[factor] is None:
                        kept.append(group)
                groups = kept
        return groups

    def _best(self) -> tuple[_Slot, int] | None:
        groups = self._open_groups()
        if not groups:
            return None
        if len(groups) == 1 and not self._trackers and not self._factor_scorers:
            slot = groups[0].best()
            return slot, slot.score
        shared = [0] * len(groups)
        for number, (plugin, weight) in enumerate(self._factor_scorers):
            raw = [group.factors[number] for group in groups]
            scaled = normalized(raw, reverse=plugin.normalization == "down")
            shared = [total + weight * score for total, score in zip(shared, scaled, strict=True)]
        offset = len(self._factor_scorers)
        for number, (tracker, weight, _) in enumerate(self._trackers):
            if not weight:
                continue
            factors: Counter[Hashable] = Counter()
            for group in groups:
                factors[group.factors[offset + number]] += group.count
            scores = tracker.scores(factors)
            shared = [
                total + weight * scores[group.factors[offset + number]]
                for total, group in zip(shared, groups, strict=True)
            ]
        best: _Slot | None = None
        best_score = 0
        for group, extra in zip(groups, shared, strict=True):
            slot = group.best()
            score = slot.score + extra
            if best is None or score > best_score or (score == best_score and slot.tick < best.tick):
                best, best_score = slot, score
        assert best is not None
        return best, best_score

    # Explaining.

    def refusals(self) -> Counter[Verdict]:
        """How many nodes each verdict refuses."""
        found = Counter(self._refusals)
        for group in self._groups.values():
            verdict = self._group_verdict(group)
            if verdict is not None:
                found[verdict] += group.count
        return found

    def refused(self) -> Iterator[tuple[NodeInfo, Verdict]]:
        """Every refused node with its verdict."""
        verdicts = {id(group): self._group_verdict(group) for group in self._groups.values()}
        for slot in self._slots.values():
            verdict = slot.verdict if slot.group is None else verdicts[id(slot.group)]
            if verdict is not None:
                yield slot.node, verdict

    def _group_verdict(self, group: _Group) -> Verdict | None:
        offset = len(self._factor_scorers)
        for number, (tracker, _, filters) in enumerate(self._trackers):
            if filters:
                verdict = tracker.verdict(group.factors[offset + number])
                if verdict is not None:
                    return verdict
        return None


class Placements:
    """The placements of the signatures seen of late."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._placements: OrderedDict[Hashable, Placement] = OrderedDict()
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._is_unsignable = any(
            plugin.reads is Reads.ANYTHING
            or (plugin.reads is not Reads.OTHERS and type(plugin).normalize is not Plugin.normalize)
            for plugin in profile.plugins
        )

    def signature(self, cycle: Cycle) -> Hashable:
        """What all plugins read of a pod; None when no signature can say it."""
        if self._is_unsignable:
            return None
        parts: list[Hashable] = []
        for plugin in self._profile.plugins:
            part = plugin.sign(cycle)
            if part is UNSIGNABLE:
                return None
            parts.append(part)
        return tuple(parts)

    def find(self, cycle: Cycle) -> Placement | None:
        """The placement for a pod, brought up to date.

        None for a pod without a signature, or with one never seen before: building the heap only
        pays from the second pod on.
        """
        signature = self.signature(cycle)
        if signature is None:
            return None
        placement = self._placements.get(signature)
        if placement is not None:
            self._placements.move_to_end(signature)
            placement.catch_up()
            return placement
        seen = hash(signature)
        if seen not in self._seen:
            self._seen[seen] = None
            if len(self._seen) > SEEN_MAX:
                self._seen.popitem(last=False)
            return None
        placement = self._placements[signature] = Placement(self._profile, cycle)
        nodes = max(len(cycle.cache.nodes), 1)
        while len(self._placements) > max(1, min(PLACEMENTS_MAX, SLOTS_MAX // nodes)):
            self._placements.popitem(last=False)
        return placement
