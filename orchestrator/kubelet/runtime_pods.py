"""Reading what a runtime holds of a pod: which containers and which sandbox count now. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from orchestrator.api.objects import Object, uid_of
from orchestrator.kubelet.runtime import Container, RuntimePod, Sandbox


def newest_containers(runtime_pod: RuntimePod | None) -> dict[str, Container]:
    """The newest container of each name."""
    newest: dict[str, Container] = {}
    for container in runtime_pod.containers if runtime_pod else ():
        known = newest.get(container.name)
        if known is None or (container.attempt, container.created_at) > (known.attempt, known.created_at):
            newest[container.name] = container
    return newest


def current_sandbox(runtime_pod: RuntimePod | None) -> Sandbox | None:
    """The newest sandbox, ready or not."""
    return runtime_pod.sandboxes[0] if runtime_pod and runtime_pod.sandboxes else None


def with_new_sandbox(pod: Object, runtime_pod: RuntimePod | None, sandbox: Sandbox) -> RuntimePod:
    """What there is of a pod once it has a new sandbox."""
    if runtime_pod is None:
        metadata = pod["metadata"]
        return RuntimePod(metadata.get("namespace", ""), metadata["name"], uid_of(pod), (sandbox,), ())
    return replace(runtime_pod, sandboxes=(sandbox, *runtime_pod.sandboxes))


def with_started(runtime_pod: RuntimePod, started: Iterable[Container]) -> RuntimePod:
    """What there is of a pod once these containers run."""
    containers = {container.id: container for container in (*runtime_pod.containers, *started)}
    return replace(runtime_pod, containers=tuple(sorted(containers.values(), key=lambda c: (c.created_at, c.name))))
