"""The status of a pod: a pure function of the Pod, what the runtime holds and what probes say.

Owns phase, conditions and container statuses. Never writes them anywhere. Mirrors the kubelet's
`generateAPIPodStatus` and pkg/kubelet/status/generate.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from orchestrator.aiokit.clock import format_time
from orchestrator.api.objects import Object
from orchestrator.kubelet.never_ran import end_what_never_ran
from orchestrator.kubelet.plan import (
    GHOST_LABEL,
    IMAGE_DIGEST_LABEL,
    ProbeVerdict,
    Waiting,
    current_sandbox,
    is_ghost,
    newest_containers,
)
from orchestrator.kubelet.pod import (
    ContainerKind,
    app_containers_of,
    ephemeral_containers_of,
    init_containers_of,
    is_host_network,
    is_restarted_after,
    is_sidecar,
    qos_class_of,
    requests_of,
    spec_of,
    status_of,
)
from orchestrator.kubelet.resize import CONDITIONS as RESIZE_CONDITIONS
from orchestrator.kubelet.resize import IN_PROGRESS, PENDING, Pending, actual_resources
from orchestrator.kubelet.restart_all import CONDITION as ALL_RESTARTING
from orchestrator.kubelet.restart_all import could_restart_all, plan_round
from orchestrator.kubelet.runtime import Container, ContainerPhase, RuntimePod

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

_OPTIONAL = ("ephemeralContainerStatuses", "resources", "allocatedResources")
EPOCH = "1970-01-01T00:00:00Z"
_FINE = ProbeVerdict()
_NO_WAITING: Mapping[str, Waiting] = {}
_NO_VERDICTS: Mapping[str, ProbeVerdict] = {}
_NO_MESSAGES: Mapping[str, str] = {}


class NodeIdentity(Struct, frozen=True):
    """What of its node a pod's status shows."""

    ips: tuple[str, ...] = ()
    runtime_name: str = "docker"
    """The scheme of container ids: `docker://...`."""


class StatusInputs(Struct, frozen=True):
    """What the kubelet knows beside the runtime."""

    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    verdicts: Mapping[str, ProbeVerdict] = field(default_factory=dict)
    termination_messages: Mapping[str, str] = field(default_factory=dict)
    """By container id."""
    finished: bool = False
    """The plan said that no container runs or will run again."""
    is_over: bool = False
    """The pod was stopped for good: what never ran never will."""
    failure: tuple[str, str] | None = None
    """(reason, message) when the kubelet itself ended the pod: DeadlineExceeded, Evicted, ..."""
    mounts_shown: bool = True
    ips: tuple[str, ...] = ()
    """The addresses of the pod's last sandbox."""
    applied: Mapping[str, Object] = field(default_factory=dict)
    """`resources` of running containers as they were set, by container id."""
    pod_resources: Object | None = None
    """What the pod itself was given, if it asks for something."""
    resize_pending: Pending | None = None
    resize_error: str = ""
    restarting: str = ""
    """Why all containers are being restarted (KEP-5532)."""
    is_disrupted: bool = False
    """The kubelet ended the pod for the node's sake, which is not the pod's fault."""


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
    builder = _ContainerStatuses(pod, runtime_pod, newest, node, inputs, old)
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
    status["conditions"] = _conditions(pod, phase, init_statuses, app_statuses, sandbox, now, old)
    if phase == "Running" or phase == "Pending":
        status["conditions"] += _resize_conditions(pod, (*init_statuses, *app_statuses), now, inputs, old)
    if could_restart_all(pod):
        status["conditions"].append(_restarting(pod, phase, inputs.restarting, now, old))
    if inputs.is_disrupted and inputs.failure is not None:
        status["conditions"].append(_disruption(pod, inputs.failure[1], now, old))
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


def _restarting(pod: Object, phase: str, why: str, now: datetime, old: Object) -> Object:
    """Whether all containers of a pod are being ended to be started again."""
    before = {condition["type"]: condition for condition in old.get("conditions") or ()}
    generation = pod["metadata"].get("generation", 1)
    reason = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase, "ContainerExited" if why else "")
    return _condition(before, ALL_RESTARTING, generation, bool(why), now, reason, why)


def _disruption(pod: Object, message: str, now: datetime, old: Object) -> Object:
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


class _ContainerStatuses:
    def __init__(
        self,
        pod: Object,
        runtime_pod: RuntimePod | None,
        newest: Mapping[str, Container],
        node: NodeIdentity,
        inputs: StatusInputs,
        old: Object,
    ) -> None:
        self._pod = pod
        self._newest = newest
        self._node = node
        self._inputs = inputs
        self._old = old
        self._round = plan_round(pod, runtime_pod.containers if runtime_pod else (), newest)
        self._previous: dict[str, Container] = {}
        for container in runtime_pod.containers if runtime_pod else ():
            top = newest[container.name]
            if container is top or container.phase is not ContainerPhase.EXITED:
                continue
            known = self._previous.get(container.name)
            if known is None or known.attempt < container.attempt:
                self._previous[container.name] = container

    def init_statuses(self) -> list[Object]:
        old = self._old_by_name("initContainerStatuses")
        return [
            self._one(c, old.get(c["name"]), is_init=True, default_reason="PodInitializing")
            for c in init_containers_of(self._pod)
        ]

    def app_statuses(self) -> list[Object]:
        old = self._old_by_name("containerStatuses")
        reason = "PodInitializing" if init_containers_of(self._pod) else "ContainerCreating"
        return sorted(
            (self._one(c, old.get(c["name"]), default_reason=reason) for c in app_containers_of(self._pod)),
            key=lambda entry: str(entry["name"]),
        )

    def ephemeral_statuses(self) -> list[Object]:
        old = self._old_by_name("ephemeralContainerStatuses")
        return [
            self._one(c, old.get(c["name"]), default_reason="ContainerCreating", is_ephemeral=True)
            for c in ephemeral_containers_of(self._pod)
        ]

    def _old_by_name(self, section: str) -> dict[str, Object]:
        return {entry["name"]: entry for entry in self._old.get(section) or ()}

    def _one(
        self,
        container: Object,
        old: Object | None,
        *,
        default_reason: str,
        is_init: bool = False,
        is_ephemeral: bool = False,
    ) -> Object:
        name = container["name"]
        newest = self._newest.get(name)
        waiting = self._inputs.waiting.get(name)
        verdict = self._inputs.verdicts.get(name, _FINE)
        is_running = newest is not None and newest.phase is ContainerPhase.RUNNING and waiting is None
        state: Object
        last_state: Object = {}
        restart_count = newest.attempt if newest is not None else int((old or {}).get("restartCount") or 0)
        if newest is not None and newest.phase is ContainerPhase.EXITED and self._round.is_over_for(newest):
            waiting = waiting or Waiting(default_reason)  # all containers are restarted, and this one was not yet
        if newest is None or newest.phase is ContainerPhase.CREATED:
            waiting = waiting or Waiting(default_reason)
            state = {"waiting": _without_empty({"reason": waiting.reason, "message": waiting.message})}
            last_state = self._last_state(name, old)
        elif newest.phase is ContainerPhase.RUNNING:
            if waiting is not None:
                state = {"waiting": _without_empty({"reason": waiting.reason, "message": waiting.message})}
            else:
                state = {"running": {"startedAt": format_time(newest.started_at or newest.created_at)}}
            last_state = self._last_state(name, old)
        elif waiting is not None:
            state = {"waiting": _without_empty({"reason": waiting.reason, "message": waiting.message})}
            last_state = {"terminated": self._terminated(newest)}
        else:
            state = {"terminated": self._terminated(newest)}
            last_state = self._last_state(name, old)

        started = is_running and verdict.started
        if is_init and not is_sidecar(container):
            ready = "terminated" in state and newest is not None and newest.exit_code == 0
            if not is_running:
                started = False
        elif is_ephemeral:
            ready = False
        else:
            ready = is_running and verdict.started and verdict.ready
        entry: Object = {
            "name": name,
            "state": state,
            "lastState": last_state,
            "ready": ready,
            "restartCount": restart_count,
            "image": container.get("image") or "",
            "imageID": _image_id(newest) if newest is not None else (old or {}).get("imageID") or "",
        }
        if newest is not None:
            entry["containerID"] = self._id(newest)
        elif old and old.get("containerID"):
            entry["containerID"] = old["containerID"]
        entry["started"] = started
        stop_signal = (container.get("lifecycle") or {}).get("stopSignal")
        if stop_signal:
            entry["stopSignal"] = stop_signal
        if is_running:
            requests = requests_of(container)
            if requests:
                entry["allocatedResources"] = requests
            actual = actual_resources({"status": self._old}, newest, self._inputs.applied) if newest else None
            entry["resources"] = (container.get("resources") or {}) if actual is None else actual
        user = _user_of(newest, self._id(newest), old) if newest is not None else None
        if user is not None:
            entry["user"] = user
        mounts = container.get("volumeMounts")
        if mounts and self._inputs.mounts_shown:
            entry["volumeMounts"] = [_mount_status(mount) for mount in mounts]
        return entry

    def _id(self, container: Container) -> str:
        return f"{self._node.runtime_name}://{container.id}"

    def _last_state(self, name: str, old: Object | None) -> Object:
        previous = self._previous.get(name)
        if previous is not None:
            return {"terminated": self._terminated(previous)}
        newest = self._newest.get(name)
        if old is None:
            return {}
        if newest is not None and newest.attempt > int(old.get("restartCount") or 0):
            ended = (old.get("state") or {}).get("terminated")
            if ended:
                return {"terminated": ended}
        last: Object = old.get("lastState") or {}
        return last

    def _terminated(self, container: Container) -> Object:
        message = self._inputs.termination_messages.get(container.id) or container.message
        ended: Object = {
            "exitCode": container.exit_code,
            "signal": container.signal,
            "reason": exit_reason(container),
            "message": message,
            "startedAt": format_time(container.started_at) if container.started_at else _never_started(container),
            "finishedAt": format_time(container.finished_at) if container.finished_at else None,
            "containerID": self._id(container),
        }
        return {key: value for key, value in ended.items() if value or key == "exitCode"}


def exit_reason(container: Container) -> str:
    """Completed, Error, OOMKilled, or StartError when its process never started."""
    ghost = container.labels.get(GHOST_LABEL)
    if ghost:
        return ghost
    if container.oom_killed and container.exit_code != 0:
        return "OOMKilled"
    if container.started_at is None and container.exit_code != 0:
        return "StartError"
    return "Completed" if container.exit_code == 0 else "Error"


def _image_id(container: Container) -> str:
    """The digest by which others can pull it, else the id that it has on this machine."""
    return container.labels.get(IMAGE_DIGEST_LABEL) or container.image_id


def _user_of(container: Container, container_id: str, old: Object | None) -> Object | None:
    """Who its first process was at its start; a process can become somebody else later, which does not count."""
    if old is not None and old.get("user") and old.get("containerID") == container_id:
        known: Object = old["user"]
        return known
    user = container.user
    if user is None:
        return None
    linux: Object = {"uid": user.uid, "gid": user.gid}
    if user.groups:
        linux["supplementalGroups"] = [*user.groups]
    return {"linux": linux}


def _never_started(container: Container) -> str | None:
    """The beginning of time for a process that could not be executed; nothing where it is just not known."""
    return None if is_ghost(container) else EPOCH


def _without_empty(mapping: Object) -> Object:
    return {key: value for key, value in mapping.items() if value}


def _mount_status(mount: Object) -> Object:
    shown: Object = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        shown["readOnly"] = True
        shown["recursiveReadOnly"] = "Disabled"
    return shown


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


def _conditions(
    pod: Object,
    phase: str,
    init: list[Object],
    apps: list[Object],
    sandbox: Any,
    now: datetime,
    old_status: Object,
) -> list[Object]:
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


def _resize_conditions(
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
