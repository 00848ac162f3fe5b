"""The statuses of a pod's containers: a pure function of the Pod, what the runtime holds and what probes say.

Mirrors the kubelet's `convertToAPIContainerStatuses`.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.aiokit.clock import format_time
from orchestrator.api.objects import Object
from orchestrator.kubelet.containers.labels import IMAGE_DIGEST_LABEL
from orchestrator.kubelet.ghosts import GHOST_LABEL, is_ghost
from orchestrator.kubelet.holds import Waiting
from orchestrator.kubelet.pod import (
    app_containers_of,
    ephemeral_containers_of,
    init_containers_of,
    is_sidecar,
    requests_of,
)
from orchestrator.kubelet.probes.verdict import ProbeVerdict
from orchestrator.kubelet.resources.resize import actual_resources
from orchestrator.kubelet.restart_all import plan_round
from orchestrator.kubelet.runtime import Container, ContainerPhase, RuntimePod
from orchestrator.kubelet.status.inputs import NodeIdentity, StatusInputs

EPOCH = "1970-01-01T00:00:00Z"
_FINE = ProbeVerdict()


class ContainerStatuses:
    """The statuses of one pod's containers, by kind."""

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
        """`status.initContainerStatuses`, in the order of the spec."""
        old = self._old_by_name("initContainerStatuses")
        return [
            self._one(c, old.get(c["name"]), is_init=True, default_reason="PodInitializing")
            for c in init_containers_of(self._pod)
        ]

    def app_statuses(self) -> list[Object]:
        """`status.containerStatuses`, by name."""
        old = self._old_by_name("containerStatuses")
        reason = "PodInitializing" if init_containers_of(self._pod) else "ContainerCreating"
        entries = [self._one(c, old.get(c["name"]), default_reason=reason) for c in app_containers_of(self._pod)]
        for entry in entries:
            if devices := self._inputs.devices.get(entry["name"]):
                entry["allocatedResourcesStatus"] = devices
        return sorted(entries, key=lambda entry: str(entry["name"]))

    def ephemeral_statuses(self) -> list[Object]:
        """`status.ephemeralContainerStatuses`."""
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
