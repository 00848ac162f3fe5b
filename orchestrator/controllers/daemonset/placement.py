"""Which nodes a DaemonSet runs on, and how its pods are tied to them. Pure.

The scheduler binds these pods as any other; a required node affinity on `metadata.name` leaves it one
choice (Kubernetes docs, "DaemonSet: How Daemon Pods are scheduled").
"""

from __future__ import annotations

from typing import Any, NamedTuple

from orchestrator.api.node_selection import has_untolerated, matches_required_affinity
from orchestrator.api.objects import Object, annotations_of, labels_of, name_of
from orchestrator.controllers.history import REVISION_LABEL
from orchestrator.controllers.pods import node_of, pod_from_template

TEMPLATE_GENERATION_LABEL = "pod-template-generation"
TEMPLATE_GENERATION_ANNOTATION = "deprecated.daemonset.template.generation"
_ADDED_TOLERATIONS = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_HOST_NETWORK_TOLERATION = ("node.kubernetes.io/network-unavailable", "NoSchedule")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


class Fit(NamedTuple):
    """Whether a node should get a pod, and whether one that is there may stay."""

    should_run: bool
    may_stay: bool


def tolerations_of(daemon_set: Object) -> list[dict[str, Any]]:
    """The tolerations of the template and those that every daemon pod gets."""
    spec = daemon_set["spec"]["template"].get("spec") or {}
    present = list(spec.get("tolerations") or ())
    added = [*_ADDED_TOLERATIONS, _HOST_NETWORK_TOLERATION] if spec.get("hostNetwork") else [*_ADDED_TOLERATIONS]
    for key, effect in added:
        toleration = {"key": key, "operator": "Exists", "effect": effect}
        if toleration not in present:
            present.append(toleration)
    return present


def plan_fit(daemon_set: Object, node: Object) -> Fit:
    """Whether the DaemonSet's pod fits a node: name, selector and affinity, taints."""
    spec = daemon_set["spec"]["template"].get("spec") or {}
    if spec.get("nodeName") and spec["nodeName"] != name_of(node):
        return Fit(False, False)
    if not matches_required_affinity(spec, labels_of(node), name_of(node)):
        return Fit(False, False)
    taints = (node.get("spec") or {}).get("taints") or ()
    if taints:
        tolerations = tolerations_of(daemon_set)
        if has_untolerated(taints, tolerations, ("NoExecute",)):
            return Fit(False, False)
        if has_untolerated(taints, tolerations, ("NoSchedule",)):
            return Fit(False, True)
    return Fit(True, True)


def what_matters_of(node: Object | None) -> tuple[Any, ...]:
    """What of a node decides whether pods fit."""
    if node is None:
        return ()
    return (labels_of(node), (node.get("spec") or {}).get("taints"))


def target_of(pod: Object) -> str:
    """The node that a daemon pod runs on, or is tied to while it is not bound."""
    if bound := node_of(pod):
        return bound
    affinity = ((pod.get("spec") or {}).get("affinity") or {}).get("nodeAffinity") or {}
    for term in (affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            values = list(field.get("values") or ())
            if field.get("key") == "metadata.name" and field.get("operator") == "In" and len(values) == 1:
                return str(values[0])
    return ""


def template_generation_of(daemon_set: Object) -> str:
    """The number of the template, as the deprecated annotation counts it."""
    return annotations_of(daemon_set).get(TEMPLATE_GENERATION_ANNOTATION, "")


def new_pod(daemon_set: Object, node: str, revision_hash: str) -> Object:
    """The pod for one node, of the present template."""
    pod = pod_from_template(daemon_set["spec"]["template"], daemon_set)
    labels = pod["metadata"].setdefault("labels", {})
    labels[REVISION_LABEL] = revision_hash
    if generation := template_generation_of(daemon_set):
        labels[TEMPLATE_GENERATION_LABEL] = generation
    spec = pod["spec"]
    spec["tolerations"] = tolerations_of(daemon_set)
    affinity = spec.setdefault("affinity", {})
    node_affinity = affinity.setdefault("nodeAffinity", {})
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    node_affinity[_REQUIRED] = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return pod
