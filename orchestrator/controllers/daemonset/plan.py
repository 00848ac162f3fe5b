"""Which daemon pods to create and delete now, and the status. Pure.

Vocabulary: a pod is *new* when it carries the hash of the present template, else *old*. A node
*surges* while it has one of each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from orchestrator.api.intstr import scaled_value
from orchestrator.api.objects import Object, is_terminating, labels_of, name_of, namespace_of
from orchestrator.controllers.daemonset.placement import Fit, target_of
from orchestrator.controllers.history import REVISION_LABEL
from orchestrator.controllers.pods import (
    available_in_seconds,
    created_at,
    is_available,
    is_finished,
    is_ready,
    node_of,
    phase_of,
)

BURST = 250
"""At most so many pods are created and deleted in one look."""


class DaemonPlan(Struct):
    """Nodes that get a pod, and pods that go."""

    create: list[str] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """Nodes whose failed pod goes now: the next one there has to wait longer."""
    events: list[tuple[str, str, str]] = field(default_factory=list)


def by_node(pods: Iterable[Object]) -> dict[str, list[Object]]:
    """Pods by the node they are tied to; those that ended and are being deleted are nobody's business."""
    nodes: dict[str, list[Object]] = {}
    for pod in pods:
        if not (is_finished(pod) and is_terminating(pod)):
            nodes.setdefault(target_of(pod), []).append(pod)
    return nodes


def _oldest_first(pods: Iterable[Object]) -> list[Object]:
    """Bound ones first, then by age."""
    return sorted(pods, key=lambda pod: (not node_of(pod), created_at(pod), name_of(pod)))


def is_new(pod: Object, revision_hash: str) -> bool:
    """Whether a pod was made from the present template."""
    return labels_of(pod).get(REVISION_LABEL) == revision_hash


def _min_ready_seconds(daemon_set: Object) -> int:
    return int(daemon_set["spec"].get("minReadySeconds") or 0)


def is_rolling_update(daemon_set: Object) -> bool:
    """Whether the controller replaces old pods by itself."""
    return ((daemon_set["spec"].get("updateStrategy") or {}).get("type") or "RollingUpdate") == "RollingUpdate"


def _rolling(daemon_set: Object) -> dict[str, Any]:
    return (daemon_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}


def allows_surge(daemon_set: Object) -> bool:
    """Whether a node may have an old and a new pod for a while."""
    return (
        is_rolling_update(daemon_set) and scaled_value(_rolling(daemon_set).get("maxSurge", 0), 100, round_up=True) > 0
    )


def limits_of(daemon_set: Object, desired: int) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in nodes, both rounded up; never both 0."""
    rolling = _rolling(daemon_set)
    surge = scaled_value(rolling.get("maxSurge", 0), desired, round_up=True)
    unavailable = scaled_value(rolling.get("maxUnavailable", 1), desired, round_up=True)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def plan_placement(
    daemon_set: Object,
    fits: Mapping[str, Fit],
    pods: Sequence[Object],
    revision_hash: str,
    now: datetime,
    *,
    in_backoff: Collection[str] = (),
) -> DaemonPlan:
    """One pod where one should be, none where none may be. `fits`: every node of the cluster."""
    plan = DaemonPlan()
    present = by_node(pods)
    for node, fit in fits.items():
        here = present.pop(node, [])
        if fit.should_run and not here:
            plan.create.append(node)
        elif not fit.may_stay:
            plan.delete += [pod for pod in here if not is_terminating(pod)]
        elif here:
            _plan_node(daemon_set, node, here, revision_hash, now, plan, in_backoff)
    for rest in present.values():
        # Their node is gone. Bound ones are the pod collector's, the others would wait for ever.
        plan.delete += [pod for pod in rest if not is_terminating(pod) and not (pod["spec"].get("nodeName"))]
    return plan


def _plan_node(
    daemon_set: Object,
    node: str,
    here: Sequence[Object],
    revision_hash: str,
    now: datetime,
    plan: DaemonPlan,
    in_backoff: Collection[str],
) -> None:
    running: list[Object] = []
    for pod in here:
        if is_terminating(pod):
            continue
        where = f"daemon pod {namespace_of(pod)}/{name_of(pod)} on node {node}"
        if phase_of(pod) == "Failed":
            if node in in_backoff:
                continue
            plan.failed.append(node)
            plan.delete.append(pod)
            plan.events.append(("Warning", "FailedDaemonPod", f"Found failed {where}, will try to kill it"))
        elif phase_of(pod) == "Succeeded":
            plan.delete.append(pod)
            plan.events.append(("Normal", "SucceededDaemonPod", f"Found succeeded {where}, will try to delete it"))
        else:
            running.append(pod)
    if len(running) <= 1:
        return
    ordered = _oldest_first(running)
    if not allows_surge(daemon_set):
        plan.delete += ordered[1:]
        return
    new = [pod for pod in ordered if is_new(pod, revision_hash)]
    old = [pod for pod in ordered if not is_new(pod, revision_hash)]
    plan.delete += [*new[1:], *old[1:]]
    is_replaced = new and is_available(new[0], _min_ready_seconds(daemon_set), now)
    if new and old and (is_replaced or not is_ready(old[0])):
        plan.delete.append(old[0])


def plan_update(
    daemon_set: Object, fits: Mapping[str, Fit], pods: Sequence[Object], revision_hash: str, now: datetime
) -> DaemonPlan:
    """Replace old pods within maxUnavailable, or bring new ones beside them within maxSurge (KEP-1591)."""
    desired = sum(fit.should_run for fit in fits.values())
    surge, unavailable = limits_of(daemon_set, desired)
    seconds = _min_ready_seconds(daemon_set)
    plan = DaemonPlan()
    free: list[Object] = []
    budget = surge or unavailable
    candidates: list[tuple[str, Object]] = []
    for node, here in by_node(pods).items():
        alive = [pod for pod in here if not is_terminating(pod)]
        new = [pod for pod in alive if is_new(pod, revision_hash)]
        old = [pod for pod in alive if not is_new(pod, revision_hash)]
        if len(new) > 1 or len(old) > 1 or (not surge and bool(new) == bool(old)):
            budget -= 1  # `plan_placement` puts this node in order first
        elif surge and new and old:
            if is_available(new[0], seconds, now):
                plan.delete.append(old[0])
            else:
                budget -= 1
        elif old:
            if not is_available(old[0], seconds, now):
                free.append(old[0])  # it helps nobody as it is
                budget -= 0 if surge else 1
            else:
                candidates.append((node, old[0]))
        elif not surge and not is_available(new[0], seconds, now):
            budget -= 1
    chosen = [pod for _, pod in candidates[: max(0, budget)]]
    if not surge:
        plan.delete = [*free, *chosen]
        return plan
    fitting = {node for node, fit in fits.items() if fit.should_run}
    plan.create = [node for pod in (*free, *chosen) if (node := target_of(pod)) in fitting]
    return plan


def plan_status(
    daemon_set: Object,
    fits: Mapping[str, Fit],
    pods: Sequence[Object],
    revision_hash: str,
    collision_count: int | None,
    now: datetime,
) -> dict[str, Any]:
    """The counts of a DaemonSet's status; of several pods on a node the oldest counts."""
    present = by_node(pods)
    seconds = _min_ready_seconds(daemon_set)
    desired = current = misscheduled = ready = updated = available = 0
    for node, fit in fits.items():
        here = present.get(node)
        if not fit.should_run:
            misscheduled += bool(here)
            continue
        desired += 1
        if not here:
            continue
        current += 1
        pod = here[0] if len(here) == 1 else _oldest_first(here)[0]
        ready += is_ready(pod)
        available += is_available(pod, seconds, now)
        updated += is_new(pod, revision_hash)
    status: dict[str, Any] = {
        "currentNumberScheduled": current,
        "numberMisscheduled": misscheduled,
        "desiredNumberScheduled": desired,
        "numberReady": ready,
    }
    rest = {
        "observedGeneration": daemon_set["metadata"].get("generation") or 0,
        "updatedNumberScheduled": updated,
        "numberAvailable": available,
        "numberUnavailable": desired - available,
        "collisionCount": collision_count or 0,
    }
    status.update({name: value for name, value in rest.items() if value})
    if conditions := (daemon_set.get("status") or {}).get("conditions"):
        status["conditions"] = conditions
    return status


def plan_again(daemon_set: Object, pods: Iterable[Object], now: datetime) -> float | None:
    """Seconds until the next ready pod becomes available."""
    seconds = _min_ready_seconds(daemon_set)
    waits = (available_in_seconds(pod, seconds, now) for pod in pods if not is_terminating(pod))
    return min((wait for wait in waits if wait), default=None)
