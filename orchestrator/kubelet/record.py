"""What a kubelet remembers of one pod between two looks at it; small, because there are many.

Everything here can be lost: a restarted kubelet finds out again from the API and the runtime, only
back-offs begin anew (as in Kubernetes).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from msgspec import Struct

from orchestrator.api.objects import Object, uid_of
from orchestrator.kubelet.holds import Backoff, Hold, Waiting
from orchestrator.kubelet.pod import all_containers_of, container_hash, grace_seconds_of, is_terminal, status_of
from orchestrator.kubelet.resources.resize import Allocation, Pending, with_allocation
from orchestrator.kubelet.status.conditions import OWNED_CONDITIONS

FORCED_GRACE_SECONDS = 1.0
"""What containers have whose pod is gone from the API ("a small grace period": docs, "Forced Pod termination")."""
_NOTHING: Mapping[str, Waiting] = {}


class Prepared(Struct, frozen=True):
    """A container that was created while its sandbox started."""

    container_id: str
    sandbox_id: str
    attempt: int


class Interrupted(Exception):
    """The work on a pod was cut short because the pod itself changed; it is looked at again."""


class PodRecord:
    """One pod of the node. States: *running*, *terminating* (deletion asked), *removed* (gone from the API)."""

    __slots__ = (
        "admitted",
        "allocation",
        "applied",
        "backoffs",
        "cgroup_allocation",
        "epoch",
        "failure",
        "holds",
        "image_backoffs",
        "inherited",
        "interrupted",
        "interruptible",
        "ips",
        "is_disrupted",
        "is_new",
        "is_static",
        "killing",
        "last_grace_seconds",
        "messages",
        "mirror_uid",
        "news",
        "pod",
        "prepared",
        "refresh_at",
        "removed",
        "requests",
        "resize_error",
        "resize_pending",
        "status",
        "stop_started",
        "task",
        "torn_down",
        "unreported",
        "volumes_epoch",
        "waiting",
    )

    def __init__(self, pod: Object, *, is_static: bool = False, is_new: bool = False) -> None:
        self.pod = pod
        self.is_static = is_static
        self.is_new = is_new
        """Nothing was done for it yet, neither by this kubelet nor by one before: the runtime has nothing of it."""
        self.mirror_uid = ""
        """The API object that shows a static pod; empty while there is none."""
        self.unreported = False
        """The API object is new and shows nothing of the status yet."""
        self.status: Object | None = None
        """The status that we wrote last; newer than the one in `pod` until the watch brings it back."""
        self.removed = False
        self.admitted = False
        self.torn_down = False
        self.requests: Mapping[str, int] = {}
        self.allocation: Allocation | None = None
        """The resources that it was given, which a resize of its spec may not fit; None: as its spec says."""
        self.cgroup_allocation: Allocation | None = None
        """The allocation that the pod's own cgroup was set to."""
        self.inherited: dict[str, Mapping[str, Any]] = {}
        """Limits of the pod that bound its running containers, by container id."""
        self.applied: dict[str, Object] = {}
        """`resources` of running containers as we set them, by container id."""
        self.resize_pending: Pending | None = None
        self.resize_error = ""
        self.ips: tuple[str, ...] = ()
        """The addresses of its last sandbox; a pod that is over still shows them."""
        self.failure: tuple[str, str] | None = None
        """(reason, message) once the kubelet itself decided that the pod failed."""
        self.is_disrupted = False
        """The kubelet ended the pod for the node's sake, which is not the pod's fault."""
        self.last_grace_seconds: int | None = None
        """What its containers have to end once the kubelet decided that the pod failed; None: the pod's own period."""
        self.holds: dict[str, Hold] = {}
        self.backoffs: dict[str, Backoff] = {}
        self.image_backoffs: dict[str, Backoff] = {}
        self.prepared: dict[str, Prepared] = {}
        """Containers that only have to be started, by name."""
        self.waiting: Mapping[str, Waiting] = _NOTHING
        """What was reported last, to tell news from repetition."""
        self.messages: dict[str, str] = {}
        """Termination messages by container id."""
        self.killing: set[str] = set()
        """Containers whose end was announced (and whose preStop hook ran)."""
        self.epoch = 0
        """Counts changes of what the pod refers to."""
        self.volumes_epoch = -1
        """The epoch that its volumes show; -1: not set up by this process yet."""
        self.refresh_at: datetime | None = None
        """When a token in its volumes has to be replaced."""
        self.stop_started: float | None = None
        """Monotonic time at which the termination began."""
        self.news: asyncio.Event | None = None
        """Set when something happens while its containers are being stopped; None at other times."""
        self.task: asyncio.Task[None] | None = None
        self.interruptible = False
        self.interrupted = False

    @property
    def uid(self) -> str:
        return uid_of(self.pod)

    @property
    def api_uid(self) -> str:
        """The uid of the API object that shows this pod; empty for a static pod without a mirror."""
        return self.mirror_uid if self.is_static else self.uid

    @property
    def is_terminating(self) -> bool:
        return self.removed or bool(self.pod["metadata"].get("deletionTimestamp"))

    @property
    def known_status(self) -> Object:
        """The newest status: our last write, or what the API said when we have not written yet."""
        return self.status if self.status is not None else status_of(self.pod)

    @property
    def is_over(self) -> bool:
        """Whether the pod reached Succeeded or Failed."""
        return self.known_status.get("phase") in ("Succeeded", "Failed")

    def learn_its_end(self) -> bool:
        """Whether somebody else just ended the pod, by a status that says so; it counts as if it were ours."""
        if self.is_over or not is_terminal(self.pod):
            return False
        self.status = None
        return True

    def view(self) -> Object:
        """The pod as it was allocated, with its newest status."""
        pod = with_allocation(self.pod, self.allocation)
        if self.status is None:
            return pod
        return {**pod, "status": {**self.status, "conditions": self._conditions()}}

    def _conditions(self) -> list[Object]:
        """Ours as we wrote them, those of others as the watch last showed them."""
        assert self.status is not None
        shown = {c["type"]: c for c in status_of(self.pod).get("conditions") or ()}
        merged = {c["type"]: c for c in self.status.get("conditions") or ()}
        for type_, condition in shown.items():
            if type_ not in OWNED_CONDITIONS:
                merged[type_] = condition
        return list(merged.values())

    def forget_failures(self, before: Object) -> None:
        """Containers whose definition is another one than `before` are tried at once: they have not failed yet."""
        known = {container["name"]: container for _, container in all_containers_of(before)}
        for _, container in all_containers_of(self.pod):
            name = container["name"]
            if name in known and container_hash(known[name]) != container_hash(container):
                self.backoffs.pop(name, None)
                self.holds.pop(name, None)

    def disrupt(self, reason: str, message: str, grace_seconds: int) -> None:
        """End the pod for the node's sake."""
        self.failure = (reason, message)
        self.is_disrupted = True
        self.last_grace_seconds = grace_seconds
        self.interrupt()

    def lift_holds(self) -> None:
        """Something that its containers may have waited for has changed: they are tried again."""
        self.holds = {name: hold for name, hold in self.holds.items() if hold.until is not None}

    def grace_left(self, now: float) -> float:
        """Seconds that its containers still have; the first call starts the count."""
        if self.stop_started is None:
            self.stop_started = now
        grace = float(grace_seconds_of(self.pod))
        if self.removed:
            # By force, unless it is static: then its manifest is gone, and it ends as it asks for.
            grace = max(grace, FORCED_GRACE_SECONDS) if self.is_static else FORCED_GRACE_SECONDS
        return max(0.0, self.stop_started + grace - now)

    @contextmanager
    def interruptibly(self) -> Iterator[None]:
        """While inside, `interrupt` ends the wait at once with `Interrupted`."""
        self.interruptible = True
        try:
            if self.interrupted:
                raise Interrupted
            yield
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.interrupted and task is not None and task.uncancel() == 0:
                raise Interrupted from None
            raise
        finally:
            self.interruptible = False

    def interrupt(self) -> None:
        """Stop waiting for a long operation (a pull, a grace period): the pod wants something else now."""
        if self.task is None:
            return
        self.interrupted = True
        if self.interruptible:
            self.interruptible = False  # once is enough
            self.task.cancel()
