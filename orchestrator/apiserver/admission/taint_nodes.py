"""TaintNodesByCondition: a new node takes no pods before somebody has seen that it is ready."""

from __future__ import annotations

from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes

TAINT = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


class TaintNodesByCondition(AdmissionPlugin):
    """Runs when a node is created; the node lifecycle controller removes the taint."""

    name = "TaintNodesByCondition"
    resources = frozenset(("nodes",))

    def handles(self, attributes: Attributes) -> bool:
        return attributes.operation == "CREATE" and attributes.group_resource == "nodes" and not attributes.subresource

    async def admit(self, attributes: Attributes) -> None:
        spec = attributes.obj.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(taint.get("key") == TAINT["key"] and taint.get("effect") == TAINT["effect"] for taint in taints):
            spec["taints"] = [*taints, dict(TAINT)]
