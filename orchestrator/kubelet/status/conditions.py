"""The conditions of a pod: pure functions of its phase and of the statuses of its containers.

Mirrors pkg/kubelet/status/generate.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from orchestrator.aiokit.clock import format_time
from orchestrator.api.objects import Object
from orchestrator.kubelet.pod import (
    app_containers_of,
    init_containers_of,
    is_host_network,
    is_sidecar,
    spec_of,
    status_of,
)
from orchestrator.kubelet.resources.resize import CONDITIONS as RESIZE_CONDITIONS
from orchestrator.kubelet.resources.resize import IN_PROGRESS, PENDING
from orchestrator.kubelet.restart_all import CONDITION as ALL_RESTARTING
from orchestrator.kubelet.runtime import Sandbox
from orchestrator.kubelet.status.inputs import StatusInputs

OWNED_CONDITIONS = frozenset(
    (
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
        ALL_RESTARTING,
        *RESIZE_CONDITIONS,
    )
)
"""Conditions that the kubelet writes; all others belong to somebody else and are left alone."""


def basic_conditions(
    pod: Object,
    phase: str,
    init: list[Object],
    apps: list[Object],
    sandbox: Sandbox | None,
    now: datetime,
    old_status: Object,
) -> list[Object]:
    """Those that every pod has."""
    old = {condition["type"]: condition for condition in old_status.get("conditions") or ()}
    current = {condition["type"]: condition for condition in status_of(pod).get("conditions") or ()}
    generation = pod["metadata"].get("generation", 1)

    sandbox_ready = bool(sandbox and sandbox.ready and (sandbox.ips or is_host_network(pod)))
    conditions = [_condition(old, "PodReadyToStartContainers", generation, sandbox_ready, now, "", "")]
    initialized, reason, message = _initialized(pod, phase, init, apps)
    conditions.append(_condition(old, "Initialized", generation, initialized, now, reason, message))

    containers_ready, reason, message = _containers_ready(pod, phase, init, apps)
    gates = [gate["conditionType"] for gate in spec_of(pod).get("readinessGates") or ()]
    ready, ready_reason, ready_message = containers_ready, reason, message
    if containers_ready:
        missing = []
        for gate in gates:
            found = current.get(gate)
            if found is None:
                missing.append(f'corresponding condition of pod readiness gate "{gate}" does not exist.')
            elif found.get("status") != "True":
                missing.append(f'the status of pod readiness gate "{gate}" is not "True", but {found.get("status")}')
        if missing:
            ready, ready_reason, ready_message = False, "ReadinessGatesNotReady", ", ".join(missing)
    conditions.append(_condition(old, "Ready", generation, ready, now, ready_reason, ready_message))
    conditions.append(_condition(old, "ContainersReady", generation, containers_ready, now, reason, message))
    conditions.append(_condition(old, "PodScheduled", generation, True, now, "", ""))
    return conditions


def restarting(pod: Object, phase: str, why: str, now: datetime, old: Object) -> Object:
    """Whether all containers of a pod are being ended to be started again."""
    before = {condition["type"]: condition for condition in old.get("conditions") or ()}
    generation = pod["metadata"].get("generation", 1)
    reason = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase, "ContainerExited" if why else "")
    return _condition(before, ALL_RESTARTING, generation, bool(why), now, reason, why)


def disruption(pod: Object, message: str, now: datetime, old: Object) -> Object:
    """KEP-3329: tells controllers that the pod did not fail by itself."""
    before = next((c for c in old.get("conditions") or () if c.get("type") == "DisruptionTarget"), None)
    if before is not None and before.get("status") == "True":
        return dict(before)
    return {
        "type": "DisruptionTarget",
        "observedGeneration": pod["metadata"].get("generation", 1),
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": format_time(now),
        "reason": "TerminationByKubelet",
        "message": message,
    }


def resize_conditions(
    pod: Object, entries: Sequence[Object], now: datetime, inputs: StatusInputs, old_status: Object
) -> list[Object]:
    """PodResizePending and PodResizeInProgress, which exist only while they are true (KEP-1287)."""
    old = {condition["type"]: condition for condition in old_status.get("conditions") or ()}
    generation = pod["metadata"].get("generation", 1)
    conditions = []
    if inputs.resize_pending is not None:
        pending = inputs.resize_pending
        conditions.append(_condition(old, PENDING, generation, True, now, pending.reason, pending.message))
    wanted = {
        container["name"]: container.get("resources") or {}
        for container in (*init_containers_of(pod), *app_containers_of(pod))
    }
    own = spec_of(pod).get("resources")
    is_pod_behind = bool(own) and inputs.pod_resources not in (None, own)
    if is_pod_behind or any(e.get("resources", wanted[e["name"]]) != wanted[e["name"]] for e in entries):
        reason = "Error" if inputs.resize_error else ""
        conditions.append(_condition(old, IN_PROGRESS, generation, True, now, reason, inputs.resize_error))
    return conditions


def _condition(
    old: Mapping[str, Object], type_: str, generation: int, status: bool, now: datetime, reason: str, message: str
) -> Object:
    text = "True" if status else "False"
    known = old.get(type_)
    moved = known is None or known.get("status") != text
    condition: Object = {
        "type": type_,
        "observedGeneration": generation,
        "status": text,
        "lastProbeTime": None,
        "lastTransitionTime": format_time(now) if moved or known is None else known.get("lastTransitionTime"),
    }
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def _initialized(pod: Object, phase: str, init: list[Object], apps: list[Object]) -> tuple[bool, str, str]:
    if not init:
        return True, "", ""
    if phase == "Succeeded":
        return True, "PodCompleted", ""
    app_seen = any("running" in e["state"] or "terminated" in e["state"] or e["lastState"] for e in apps)
    unready = [
        entry["name"]
        for container, entry in zip(init_containers_of(pod), init, strict=True)
        if not (entry["started"] if is_sidecar(container) else entry["ready"])
    ]
    if unready and not app_seen:
        return False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(unready)}]"
    return True, "", ""


def _containers_ready(pod: Object, phase: str, init: list[Object], apps: list[Object]) -> tuple[bool, str, str]:
    if phase == "Succeeded":
        return False, "PodCompleted", ""
    if phase == "Failed":
        return False, "PodFailed", ""
    entries = [e for c, e in zip(init_containers_of(pod), init, strict=True) if is_sidecar(c)]
    unready = [entry["name"] for entry in (*entries, *apps) if not entry["ready"]]
    if unready:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return True, "", ""
