"""Nodes and pods of the shapes that Kubernetes' scheduler_perf measures, and kube-scheduler's own thresholds."""

from __future__ import annotations

from typing import Any, Final

from orchestrator.api.objects import Object

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
SELECTOR = {"matchLabels": {"app": "bench"}}

Spec = dict[str, Any]

THRESHOLDS: Final = {
    "basic": 680,
    "preemption": 570,
    "churn": 710,
    "unschedulable": 590,
    "gated": 910,
    "daemonset": 1100,
}
"""Pods per second below which kube-scheduler's performance tests fail, at 5,000 nodes (15,000 for daemonset)."""


def node(number: int) -> Object:
    """A node with 4 cores in one of ten zones."""
    labels = {HOST: f"node-{number}", ZONE: f"zone-{number % 10}"}
    room = {"cpu": "4", "memory": "32Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{number}", "labels": labels},
        "spec": {},
        "status": {"allocatable": room, "capacity": room},
    }


def pod(name: str, spec: Spec, *, cpu: str = "100m", priority: int = 0) -> Object:
    """A pod that requests this CPU and 500 MiB; its uid is its name."""
    container = {
        "name": "c",
        "image": "registry.k8s.io/pause:3.10",
        "resources": {"requests": {"cpu": cpu, "memory": "500Mi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": {"app": "bench"}},
        "spec": {"containers": [container], "priority": priority, **spec},
    }


def required(side: str, key: str) -> Spec:
    """A required pod (anti-)affinity to pods of the benchmark."""
    terms = [{"topologyKey": key, "labelSelector": SELECTOR}]
    return {"affinity": {side: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


def preferred(side: str, key: str) -> Spec:
    """A preferred pod (anti-)affinity to pods of the benchmark."""
    terms = [{"weight": 1, "podAffinityTerm": {"topologyKey": key, "labelSelector": SELECTOR}}]
    return {"affinity": {side: {"preferredDuringSchedulingIgnoredDuringExecution": terms}}}


def spread(when: str) -> Spec:
    """A constraint to spread over zones."""
    constraint = {"maxSkew": 5, "topologyKey": ZONE, "whenUnsatisfiable": when, "labelSelector": SELECTOR}
    return {"topologySpreadConstraints": [constraint]}


def _required_terms(*terms: Spec) -> Spec:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [*terms]}}
    return {"affinity": {"nodeAffinity": required}}


def node_affinity() -> Spec:
    """A required affinity to three of the ten zones."""
    return _required_terms(
        {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["zone-1", "zone-2", "zone-3"]}]}
    )


def daemon(node_number: int) -> Spec:
    """What the DaemonSet controller puts on its pods: one node, by name."""
    return _required_terms(
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [f"node-{node_number}"]}]}
    )


SHAPES: Final[dict[str, Spec]] = {
    "basic": {},
    "node_affinity": node_affinity(),
    "topology_spread": spread("DoNotSchedule"),
    "preferred_topology_spread": spread("ScheduleAnyway"),
    "pod_affinity": required("podAffinity", ZONE),
    "pod_anti_affinity": required("podAntiAffinity", HOST),
    "preferred_pod_affinity": preferred("podAffinity", HOST),
    "preferred_pod_anti_affinity": preferred("podAntiAffinity", HOST),
}
"""Shapes whose pods are all alike."""
