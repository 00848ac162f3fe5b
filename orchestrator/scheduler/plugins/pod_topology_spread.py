"""PodTopologySpread: keep the pods of a group evenly over zones, nodes, or any other label.

`DoNotSchedule` constraints filter by skew, `ScheduleAnyway` ones score. A pod without constraints of
its own gets the cluster's: softly over nodes and zones, together with the pods that its Service or
owner selects (https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from orchestrator.api.node_selection import matches_required_affinity
from orchestrator.api.objects import labels_of
from orchestrator.api.resources import NODES, PODS, Resource
from orchestrator.api.selectors import IN, LabelSelector, Requirement, from_label_selector
from orchestrator.scheduler.cache import Cache, Change
from orchestrator.scheduler.fields import ConfigurationError, check_fields, check_range
from orchestrator.scheduler.framework import (
    MAX_NODE_SCORE,
    Action,
    ClusterEvent,
    Cycle,
    TrackedPlugin,
    Verdict,
)
from orchestrator.scheduler.node_info import HOSTNAME_LABEL, ZONE_LABEL, NodeInfo
from orchestrator.scheduler.plugins.taint_toleration import untolerated
from orchestrator.scheduler.pod_info import PodInfo

NAME: Final = "PodTopologySpread"
MISSING_LABEL = Verdict(
    NAME, ("node(s) didn't match pod topology spread constraints (missing required label)",), resolvable=False
)
TOO_SKEWED = Verdict(NAME, ("node(s) didn't match pod topology spread constraints",))


class Constraint(NamedTuple):
    """One entry of `topologySpreadConstraints`, or one of the cluster's defaults."""

    key: str
    skew_max: int
    selector: LabelSelector
    domains_min: int = 1
    honors_affinity: bool = True
    honors_taints: bool = False

    def includes(self, pod: PodInfo, node: NodeInfo) -> bool:
        """Whether the pods of a node count (nodeAffinityPolicy, nodeTaintsPolicy; KEP-3094)."""
        if self.honors_affinity and not matches_required_affinity(pod.spec, node.labels, node.name):
            return False
        return not (self.honors_taints and node.taints and untolerated(pod, node.taints, ("NoSchedule", "NoExecute")))


def spec_constraints(pod: PodInfo, when_unsatisfiable: str) -> tuple[Constraint, ...]:
    """The pod's own constraints of one kind; labels named by matchLabelKeys join the selector (KEP-3243)."""
    found: list[Constraint] = []
    for entry in pod.spec.get("topologySpreadConstraints") or ():
        if (entry.get("whenUnsatisfiable") or "DoNotSchedule") != when_unsatisfiable:
            continue
        selector = from_label_selector(entry.get("labelSelector"))
        extra = tuple(
            Requirement(key, IN, (pod.labels[key],)) for key in entry.get("matchLabelKeys") or () if key in pod.labels
        )
        if extra and not selector.is_nothing:
            selector = LabelSelector((*selector.requirements, *extra))
        found.append(
            Constraint(
                entry.get("topologyKey") or "",
                int(entry.get("maxSkew") or 1),
                selector,
                int(entry.get("minDomains") or 1),
                entry.get("nodeAffinityPolicy") != "Ignore",
                entry.get("nodeTaintsPolicy") == "Honor",
            )
        )
    return tuple(found)


def _is_system_defaulted(arguments: Mapping[str, Any]) -> bool:
    """Check PodTopologySpreadArgs; whether the built-in default constraints hold."""
    kind = arguments.get("defaultingType") or "System"
    if kind not in ("System", "List"):
        raise ConfigurationError(f'defaultingType: Unsupported value: {kind!r}: supported values: "System", "List"')
    constraints = arguments.get("defaultConstraints") or ()
    if constraints and kind == "System":
        raise ConfigurationError(
            "defaultingType: Invalid value: when .defaultConstraints are specified, it must be List"
        )
    for position, entry in enumerate(constraints):
        where = f"defaultConstraints[{position}]"
        check_fields(entry, {"topologyKey": str, "maxSkew": int, "whenUnsatisfiable": str}, where)
        if not entry.get("topologyKey"):
            raise ConfigurationError(f"{where}.topologyKey: Required value: can not be empty")
        check_range(entry.get("maxSkew"), 1, 2**31 - 1, f"{where}.maxSkew")
        if entry.get("whenUnsatisfiable") not in ("DoNotSchedule", "ScheduleAnyway"):
            raise ConfigurationError(
                f"{where}.whenUnsatisfiable: Unsupported value: {entry.get('whenUnsatisfiable')!r}: "
                'supported values: "DoNotSchedule", "ScheduleAnyway"'
            )
    return bool(kind == "System")


class PodTopologySpread(TrackedPlugin):
    """Filters by hard constraints, scores by soft ones."""

    name: ClassVar[str] = NAME
    argument_fields: ClassVar[Mapping[str, type] | None] = {"defaultConstraints": list, "defaultingType": str}
    hints: ClassVar[Mapping[Resource, Action]] = {PODS: Action.ALL, NODES: Action.ALL}

    def __init__(self, arguments: Mapping[str, Any] | None = None) -> None:
        super().__init__(arguments)
        self._is_system_defaulted = _is_system_defaulted(self.arguments)
        if self._is_system_defaulted:
            self._defaults: Sequence[Mapping[str, Any]] = (
                {"topologyKey": HOSTNAME_LABEL, "maxSkew": 3, "whenUnsatisfiable": "ScheduleAnyway"},
                {"topologyKey": ZONE_LABEL, "maxSkew": 5, "whenUnsatisfiable": "ScheduleAnyway"},
            )
        else:
            self._defaults = self.arguments.get("defaultConstraints") or ()

    def _constraints(self, cycle: Cycle) -> tuple[tuple[Constraint, ...], tuple[Constraint, ...]]:
        pod = cycle.pod
        if pod.spec.get("topologySpreadConstraints"):
            known: tuple[tuple[Constraint, ...], tuple[Constraint, ...]] | None = pod.fragments.get(NAME)
            if known is None:
                known = spec_constraints(pod, "DoNotSchedule"), spec_constraints(pod, "ScheduleAnyway")
                pod.fragments[NAME] = known
            return known
        selector = cycle.listers.default_selector(pod) if self._defaults else None
        if selector is None:
            return (), ()
        hard, soft = (
            tuple(
                Constraint(entry["topologyKey"], int(entry["maxSkew"]), selector)
                for entry in self._defaults
                if entry.get("whenUnsatisfiable") == kind
            )
            for kind in ("DoNotSchedule", "ScheduleAnyway")
        )
        return hard, soft

    def sign(self, cycle: Cycle) -> Hashable:
        hard, soft = self._constraints(cycle)
        if not hard and not soft:
            return None
        pod = cycle.pod
        return pod.namespace, hard, soft, tuple(c.selector.matches(pod.labels) for c in hard)

    def tracker(self, cycle: Cycle) -> SpreadTracker | None:
        hard, soft = self._constraints(cycle)
        if not hard and not soft:
            return None
        needs_all_keys = bool(cycle.pod.spec.get("topologySpreadConstraints")) or not self._is_system_defaulted
        return SpreadTracker(cycle.cache, cycle.pod, hard, soft, needs_all_keys=needs_all_keys)

    def may_help(self, pod: PodInfo, event: ClusterEvent) -> bool:
        hard = spec_constraints(pod, "DoNotSchedule")
        if event.resource is PODS:
            subjects = [info for info in (event.old_pod, event.new_pod) if info is not None]
            if any(info.uid == pod.uid for info in subjects):
                return True
            return any(
                info.namespace == pod.namespace and constraint.selector.matches(info.labels)
                for info in subjects
                for constraint in hard
            )
        return any(
            node is not None and all(constraint.key in labels_of(node) for constraint in hard)
            for node in (event.old, event.new)
        )


class SpreadTracker:
    """Matching pods counted by domain, for the constraints of one signature."""

    is_stale = False

    def __init__(
        self,
        cache: Cache,
        pod: PodInfo,
        hard: tuple[Constraint, ...],
        soft: tuple[Constraint, ...],
        *,
        needs_all_keys: bool,
    ) -> None:
        self._pod = pod
        self._hard = hard
        self._soft = soft
        self._needs_all_keys = needs_all_keys
        self._self_matches = [int(constraint.selector.matches(pod.labels)) for constraint in hard]
        self._counts: list[dict[str, int]] = [{} for _ in hard]
        self._histograms: list[Counter[int]] = [Counter() for _ in hard]
        self._soft_counts: list[dict[str, int]] = [{} for _ in soft]
        self._soft_per_node = [constraint.key == HOSTNAME_LABEL for constraint in soft]
        self._minima: list[int] = []
        self._is_minima_fresh = False
        self._eligible: dict[str, tuple[tuple[bool, ...], tuple[bool, ...]]] = {}
        values: list[set[str]] = [set() for _ in hard]
        having = [0] * len(hard)
        for node in cache.nodes.values():
            for number, constraint in enumerate(hard):
                if constraint.key in node.labels:
                    values[number].add(node.labels[constraint.key])
                    having[number] += 1
            self._count_node(node)
        # When every domain is a single node, the count itself tells nodes apart: few groups instead of many.
        self._is_per_node = [len(values[number]) == having[number] for number in range(len(hard))]

    def _eligibility(self, node: NodeInfo) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
        known = self._eligible.get(node.name)
        if known is None:
            labels = node.labels
            has_hard = all(constraint.key in labels for constraint in self._hard)
            has_soft = not self._needs_all_keys or all(constraint.key in labels for constraint in self._soft)
            known = (
                tuple(has_hard and constraint.includes(self._pod, node) for constraint in self._hard),
                tuple(
                    per_node or (has_soft and constraint.includes(self._pod, node))
                    for constraint, per_node in zip(self._soft, self._soft_per_node, strict=True)
                ),
            )
            self._eligible[node.name] = known
        return known

    def _count_node(self, node: NodeInfo) -> None:
        hard, _ = self._eligibility(node)
        for number, constraint in enumerate(self._hard):
            if hard[number]:
                value = node.labels[constraint.key]
                if value not in self._counts[number]:
                    self._counts[number][value] = 0
                    self._histograms[number][0] += 1
        for pod in node.pods.values():
            self._count_pod(node, pod, 1)

    def _count_pod(self, node: NodeInfo, pod: PodInfo, sign: int) -> None:
        if pod.is_terminating or pod.namespace != self._pod.namespace:
            return
        hard, soft = self._eligibility(node)
        for number, constraint in enumerate(self._hard):
            if hard[number] and _selects(constraint.selector, pod):
                counts, histogram = self._counts[number], self._histograms[number]
                value = node.labels[constraint.key]
                count = counts[value]
                counts[value] = count + sign
                histogram[count + sign] += 1
                histogram[count] -= 1
                if not histogram[count]:
                    del histogram[count]
                self._is_minima_fresh = False
        for number, constraint in enumerate(self._soft):
            if soft[number] and _selects(constraint.selector, pod):
                place = node.name if self._soft_per_node[number] else node.labels.get(constraint.key, "")
                self._soft_counts[number][place] = self._soft_counts[number].get(place, 0) + sign

    def observe(self, change: Change) -> None:
        if change.pod is not None and change.node.obj is not None:
            self._count_pod(change.node, change.pod, change.sign)

    def factor(self, node: NodeInfo) -> Hashable:
        return self._hard_factor(node), self._soft_factor(node)

    def _hard_factor(self, node: NodeInfo) -> tuple[str | int, ...] | None:
        parts: list[str | int] = []
        for number, constraint in enumerate(self._hard):
            value = node.labels.get(constraint.key)
            if value is None:
                return None
            parts.append(self._counts[number].get(value, 0) if self._is_per_node[number] else value)
        return tuple(parts)

    def _soft_factor(self, node: NodeInfo) -> tuple[str | int | None, ...] | None:
        parts: list[str | int | None] = []
        for number, constraint in enumerate(self._soft):
            value = node.labels.get(constraint.key)
            if value is None and self._needs_all_keys:
                return None
            if value is not None and self._soft_per_node[number]:
                parts.append(self._soft_counts[number].get(node.name, 0))
            else:
                parts.append(value)
        return tuple(parts)

    def _minimum(self, number: int) -> int:
        if not self._is_minima_fresh:
            self._minima = [
                0 if len(counts) < constraint.domains_min else min(histogram, default=2**31 - 1)
                for constraint, counts, histogram in zip(self._hard, self._counts, self._histograms, strict=True)
            ]
            self._is_minima_fresh = True
        return self._minima[number]

    @property
    def refuses(self) -> bool:
        return bool(self._hard)

    def verdict(self, factor: Any) -> Verdict | None:
        hard = factor[0]
        if hard is None:
            return MISSING_LABEL
        for number, constraint in enumerate(self._hard):
            part = hard[number]
            count = part if self._is_per_node[number] else self._counts[number].get(part, 0)
            if count + self._self_matches[number] - self._minimum(number) > constraint.skew_max:
                return TOO_SKEWED
        return None

    def scores(self, factors: Mapping[Any, int]) -> Mapping[Any, int]:
        if not self._soft:
            return dict.fromkeys(factors, 0)
        scored: dict[Any, list[Any]] = {}
        for factor in factors:
            if factor[1] is not None:
                scored.setdefault(factor[1], []).append(factor)
        sizes: list[int] = []
        for number, per_node in enumerate(self._soft_per_node):
            if per_node:
                sizes.append(sum(count for factor, count in factors.items() if factor[1] is not None))
            else:
                sizes.append(len({soft[number] for soft in scored}))
        weights = [math.log(size + 2) for size in sizes]
        raw: dict[Any, int] = {}
        for soft in scored:
            total = 0.0
            for number, constraint in enumerate(self._soft):
                part = soft[number]
                if part is not None:
                    count = part if self._soft_per_node[number] else self._soft_counts[number].get(part, 0)
                    total += count * weights[number] + (constraint.skew_max - 1)
            raw[soft] = math.floor(total + 0.5)
        largest, smallest = max(raw.values(), default=0), min(raw.values(), default=0)
        result: dict[Any, int] = {}
        for factor in factors:
            if factor[1] is None:
                result[factor] = 0
            elif largest == 0:
                result[factor] = MAX_NODE_SCORE
            else:
                result[factor] = MAX_NODE_SCORE * (largest + smallest - raw[factor[1]]) // largest
        return result


def _selects(selector: LabelSelector, pod: PodInfo) -> bool:
    # An empty selector counts no pod here, as in kube-scheduler.
    return not selector.is_everything and selector.matches(pod.labels)
