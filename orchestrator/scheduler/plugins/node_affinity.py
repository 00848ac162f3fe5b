"""NodeAffinity: nodeSelector, and node affinity required and preferred.

Terms are alternatives, expressions within a term all hold
(https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#node-affinity).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, ClassVar

import orjson

from orchestrator.api.objects import labels_of, name_of
from orchestrator.api.resources import NODES, PODS, Resource
from orchestrator.scheduler.framework import SKIP, Action, ClusterEvent, Cycle, Plugin, Reads, Skip, Verdict
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.pod_info import PodInfo


def matches_expression(expression: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    """Whether one NodeSelectorRequirement holds for these labels (or fields)."""
    key, operator = expression.get("key", ""), expression.get("operator")
    wanted: Sequence[str] = expression.get("values") or ()
    if operator == "In":
        return key in values and values[key] in wanted
    if operator == "NotIn":
        return key not in values or values[key] not in wanted
    if operator == "Exists":
        return key in values
    if operator == "DoesNotExist":
        return key not in values
    if operator in ("Gt", "Lt"):
        try:
            actual, bound = int(values[key]), int(wanted[0])
        except (KeyError, ValueError, IndexError):
            return False
        return actual > bound if operator == "Gt" else actual < bound
    return False


def matches_term(term: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    """Whether a NodeSelectorTerm matches a node; an empty term matches none."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(matches_expression(e, labels) for e in expressions) and all(
        matches_expression(e, {"metadata.name": name}) for e in fields
    )


def required_terms(affinity: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
    """The terms of which one must match; None when nothing is required."""
    required = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return None
    terms: Sequence[Mapping[str, Any]] = required.get("nodeSelectorTerms") or ()
    return terms


def matches_required(spec: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    """Whether a pod's nodeSelector and required node affinity allow a node."""
    selector = spec.get("nodeSelector")
    if selector and not selector.items() <= labels.items():
        return False
    affinity = spec.get("affinity")
    if affinity:
        terms = required_terms(affinity)
        if terms is not None:
            return any(matches_term(term, labels, name) for term in terms)
    return True


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
        return None if matches_required(cycle.pod.spec, node.labels, node.name) else self._refusal

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
        return event.new is not None and matches_required(pod.spec, labels_of(event.new), name_of(event.new))


def _preferred(affinity: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = (affinity.get("nodeAffinity") or {}).get(
        "preferredDuringSchedulingIgnoredDuringExecution"
    ) or ()
    return found


def _is_preferred(preference: Mapping[str, Any], node: NodeInfo) -> bool:
    return matches_term(preference, node.labels, node.name)
