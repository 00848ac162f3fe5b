"""NodeAffinity: nodeSelector, and node affinity required and preferred.

Terms are alternatives, expressions within a term all hold
(https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#node-affinity).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, ClassVar

import orjson

from orchestrator.api.node_selection import matches_required_affinity, matches_term
from orchestrator.api.objects import labels_of, name_of
from orchestrator.api.resources import NODES, PODS, Resource
from orchestrator.scheduler.framework import SKIP, Action, ClusterEvent, Cycle, Plugin, Reads, Skip, Verdict
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.pod_info import PodInfo


def required_terms(affinity: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
    """The terms of which one must match; None when nothing is required."""
    required = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return None
    terms: Sequence[Mapping[str, Any]] = required.get("nodeSelectorTerms") or ()
    return terms


def named_nodes(terms: Sequence[Mapping[str, Any]]) -> set[str] | None:
    """The only nodes that these terms can match, when every term names nodes by metadata.name."""
    found: set[str] = set()
    for term in terms:
        names: set[str] | None = None
        for expression in term.get("matchFields") or ():
            if expression.get("key") == "metadata.name" and expression.get("operator") == "In":
                values = set(expression.get("values") or ())
                names = values if names is None else names & values
        if names is None:
            return None
        found |= names
    return found


class NodeAffinity(Plugin):
    """Refuses nodes that the pod's selector and required terms exclude; adds weights of preferred terms."""

    name: ClassVar[str] = "NodeAffinity"
    argument_fields: ClassVar[Mapping[str, type] | None] = {"addedAffinity": dict}
    reads = Reads.NODE
    normalization = "up"
    hints: ClassVar[Mapping[Resource, Action]] = {NODES: Action.ADD | Action.UPDATE, PODS: Action.UPDATE}
    _refusal = Verdict("NodeAffinity", ("node(s) didn't match Pod's node affinity/selector",), resolvable=False)
    _conflict = Verdict("NodeAffinity", ("pod affinity terms conflict",), resolvable=False)

    def __init__(self, arguments: Mapping[str, Any] | None = None) -> None:
        super().__init__(arguments)
        self._added: Mapping[str, Any] = {"nodeAffinity": self.arguments.get("addedAffinity") or {}}
        self._added_terms = required_terms(self._added)
        self._enforced = Verdict(
            self.name, ("node(s) didn't match scheduler-enforced node affinity",), resolvable=False
        )

    def sign(self, cycle: Cycle) -> Hashable:
        spec = cycle.pod.spec
        selector, affinity = spec.get("nodeSelector"), cycle.pod.affinity.get("nodeAffinity")
        if not selector and not affinity:
            return None
        return orjson.dumps((selector, affinity))

    def pre_filter(self, cycle: Cycle) -> Verdict | Skip | Collection[str] | None:
        pod = cycle.pod
        terms = required_terms(pod.affinity)
        if terms is None:
            return SKIP if not pod.spec.get("nodeSelector") and self._added_terms is None else None
        if not terms:
            return None
        names = named_nodes(terms)
        if names is None:
            return None
        return names or self._conflict

    def filter(self, cycle: Cycle, node: NodeInfo) -> Verdict | None:
        if self._added_terms is not None and not any(
            matches_term(term, node.labels, node.name) for term in self._added_terms
        ):
            return self._enforced
        return None if matches_required_affinity(cycle.pod.spec, node.labels, node.name) else self._refusal

    def pre_score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> Skip | None:
        preferred = [*_preferred(cycle.pod.affinity), *_preferred(self._added)]
        if not preferred:
            return SKIP
        cycle.notes[self.name] = preferred
        return None

    def score(self, cycle: Cycle, node: NodeInfo) -> int:
        return sum(
            int(term.get("weight") or 0)
            for term in cycle.notes[self.name]
            if _is_preferred(term.get("preference") or {}, node)
        )

    def may_help(self, pod: PodInfo, event: ClusterEvent) -> bool:
        if event.resource is PODS:
            return event.new_pod is not None and event.new_pod.uid == pod.uid
        return event.new is not None and matches_required_affinity(pod.spec, labels_of(event.new), name_of(event.new))


def _preferred(affinity: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = (affinity.get("nodeAffinity") or {}).get(
        "preferredDuringSchedulingIgnoredDuringExecution"
    ) or ()
    return found


def _is_preferred(preference: Mapping[str, Any], node: NodeInfo) -> bool:
    return matches_term(preference, node.labels, node.name)
