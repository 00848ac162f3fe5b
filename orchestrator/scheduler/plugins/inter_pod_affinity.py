"""InterPodAffinity: run near these pods, or away from those; required or preferred, both ways.

Terms of the pod to place look at placed pods; terms of placed pods look at it: their required
anti-affinity forbids, their preferences and required affinity weigh
(https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Any, ClassVar, Final, NamedTuple

import orjson

from orchestrator.api.objects import labels_of
from orchestrator.api.resources import NODES, PODS, Resource
from orchestrator.api.selectors import IN, NOT_IN, LabelSelector, Requirement, from_label_selector
from orchestrator.scheduler.cache import Cache, Change
from orchestrator.scheduler.fields import check_range
from orchestrator.scheduler.framework import (
    MAX_NODE_SCORE,
    Action,
    ClusterEvent,
    Cycle,
    TrackedPlugin,
    Verdict,
)
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.pod_info import PodInfo

NAME: Final = "InterPodAffinity"
NOT_NEAR = Verdict(NAME, ("node(s) didn't match pod affinity rules",), resolvable=False)
TOO_NEAR = Verdict(NAME, ("node(s) didn't match pod anti-affinity rules",))
REPELLED = Verdict(NAME, ("node(s) didn't satisfy existing pods anti-affinity rules",))

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"

Place = tuple[str, str]
"""A topology key and one of its values."""


class Term(NamedTuple):
    """A PodAffinityTerm with everything resolved that its own pod decides."""

    key: str
    selector: LabelSelector
    namespaces: frozenset[str]
    namespace_selector: LabelSelector
    weight: int = 0
    """For preferred terms, negative for anti-affinity."""

    def matches(self, pod: PodInfo, namespaces: Mapping[str, Mapping[str, str]]) -> bool:
        """Whether a pod is one of those that the term speaks of."""
        if pod.namespace not in self.namespaces:
            selector = self.namespace_selector
            if selector.is_nothing or not selector.matches(namespaces.get(pod.namespace) or {}):
                return False
        return self.selector.matches(pod.labels)


class Terms(NamedTuple):
    """All pod (anti-)affinity of one pod."""

    affinity: tuple[Term, ...] = ()
    anti_affinity: tuple[Term, ...] = ()
    preferred: tuple[Term, ...] = ()


NO_TERMS: Final = Terms()


def _term(owner: PodInfo, term: Mapping[str, Any], weight: int = 0) -> Term:
    selector = from_label_selector(term.get("labelSelector"))
    labels = owner.labels
    extra = [Requirement(key, IN, (labels[key],)) for key in term.get("matchLabelKeys") or () if key in labels]
    extra += [Requirement(key, NOT_IN, (labels[key],)) for key in term.get("mismatchLabelKeys") or () if key in labels]
    if extra and not selector.is_nothing:
        selector = LabelSelector((*selector.requirements, *extra))
    namespaces = frozenset(term.get("namespaces") or ())
    namespace_selector = term.get("namespaceSelector")
    if not namespaces and namespace_selector is None:
        namespaces = frozenset((owner.namespace,))
    return Term(term.get("topologyKey") or "", selector, namespaces, from_label_selector(namespace_selector), weight)


def terms_of(pod: PodInfo) -> Terms:
    """The pod's terms; worked out once."""
    affinity = pod.spec.get("affinity")
    if not affinity:
        return NO_TERMS
    known: Terms | None = pod.fragments.get(NAME)
    if known is None:
        near, away = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
        known = Terms(
            tuple(_term(pod, term) for term in near.get(REQUIRED) or ()),
            tuple(_term(pod, term) for term in away.get(REQUIRED) or ()),
            tuple(
                _term(pod, entry.get("podAffinityTerm") or {}, sign * int(entry.get("weight") or 0))
                for sign, side in ((1, near), (-1, away))
                for entry in side.get(PREFERRED) or ()
            ),
        )
        pod.fragments[NAME] = known
    return known


class InterPodAffinity(TrackedPlugin):
    """Filters by required terms of both sides, scores by all others."""

    name: ClassVar[str] = NAME
    argument_fields: ClassVar[Mapping[str, type] | None] = {
        "hardPodAffinityWeight": int,
        "ignorePreferredTermsOfExistingPods": bool,
    }
    hints: ClassVar[Mapping[Resource, Action]] = {PODS: Action.ALL, NODES: Action.ADD | Action.UPDATE}

    def __init__(self, arguments: Mapping[str, Any] | None = None) -> None:
        super().__init__(arguments)
        weight = self.arguments.get("hardPodAffinityWeight")
        self._hard_weight = 1 if weight is None else check_range(weight, 0, 100, "hardPodAffinityWeight")
        self._ignores_preferred = bool(self.arguments.get("ignorePreferredTermsOfExistingPods"))

    def sign(self, cycle: Cycle) -> Hashable:
        pod = cycle.pod
        terms = terms_of(pod)
        if terms == NO_TERMS and not cycle.cache.affinity_pods:
            return None
        return pod.namespace, orjson.dumps(pod.labels, option=orjson.OPT_SORT_KEYS), terms

    def tracker(self, cycle: Cycle) -> AffinityTracker | None:
        terms = terms_of(cycle.pod)
        if terms == NO_TERMS and not cycle.cache.affinity_pods:
            return None
        return AffinityTracker(
            cycle.cache, cycle.pod, hard_weight=self._hard_weight, ignores_preferred=self._ignores_preferred
        )

    def may_help(self, pod: PodInfo, event: ClusterEvent) -> bool:
        terms = terms_of(pod)
        if event.resource is not PODS:
            labels = labels_of(event.new or {})
            # A new or changed place for our terms, or one without those who repel us.
            return not terms.affinity or all(term.key in labels for term in terms.affinity)
        old, new = event.old_pod, event.new_pod
        if new is not None and new.uid == pod.uid:
            return True
        if new is not None and terms.affinity:
            # Namespace labels are not at hand here: a namespaceSelector counts as a match.
            return any(
                term.selector.matches(new.labels)
                and (new.namespace in term.namespaces or not term.namespace_selector.is_nothing)
                for term in terms.affinity
            )
        return old is not None and (new is None or new.labels != old.labels or bool(terms.anti_affinity))


class AffinityTracker:
    """Who is where, as far as one signature cares, counted by place."""

    def __init__(self, cache: Cache, pod: PodInfo, *, hard_weight: int, ignores_preferred: bool) -> None:
        self._pod = pod
        self._terms = terms_of(pod)
        self._namespaces = cache.namespaces
        self._hard_weight = hard_weight
        self._ignores_preferred = ignores_preferred
        self._near: dict[Place, int] = {}
        self._away: dict[Place, int] = {}
        self._repelling: dict[Place, int] = {}
        self._weights: dict[Place, int] = {}
        self._is_self_near = bool(self._terms.affinity) and all(
            term.matches(pod, cache.namespaces) for term in self._terms.affinity
        )
        self._keys = sorted(
            {term.key for term in (*self._terms.affinity, *self._terms.anti_affinity, *self._terms.preferred)}
        )
        self.is_stale = False
        has_own = bool(self._keys)
        nodes = cache.nodes.values()
        for node in nodes:
            pods: Collection[PodInfo] = node.pods.values() if has_own else node.pods_with_affinity.values()
            for other in pods:
                self._count(node, other, 1)
        self._keys.sort()
        self.is_stale = False
        self._per_node: set[str] = set()
        for key in self._keys:
            values = [node.labels[key] for node in nodes if key in node.labels]
            if len(set(values)) == len(values):
                self._per_node.add(key)

    def _add(self, counts: dict[Place, int], key: str, node: NodeInfo, amount: int) -> None:
        value = node.labels.get(key)
        if value is None or not amount:
            return
        place = (key, value)
        count = counts.get(place, 0) + amount
        if count:
            counts[place] = count
        else:
            counts.pop(place, None)
        if key not in self._keys:
            self._keys.append(key)
            self.is_stale = True

    def _count(self, node: NodeInfo, other: PodInfo, sign: int) -> None:
        namespaces, terms = self._namespaces, self._terms
        if terms.affinity and all(term.matches(other, namespaces) for term in terms.affinity):
            for term in terms.affinity:
                self._add(self._near, term.key, node, sign)
        for term in terms.anti_affinity:
            if term.matches(other, namespaces):
                self._add(self._away, term.key, node, sign)
        for term in terms.preferred:
            if term.matches(other, namespaces):
                self._add(self._weights, term.key, node, sign * term.weight)
        theirs = terms_of(other)
        if theirs is NO_TERMS:
            return
        pod = self._pod
        for term in theirs.anti_affinity:
            if term.matches(pod, namespaces):
                self._add(self._repelling, term.key, node, sign)
        if self._hard_weight:
            for term in theirs.affinity:
                if term.matches(pod, namespaces):
                    self._add(self._weights, term.key, node, sign * self._hard_weight)
        if not self._ignores_preferred or terms.preferred:
            for term in theirs.preferred:
                if term.matches(pod, namespaces):
                    self._add(self._weights, term.key, node, sign * term.weight)

    def observe(self, change: Change) -> None:
        if change.pod is not None and change.node.obj is not None:
            self._count(change.node, change.pod, change.sign)

    def factor(self, node: NodeInfo) -> Hashable:
        labels = node.labels
        parts: list[Any] = []
        for key in self._keys:
            value = labels.get(key)
            if value is not None and key in self._per_node:
                parts.append(self._numbers((key, value)))
            else:
                parts.append(value)
        return tuple(parts)

    def _numbers(self, place: Place) -> tuple[bool, bool, bool, int]:
        return place in self._near, place in self._away, place in self._repelling, self._weights.get(place, 0)

    def _read(self, factor: Any) -> dict[str, tuple[bool, bool, bool, int]]:
        return {
            key: self._numbers((key, part)) if isinstance(part, str) else part
            for key, part in zip(self._keys, factor, strict=True)
            if part is not None
        }

    @property
    def refuses(self) -> bool:
        return bool(self._terms.affinity or self._away or self._repelling)

    def verdict(self, factor: Any) -> Verdict | None:
        if not self.refuses:
            return None
        terms = self._terms
        numbers = self._read(factor)
        if terms.affinity:
            if any(term.key not in numbers for term in terms.affinity):
                return NOT_NEAR
            if not all(numbers[term.key][0] for term in terms.affinity) and (self._near or not self._is_self_near):
                return NOT_NEAR  # the first pod of a group that wants its own kind may go anywhere
        if any(numbers[term.key][1] for term in terms.anti_affinity if term.key in numbers):
            return TOO_NEAR
        if any(number[2] for number in numbers.values()):
            return REPELLED
        return None

    def scores(self, factors: Mapping[Any, int]) -> Mapping[Any, int]:
        if not self._weights:
            return dict.fromkeys(factors, 0)
        raw = {factor: sum(number[3] for number in self._read(factor).values()) for factor in factors}
        smallest, largest = min(raw.values()), max(raw.values())
        if largest == smallest:
            return dict.fromkeys(factors, 0)
        return {
            factor: int(MAX_NODE_SCORE * ((score - smallest) / (largest - smallest))) for factor, score in raw.items()
        }
