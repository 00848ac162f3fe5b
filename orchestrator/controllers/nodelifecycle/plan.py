"""What the status, the labels and the taints of a node should be. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from orchestrator.aiokit.clock import format_time
from orchestrator.api.objects import Object, condition_of, labels_of

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"

_WATCHED_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_PRESSURE_TAINTS = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OLD_LABELS = {"kubernetes.io/os": "beta.kubernetes.io/os", "kubernetes.io/arch": "beta.kubernetes.io/arch"}
_OUR_NO_SCHEDULE = frozenset({NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_PRESSURE_TAINTS.values()})
_OUR_NO_EXECUTE = frozenset({NOT_READY, UNREACHABLE})

Taint = dict[str, Any]


def ready_status(node: Object) -> str:
    """The Ready condition: `True`, `False` or `Unknown`; a node without one is Unknown."""
    condition = condition_of(node, "Ready")
    return condition.get("status", "Unknown") if condition is not None else "Unknown"


def plan_unknown(node: Object, now: datetime) -> dict[str, Any] | None:
    """The status of a node that fell silent; None when it says so already."""
    status = node.get("status") or {}
    stamp = format_time(now)
    conditions = list(status.get("conditions") or ())
    is_changed = False
    for condition_type in _WATCHED_CONDITIONS:
        known = next((c for c in conditions if c.get("type") == condition_type), None)
        unknown = {"type": condition_type, "status": "Unknown", "lastTransitionTime": stamp}
        if known is None:
            created = node["metadata"].get("creationTimestamp") or stamp
            unknown |= {
                "lastHeartbeatTime": created,
                "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
            }
            conditions.append(unknown)
            is_changed = True
        elif known.get("status") != "Unknown":
            unknown |= {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
            conditions[conditions.index(known)] = {**known, **unknown}
            is_changed = True
    return {**status, "conditions": conditions} if is_changed else None


def plan_old_labels(node: Object) -> dict[str, str]:
    """The labels of old names that a node lacks or has otherwise than those of present names."""
    labels = labels_of(node)
    return {
        old: labels[present]
        for present, old in _OLD_LABELS.items()
        if present in labels and labels.get(old) != labels[present]
    }


def no_execute_taint(node: Object) -> str:
    """The key of the NoExecute taint that follows from Ready; empty for a ready node."""
    return {"True": "", "False": NOT_READY}.get(ready_status(node), UNREACHABLE)


def plan_taints(node: Object, now: datetime, *, may_evict: bool, cancel_evictions: bool = False) -> list[Taint] | None:
    """`spec.taints` as conditions and cordon ask; None when nothing changes.

    `may_evict`: whether a node that has no NoExecute taint of ours may get one now. A taint that is
    already there is exchanged or removed at any time. Taints of others stay as they are.
    """
    present: list[Taint] = list((node.get("spec") or {}).get("taints") or ())
    stamp = format_time(now)
    no_schedule: set[str] = set()
    no_execute = no_execute_taint(node)
    if no_execute:
        no_schedule.add(no_execute)
    for condition_type, key in _PRESSURE_TAINTS.items():
        condition = condition_of(node, condition_type)
        if condition is not None and condition.get("status") == "True":
            no_schedule.add(key)
    if (node.get("spec") or {}).get("unschedulable"):
        no_schedule.add(UNSCHEDULABLE)
    had_no_execute = any(_is(t, _OUR_NO_EXECUTE, "NoExecute") for t in present)
    wants = {(key, "NoSchedule") for key in no_schedule}
    if no_execute and (may_evict or had_no_execute) and not cancel_evictions:
        wants.add((no_execute, "NoExecute"))
    kept: list[Taint] = []
    for taint in present:
        identity = (taint.get("key", ""), taint.get("effect", ""))
        ours = _is(taint, _OUR_NO_SCHEDULE, "NoSchedule") or _is(taint, _OUR_NO_EXECUTE, "NoExecute")
        if not ours or identity in wants:
            kept.append(taint)
            wants.discard(identity)
    for key, effect in sorted(wants, key=lambda pair: (pair[1] == "NoExecute", pair[0])):
        kept.append({"key": key, "effect": effect, "timeAdded": stamp})
    return kept if kept != present else None


def _is(taint: Taint, keys: frozenset[str], effect: str) -> bool:
    return taint.get("effect") == effect and taint.get("key") in keys


def has_no_execute(node: Object) -> bool:
    """Whether a node has a NoExecute taint of ours."""
    taints: Sequence[Mapping[str, Any]] = (node.get("spec") or {}).get("taints") or ()
    return any(_is(dict(taint), _OUR_NO_EXECUTE, "NoExecute") for taint in taints)
