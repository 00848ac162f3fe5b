"""Pods and runtime states as short expressions, for tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.api.objects import Object
from orchestrator.kubelet.runtime import Container, ContainerPhase, RuntimePod, Sandbox

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def pod(*names: str, init: list[Object] | None = None, policy: str = "Always", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web",
            "namespace": "ns",
            "uid": "u1",
            "generation": 1,
            "creationTimestamp": "2026-01-01T11:00:00Z",
        },
        "spec": {
            "restartPolicy": policy,
            "initContainers": init or [],
            "containers": [{"name": name, "image": "app:1"} for name in names or ("a",)],
            **spec,
        },
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }


def init(name: str) -> Object:
    return {"name": name, "image": "app:1"}


def sidecar(name: str) -> Object:
    return {"name": name, "image": "app:1", "restartPolicy": "Always"}


def sandbox(attempt: int = 0, *, ready: bool = True) -> Sandbox:
    ips = ("10.0.0.5",) if ready else ()
    return Sandbox(f"s{attempt}", "ns", "web", "u1", attempt, ready, ips, NOW - seconds(100 - attempt))


def running(name: str = "a", attempt: int = 0, *, in_sandbox: str = "s0", **changes: Any) -> Container:
    return _container(name, attempt, in_sandbox, phase=ContainerPhase.RUNNING, **changes)


def exited(
    name: str = "a", code: int = 0, attempt: int = 0, *, ago: float = 1, in_sandbox: str = "s0", **changes: Any
) -> Container:
    changes.setdefault("finished_at", NOW - seconds(ago))
    return _container(name, attempt, in_sandbox, phase=ContainerPhase.EXITED, exit_code=code, **changes)


def created(name: str = "a", attempt: int = 0, *, in_sandbox: str = "s0") -> Container:
    return _container(name, attempt, in_sandbox, phase=ContainerPhase.CREATED, started_at=None)


def _container(name: str, attempt: int, in_sandbox: str, **changes: Any) -> Container:
    changes.setdefault("started_at", NOW - seconds(90))
    return Container(
        id=f"{name}{attempt}",
        name=name,
        attempt=attempt,
        pod_uid="u1",
        sandbox_id=in_sandbox,
        image="app:1",
        image_id="sha256:1",
        created_at=NOW - seconds(90),
        **changes,
    )


def state(*containers: Container, sandboxes: tuple[Sandbox, ...] = (sandbox(),)) -> RuntimePod:
    return RuntimePod("ns", "web", "u1", sandboxes, containers)
