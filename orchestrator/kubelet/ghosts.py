"""Ghosts: dead stand-ins for containers that the API knows and the runtime has lost. Pure functions.

Somebody removed them by hand, or the machine lost its state. Without a stand-in a finished container of a
`restartPolicy: Never` pod would be run a second time. Mirrors the kubelet's treatment of containers whose status it
cannot find any more (reason `ContainerStatusUnknown`).
"""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.aiokit.clock import parse_time
from orchestrator.api.objects import Object, uid_of
from orchestrator.kubelet.pod import status_of
from orchestrator.kubelet.runtime import Container, ContainerPhase, RuntimePod, Sandbox
from orchestrator.kubelet.runtime_pods import current_sandbox

GHOST_LABEL = "orchestrator.dev/ghost"
"""Marks a container that only the API remembers; its value is the reason that is shown."""
GHOST_MESSAGE = "The container could not be located when the pod was terminated"


def with_ghosts(pod: Object, runtime_pod: RuntimePod | None) -> RuntimePod | None:
    """What the runtime holds of a pod, and a ghost for each container that only the pod's status shows."""
    status = status_of(pod)
    known = {container.id for container in runtime_pod.containers} if runtime_pod else set()
    sandbox = current_sandbox(runtime_pod)
    ghosts: list[Container] = []
    for section in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for entry in status.get(section) or ():
            container_id = (entry.get("containerID") or "").partition("://")[2]
            if not container_id or container_id in known or _has_never_run(entry):
                continue
            attempt = int(entry.get("restartCount") or 0)
            present = runtime_pod.containers if runtime_pod else ()
            newest = max((c.attempt for c in present if c.name == entry["name"]), default=attempt)
            if newest > attempt + 1 or any(c.name == entry["name"] and c.attempt == attempt for c in present):
                continue  # the API is behind: it shows a container that was replaced and pruned
            ghosts.append(_ghost(pod, entry, container_id, attempt, sandbox))
    if not ghosts:
        return runtime_pod
    if runtime_pod is None:
        metadata = pod["metadata"]
        return RuntimePod(metadata.get("namespace", ""), metadata["name"], uid_of(pod), (), tuple(ghosts))
    return replace(runtime_pod, containers=(*runtime_pod.containers, *ghosts))


def _has_never_run(entry: Object) -> bool:
    """Whether a container status is that of a container that was made and not started."""
    return "waiting" in (entry.get("state") or {}) and not (entry.get("lastState") or {}).get("terminated")


def _ghost(pod: Object, entry: Object, container_id: str, attempt: int, sandbox: Sandbox | None) -> Container:
    state = entry.get("state") or {}
    ended = state.get("terminated") or (entry.get("lastState") or {}).get("terminated") or {}
    if state.get("running"):
        ended = {}
    started = ended.get("startedAt") or (state.get("running") or {}).get("startedAt")
    started_at = parse_time(started) if started else None
    finished_at = parse_time(ended["finishedAt"]) if ended.get("finishedAt") else None
    is_current = bool(sandbox and started_at and started_at >= sandbox.created_at.replace(microsecond=0))
    fallback = parse_time(status_of(pod).get("startTime") or pod["metadata"]["creationTimestamp"])
    return Container(
        id=container_id,
        name=entry["name"],
        attempt=attempt,
        pod_uid=uid_of(pod),
        sandbox_id=sandbox.id if sandbox and is_current else "",
        image=entry.get("image") or "",
        image_id=entry.get("imageID") or "",
        phase=ContainerPhase.EXITED,
        created_at=started_at or fallback,
        started_at=started_at,
        finished_at=finished_at,
        exit_code=int(ended.get("exitCode", 137)),
        message=ended.get("message") or ("" if ended else GHOST_MESSAGE),
        labels={GHOST_LABEL: ended.get("reason") or "ContainerStatusUnknown"},
    )


def is_ghost(container: Container) -> bool:
    return GHOST_LABEL in container.labels
