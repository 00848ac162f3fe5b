"""What would have to change so that a node takes a pod which a filter refused. Pure; words for people.

One function for each built-in filter that can say more than its reason does; the others' reasons stand for
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from orchestrator.api.node_selection import matches_expression
from orchestrator.api.quantity import BINARY_SI, DECIMAL_SI, Quantity
from orchestrator.scheduler.framework import Verdict
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.plugins.taint_toleration import tolerates
from orchestrator.scheduler.pod_info import CPU, EPHEMERAL_STORAGE, MEMORY, PodInfo

_NANO: Final = 1_000_000_000


def advice(verdict: Verdict, pod: PodInfo, node: NodeInfo) -> str:
    """One sentence without a full stop: what would have to change for this refusal to end."""
    adviser = _ADVISERS.get(verdict.plugin)
    text = adviser(pod, node) if adviser is not None else ""
    return text or ", ".join(verdict.reasons)


def amount_text(resource: str, amount: int) -> str:
    """An amount of a resource as people write it."""
    if resource == CPU:
        return str(Quantity(amount * _NANO // 1000, DECIMAL_SI))
    return str(Quantity(amount * _NANO, BINARY_SI if resource in (MEMORY, EPHEMERAL_STORAGE) else DECIMAL_SI))


def _resources(pod: PodInfo, node: NodeInfo) -> str:
    parts: list[str] = []
    if len(node.pods) >= node.pods_max:
        parts.append(f"one pod less of the {node.pods_max} that it may run")
    for resource, wanted in pod.requests.items():
        whole = node.allocatable.get(resource, 0)
        free = whole - node.requested.get(resource, 0)
        if wanted <= free:
            continue
        wants, has = amount_text(resource, wanted), amount_text(resource, max(free, 0))
        if wanted > whole:
            total = amount_text(resource, whole)
            parts.append(f"a larger node: {resource} {wants} is requested, it has {total} in all")
        else:
            lacking = amount_text(resource, wanted - free)
            parts.append(f"{lacking} more {resource} free: {wants} is requested, {has} left")
    return "; ".join(parts)


def _taints(pod: PodInfo, node: NodeInfo) -> str:
    effects = ("NoSchedule", "NoExecute")
    texts = [
        taint.get("key", "") + (f"={taint['value']}" if taint.get("value") else "") + f":{taint.get('effect')}"
        for taint in node.taints
        if taint.get("effect") in effects and not tolerates(pod, taint)
    ]
    return f"the pod tolerates {', '.join(texts)}, or the node loses it" if texts else ""


def _affinity(pod: PodInfo, node: NodeInfo) -> str:
    labels = node.labels
    selector: Mapping[str, str] = pod.spec.get("nodeSelector") or {}
    missing = [f"{key}={value}" for key, value in selector.items() if labels.get(key) != value]
    if missing:
        return f"the node is labelled {', '.join(missing)}, or the pod's nodeSelector asks for something else"
    required = (pod.affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    alternatives: list[str] = []
    for term in required.get("nodeSelectorTerms") or ():
        wanted = [_expression(e) for e in term.get("matchExpressions") or () if not matches_expression(e, labels)]
        name = {"metadata.name": node.name}
        wanted += [_expression(e) for e in term.get("matchFields") or () if not matches_expression(e, name)]
        if wanted:
            alternatives.append(" and ".join(wanted))
    return "the node has " + ", or ".join(alternatives) if alternatives else ""


def _expression(expression: Mapping[str, Any]) -> str:
    values = ", ".join(expression.get("values") or ())
    text = f"{expression.get('key')} {expression.get('operator')}"
    return f"{text} ({values})" if values else text


def _ports(pod: PodInfo, node: NodeInfo) -> str:
    taken = [port for port in pod.ports if node.has_port_conflict(port)]
    texts = [f"{number}/{protocol}" + (f" on {ip}" if ip != "0.0.0.0" else "") for ip, protocol, number in taken]
    return f"host port {', '.join(texts)} becomes free" if texts else ""


def _cordoned(pod: PodInfo, node: NodeInfo) -> str:
    return f"the node is uncordoned (kubectl uncordon {node.name})"


def _named(pod: PodInfo, node: NodeInfo) -> str:
    return f"the pod names this node instead of {pod.node_name}"


def _spread(pod: PodInfo, node: NodeInfo) -> str:
    keys = [
        constraint.get("topologyKey", "")
        for constraint in pod.spec.get("topologySpreadConstraints") or ()
        if (constraint.get("whenUnsatisfiable") or "DoNotSchedule") == "DoNotSchedule"
    ]
    missing = [key for key in keys if key not in node.labels]
    if missing:
        return f"the node is labelled {', '.join(missing)}"
    places = ", ".join(f"{key}={node.labels[key]}" for key in keys)
    return f"fewer matching pods in {places}, more in other places, or a larger maxSkew" if places else ""


_ADVISERS: Final[Mapping[str, Callable[[PodInfo, NodeInfo], str]]] = {
    "NodeResourcesFit": _resources,
    "TaintToleration": _taints,
    "NodeAffinity": _affinity,
    "NodePorts": _ports,
    "NodeUnschedulable": _cordoned,
    "NodeName": _named,
    "PodTopologySpread": _spread,
}
