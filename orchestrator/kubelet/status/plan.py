"""The status of a pod: a pure function of the Pod, what the runtime holds and what probes say.

Owns the phase, and how a status becomes a patch. Never writes it anywhere. Mirrors the kubelet's
`generateAPIPodStatus`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.aiokit.clock import format_time
from orchestrator.api.objects import Object
from orchestrator.kubelet.pod import (
    ContainerKind,
    init_containers_of,
    is_host_network,
    is_restarted_after,
    is_sidecar,
    qos_class_of,
    spec_of,
    status_of,
)
from orchestrator.kubelet.resources.resize import CONDITIONS as RESIZE_CONDITIONS
from orchestrator.kubelet.restart_all import could_restart_all
from orchestrator.kubelet.runtime import ContainerPhase, RuntimePod
from orchestrator.kubelet.runtime_pods import current_sandbox, newest_containers
from orchestrator.kubelet.status.conditions import basic_conditions, disruption, resize_conditions, restarting
from orchestrator.kubelet.status.container_statuses import ContainerStatuses
from orchestrator.kubelet.status.inputs import NodeIdentity, StatusInputs
from orchestrator.kubelet.status.never_ran import end_what_never_ran

_OPTIONAL = ("ephemeralContainerStatuses", "resources", "allocatedResources")


def plan_status(
    pod: Object,
    runtime_pod: RuntimePod | None,
    now: datetime,
    node: NodeIdentity,
    inputs: StatusInputs,
    old: Object | None = None,
) -> Object:
    """The status that the API should show; equal to the old one when nothing changed.

    `old` is the status known so far (the pod's own by default); times of transition, lost last
    states and conditions of others are taken from it.
    """
    old = status_of(pod) if old is None else old
    newest = newest_containers(runtime_pod)
    sandbox = current_sandbox(runtime_pod)
    builder = ContainerStatuses(pod, runtime_pod, newest, node, inputs, old)
    init_statuses = builder.init_statuses()
    app_statuses = builder.app_statuses()
    ephemeral_statuses = builder.ephemeral_statuses()
    if inputs.is_over and not _may_still_run(runtime_pod):
        end_what_never_ran(pod, init_statuses, app_statuses)

    phase = _phase(pod, init_statuses, app_statuses, inputs)
    old_phase = old.get("phase")
    if old_phase in ("Succeeded", "Failed"):
        phase = old_phase  # the end is final
    elif phase in ("Succeeded", "Failed") and _may_still_run(runtime_pod):
        # The end is only told once nothing runs any more (sidecars, the sandbox).
        phase = old_phase or "Pending"
    status: Object = {"observedGeneration": pod["metadata"].get("generation", 1), "phase": phase}
    if inputs.failure is not None and phase == "Failed":
        status["reason"], status["message"] = inputs.failure
    elif old_phase == phase:
        for name in ("reason", "message"):
            if old.get(name):
                status[name] = old[name]

    if phase == "Failed" and runtime_pod is None and not old.get("containerStatuses"):
        # Refused: nothing of it was ever tried, so there is nothing to say of its containers (kubelet's `rejectPod`).
        return status | {"startTime": old.get("startTime") or format_time(now), "qosClass": qos_class_of(pod)}
    status["conditions"] = basic_conditions(pod, phase, init_statuses, app_statuses, sandbox, now, old)
    if phase == "Running" or phase == "Pending":
        status["conditions"] += resize_conditions(pod, (*init_statuses, *app_statuses), now, inputs, old)
    if could_restart_all(pod):
        status["conditions"].append(restarting(pod, phase, inputs.restarting, now, old))
    if inputs.is_disrupted and inputs.failure is not None:
        status["conditions"].append(disruption(pod, inputs.failure[1], now, old))
    if node.ips:
        status["hostIP"] = node.ips[0]
        status["hostIPs"] = [{"ip": ip} for ip in node.ips]
    ips = _pod_ips(pod, runtime_pod, node) or (() if is_host_network(pod) else inputs.ips)
    if ips:
        status["podIP"] = ips[0]
        status["podIPs"] = [{"ip": ip} for ip in ips]
    elif old.get("podIP") and (sandbox is None or not sandbox.ready):
        status["podIP"], status["podIPs"] = old["podIP"], old.get("podIPs") or [{"ip": old["podIP"]}]
    status["startTime"] = old.get("startTime") or format_time(now)
    if init_statuses:
        status["initContainerStatuses"] = init_statuses
    status["containerStatuses"] = app_statuses
    if ephemeral_statuses:
        status["ephemeralContainerStatuses"] = ephemeral_statuses
    status["qosClass"] = qos_class_of(pod)
    own = spec_of(pod).get("resources")
    if own and phase in ("Pending", "Running"):
        status["resources"] = inputs.pod_resources or own
        status["allocatedResources"] = own.get("requests") or {}
    return status


def status_patch(pod_uid: str, new: Object, old: Object) -> Object | None:
    """The strategic-merge patch from one status to another; None when they are equal.

    Conditions merge by type on the server, so those of others survive; the uid makes the patch fail
    when a pod of the same name took this one's place.
    """
    changed: Object = {}
    for key, value in new.items():
        if key == "conditions":
            before = {c["type"]: c for c in old.get("conditions") or ()}
            different = [_replacing(before.get(c["type"]), c) for c in value if before.get(c["type"]) != c]
            gone = [type_ for type_ in RESIZE_CONDITIONS if type_ in before and type_ not in {c["type"] for c in value}]
            different += [{"$patch": "delete", "type": type_} for type_ in gone]
            if different:
                changed[key] = different
        elif old.get(key) != value:
            changed[key] = value
    for key in ("reason", "message", "podIP", "podIPs", "initContainerStatuses", *_OPTIONAL):
        if key in old and key not in new:
            changed[key] = None
    if not changed:
        return None
    if "podIPs" in changed and old.get("podIPs") and changed["podIPs"]:
        changed["podIPs"] = [{"$patch": "replace"}, *changed["podIPs"]]
    return {"metadata": {"uid": pod_uid}, "status": changed}


def _replacing(old: Object | None, new: Object) -> Object:
    """The patch of one condition: what the old one said and the new one does not is removed."""
    gone = [name for name in ("reason", "message") if old and name in old and name not in new]
    return {**new, **dict.fromkeys(gone)} if gone else new


def _may_still_run(runtime_pod: RuntimePod | None) -> bool:
    if runtime_pod is None:
        return False
    return any(c.phase is ContainerPhase.RUNNING for c in runtime_pod.containers) or any(
        s.ready for s in runtime_pod.sandboxes
    )


def _pod_ips(pod: Object, runtime_pod: RuntimePod | None, node: NodeIdentity) -> Sequence[str]:
    sandbox = current_sandbox(runtime_pod)
    if sandbox is None:
        return ()
    if is_host_network(pod):
        return node.ips
    return sandbox.ips


def _phase(pod: Object, init: list[Object], apps: list[Object], inputs: StatusInputs) -> str:
    """Pending, Running, Succeeded or Failed (Kubernetes docs, "Pod phase")."""
    if inputs.failure is not None:
        return "Failed"
    pending_init = failed_init = 0
    for container, entry in zip(init_containers_of(pod), init, strict=True):
        state, last = entry["state"], entry["lastState"]
        if is_sidecar(container):
            if not entry["started"] and not inputs.finished and "terminated" not in state:
                pending_init += 1 if not last else 0
            continue
        ended = state.get("terminated")
        if "running" in state:
            pending_init += 1
        elif ended:
            if ended["exitCode"] != 0:
                if is_restarted_after(pod, container, ended["exitCode"], ContainerKind.INIT):
                    pending_init += 1
                else:
                    failed_init += 1
        elif "terminated" in last:
            if last["terminated"]["exitCode"] != 0:
                pending_init += 1
        else:
            pending_init += 1
    waiting = running = stopped = succeeded = 0
    for entry in apps:
        state, last = entry["state"], entry["lastState"]
        if "running" in state:
            running += 1
        elif "terminated" in state:
            stopped += 1
            succeeded += state["terminated"]["exitCode"] == 0
        elif "terminated" in last:
            stopped += 1
        else:
            waiting += 1
    if failed_init:
        return "Failed"
    if inputs.finished:
        # However far it had come: what never ran, init containers included, did not succeed.
        is_success = stopped == succeeded == len(apps) and not pending_init
        return "Succeeded" if is_success else "Failed"
    if waiting or (pending_init and not (running or stopped)):
        return "Pending"
    if running or stopped:
        return "Running"
    return "Pending"
