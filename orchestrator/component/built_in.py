"""A component of this process as others see it that look for it: its state, and the last that it logged.

Kubernetes' own components are programs in pods of `kube-system`; here they are tasks of one process. The kubelet shows
each as a pod (`kubelet.built_in`) and gets what it tells of it from here. Never starts or stops anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime

from msgspec import Struct

from orchestrator.component.component_log import ComponentLog
from orchestrator.component.kubelet_api import PortStream
from orchestrator.component.supervisor import Supervised


class Failure(Struct, frozen=True):
    """How a component ended before it was started again."""

    started_at: datetime
    finished_at: datetime
    message: str


class ComponentState(Struct, frozen=True):
    """How a component is now; the parts of one that has several live and fall together, as those of a program do."""

    started_at: datetime
    restarts: int = 0
    last_failure: Failure | None = None
    is_running: bool = True
    """Else it has ended as its last failure says, and waits to be started again."""


class BuiltIn(Struct, frozen=True):
    """A component of this process, and the pod that shows it."""

    name: str
    """The program that has its duties in Kubernetes: `kube-scheduler`."""
    labels: Mapping[str, str]
    args: tuple[str, ...]
    """The flags of that program that say what is true here."""
    state: Callable[[], ComponentState]
    log: ComponentLog
    on_every_node: bool = False
    """Else it is shown on the first node only."""
    dial: Callable[[int], Awaitable[PortStream]] | None = None
    """Connects to one of its ports; raises OSError when nothing listens there."""


def plan_state(parts: Iterable[Supervised], process_started_at: datetime) -> ComponentState:
    """The state of a component from those of its parts, of which there may be none."""
    known = [*parts]
    failures = [
        Failure(part.failed_run_started_at or process_started_at, part.failed_at, part.failure)
        for part in known
        if part.failed_at is not None
    ]
    restarts = sum(part.restarts for part in known)
    started = [part.started_at for part in known if part.restarts]
    return ComponentState(
        started_at=max(started, default=process_started_at),
        restarts=restarts,
        last_failure=max(failures, key=lambda failure: failure.finished_at, default=None),
        is_running=not any(part.is_failing for part in known),
    )
