"""What controllers ask about a pod: is it active, ready, available, and in whose way does it stand.

Pure reading of pod objects. Mirrors k8s.io/kubernetes/pkg/api/v1/pod and the pod part of
pkg/controller/controller_utils.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.aiokit.clock import format_time, parse_time
from orchestrator.api.objects import Object, condition_of, copy_object, is_terminating, owner_reference

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAME_PREFIX_MAX = 58
"""So many characters of a `generateName` survive; the API server cuts the rest."""


NODE_INDEX = "node"


def index_by_node(pod: Object) -> list[str]:
    """Index function: the node that a pod is bound to."""
    node = node_of(pod)
    return [node] if node else []


def phase_of(pod: Object) -> str:
    """`status.phase`; a pod without one is Pending."""
    return (pod.get("status") or {}).get("phase") or "Pending"


def node_of(pod: Object) -> str:
    """`spec.nodeName`, empty while the pod is not bound."""
    return (pod.get("spec") or {}).get("nodeName") or ""


def is_finished(pod: Object) -> bool:
    """Whether the pod is Succeeded or Failed and will never run again."""
    return phase_of(pod) in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    """Whether the pod counts towards `spec.replicas`: neither finished nor being deleted."""
    return not is_finished(pod) and not is_terminating(pod)


def is_ready(pod: Object) -> bool:
    """Whether the Ready condition is True."""
    condition = condition_of(pod, "Ready")
    return condition is not None and condition.get("status") == "True"


def ready_since(pod: Object) -> datetime | None:
    """Since when the pod is ready; None when it is not."""
    condition = condition_of(pod, "Ready")
    if condition is None or condition.get("status") != "True":
        return None
    return time_of(condition.get("lastTransitionTime")) or EPOCH


def available_in_seconds(pod: Object, min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until a ready pod is available (0: it is); None when the pod is not ready."""
    since = ready_since(pod)
    if since is None:
        return None
    if min_ready_seconds <= 0:
        return 0.0
    return max(0.0, (since + timedelta(seconds=min_ready_seconds) - now).total_seconds())


def is_available(pod: Object, min_ready_seconds: int, now: datetime) -> bool:
    """Whether the pod has been ready for `minReadySeconds`."""
    return available_in_seconds(pod, min_ready_seconds, now) == 0.0


def restarts_of(pod: Object) -> tuple[int, int]:
    """The highest restart counts: of its containers, and of the init containers that keep running (sidecars)."""
    status, init = pod.get("status") or {}, (pod.get("spec") or {}).get("initContainers") or ()
    sidecars = {container["name"] for container in init if container.get("restartPolicy") == "Always"}

    def most(kind: str, names: Collection[str] | None) -> int:
        shown = [one for one in status.get(kind) or () if names is None or one.get("name") in names]
        return max((one.get("restartCount") or 0 for one in shown), default=0)

    return most("containerStatuses", None), most("initContainerStatuses", sidecars) if sidecars else 0


def time_of(text: str | None) -> datetime | None:
    """The moment of a `metav1.Time` field that may be absent."""
    return parse_time(text) if text else None


def created_at(obj: Object) -> datetime:
    """`metadata.creationTimestamp`; the epoch for an object that never met a server."""
    return time_of(obj.get("metadata", {}).get("creationTimestamp")) or EPOCH


def disruption_target(pod: Object, reason: str, message: str, now: datetime) -> dict[str, Any]:
    """The condition that announces that a pod is about to go, and why (KEP-3329)."""
    condition: dict[str, Any] = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": format_time(now),
    }
    if generation := pod["metadata"].get("generation"):
        condition["observedGeneration"] = generation
    return condition


def pod_from_template(template: Object, owner: Object, *, prefix: str = "") -> Object:
    """The pod that a controller creates for `owner`: labels, annotations, finalizers, spec; a generated name."""
    metadata = template.get("metadata") or {}
    meta: dict[str, Any] = {
        "generateName": f"{prefix or owner['metadata']['name']}-",
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [owner_reference(owner)],
    }
    for field in ("labels", "annotations", "finalizers"):
        if metadata.get(field):
            meta[field] = metadata[field]
    return copy_object({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template.get("spec") or {}})
