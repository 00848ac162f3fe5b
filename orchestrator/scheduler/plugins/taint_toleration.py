"""TaintToleration: nodes repel pods that do not tolerate their taints.

NoSchedule and NoExecute forbid, PreferNoSchedule costs points
(https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import orjson

from orchestrator.api.resources import NODES, PODS, Resource
from orchestrator.scheduler.framework import Action, ClusterEvent, Cycle, Plugin, Reads, Verdict
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.pod_info import PodInfo


def tolerates_taint(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether one toleration matches one taint; an empty effect or key matches every one."""
    effect = toleration.get("effect")
    if effect and effect != taint.get("effect"):
        return False
    key = toleration.get("key")
    if key and key != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    if not key:
        return False  # only Exists goes with an empty key
    value, taint_value = toleration.get("value") or "", taint.get("value") or ""
    if operator == "Equal":
        return bool(value == taint_value)
    if operator in ("Gt", "Lt"):  # KEP-5471
        try:
            threshold, actual = int(value), int(taint_value)
        except ValueError:
            return False
        return actual > threshold if operator == "Gt" else actual < threshold
    return False


def tolerates(pod: PodInfo, taint: Mapping[str, Any]) -> bool:
    """Whether any toleration of the pod matches the taint."""
    return any(tolerates_taint(toleration, taint) for toleration in pod.spec.get("tolerations") or ())


def untolerated(pod: PodInfo, taints: Sequence[Mapping[str, Any]], effects: tuple[str, ...]) -> int:
    """How many taints of these effects the pod does not tolerate."""
    return sum(1 for taint in taints if taint.get("effect") in effects and not tolerates(pod, taint))


class TaintToleration(Plugin):
    """Refuses nodes with untolerated taints; prefers those with fewer untolerated soft ones."""

    name: ClassVar[str] = "TaintToleration"
    argument_fields: ClassVar[Mapping[str, type] | None] = {}
    reads = Reads.NODE
    normalization = "down"
    hints: ClassVar[Mapping[Resource, Action]] = {NODES: Action.ADD | Action.UPDATE, PODS: Action.UPDATE}
    _refusal = Verdict("TaintToleration", ("node(s) had untolerated taint(s)",), resolvable=False)

    def sign(self, cycle: Cycle) -> Hashable:
        tolerations = cycle.pod.spec.get("tolerations")
        return orjson.dumps(tolerations) if tolerations else None

    def filter(self, cycle: Cycle, node: NodeInfo) -> Verdict | None:
        if node.taints and untolerated(cycle.pod, node.taints, ("NoSchedule", "NoExecute")):
            return self._refusal
        return None

    def score(self, cycle: Cycle, node: NodeInfo) -> int:
        if not node.taints:
            return 0
        return sum(
            1 for taint in node.taints if taint.get("effect") == "PreferNoSchedule" and not tolerates(cycle.pod, taint)
        )

    def may_help(self, pod: PodInfo, event: ClusterEvent) -> bool:
        if event.resource is PODS:
            return event.new_pod is not None and event.new_pod.uid == pod.uid
        taints = ((event.new or {}).get("spec") or {}).get("taints") or ()
        return not untolerated(pod, taints, ("NoSchedule", "NoExecute"))
