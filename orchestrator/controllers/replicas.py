"""The core that ReplicaSet and ReplicationController share: keep N pods of a template running.

Owns the decision how many pods to create and which to delete, and the status of such objects.
Never looks at templates of other objects, never schedules. Mirrors pkg/controller/replicaset.
"""

from __future__ import annotations

import abc
import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, TypeVar

from msgspec import Struct

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.objects import (
    Object,
    annotations_of,
    controller_of,
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from orchestrator.api.resources import PODS, Resource
from orchestrator.api.selectors import LabelSelector
from orchestrator.component.controller import Controller
from orchestrator.controllers import conditions
from orchestrator.controllers.expectations import RECHECK_SECONDS, Expectations
from orchestrator.controllers.ownership import (
    CONTROLLER_INDEX,
    claim,
    controlled_or_orphaned,
    index_by_controller,
    owner_in_cache,
)
from orchestrator.controllers.pods import (
    available_in_seconds,
    created_at,
    is_active,
    is_available,
    is_finished,
    is_ready,
    node_of,
    phase_of,
    pod_from_template,
    ready_since,
    restarts_of,
)
from orchestrator.controllers.selecting import add_selector_index, selecting

BURST_REPLICAS = 500
"""At most so many pods are created or deleted in one reconcile."""
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

T = TypeVar("T")

_PHASE_RANK = {"Pending": 0, "Unknown": 1, "Running": 2}


class Scale(Struct, frozen=True):
    """What to do about the number of pods."""

    create: int = 0
    delete: tuple[Object, ...] = ()


def plan_scale(active: Sequence[Object], wanted: int, related: Iterable[Object], now: datetime) -> Scale:
    """How many pods to create, or which of the active ones to delete.

    `related`: active pods of the same owner's owner (all ReplicaSets of a Deployment); of pods that
    are otherwise equal, those on nodes with many related ones go first.
    """
    missing = wanted - len(active)
    if missing > 0:
        return Scale(create=min(missing, BURST_REPLICAS))
    if missing == 0:
        return Scale()
    surplus = min(-missing, BURST_REPLICAS)
    if surplus == len(active):
        return Scale(delete=tuple(active))
    per_node = Counter(node_of(pod) for pod in related)
    ranked = sorted(active, key=lambda pod: deletion_rank(pod, per_node[node_of(pod)], now))
    return Scale(delete=tuple(ranked[:surplus]))


def deletion_rank(pod: Object, on_same_node: int, now: datetime) -> tuple[Any, ...]:
    """The sort key of scale-down: the smallest goes first.

    Order (Kubernetes docs, "ReplicaSet: Scaling"): unbound, phase, not ready, lower deletion cost,
    more related pods on the node, ready for a shorter time, more restarts, newer. Ages are compared
    on a logarithmic scale, so that among pods of about the same age the choice is arbitrary (KEP-2185).
    """
    since, (restarts, sidecar_restarts) = ready_since(pod), restarts_of(pod)
    return (
        bool(node_of(pod)),
        _PHASE_RANK.get(phase_of(pod), 0),
        since is not None,
        _deletion_cost(pod),
        -on_same_node,
        _age_rank(since, now) if since is not None else 0,
        -restarts,
        -sidecar_restarts,
        _age_rank(created_at(pod), now),
        uid_of(pod),
    )


def _deletion_cost(pod: Object) -> int:
    try:
        return int(annotations_of(pod).get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _age_rank(since: datetime, now: datetime) -> int:
    seconds = (now - since).total_seconds()
    # A nanosecond scale, as the rank is the exponent of the age.
    return int(math.log2(seconds * 1e9)) if seconds > 1e-9 else -1


def plan_status(
    obj: Object,
    active: Sequence[Object],
    terminating: int | None,
    failure: Exception | None,
    difference: int,
    now: datetime,
) -> dict[str, Any]:
    """The status of a ReplicaSet; `difference` is wanted minus active pods before this reconcile."""
    spec = obj.get("spec") or {}
    old = obj.get("status") or {}
    template_labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    min_ready_seconds = spec.get("minReadySeconds") or 0
    status: dict[str, Any] = {"replicas": len(active)}
    counts = {
        "fullyLabeledReplicas": sum(template_labels.items() <= labels_of(pod).items() for pod in active),
        "readyReplicas": sum(is_ready(pod) for pod in active),
        "availableReplicas": sum(is_available(pod, min_ready_seconds, now) for pod in active),
    }
    status.update({name: count for name, count in counts.items() if count})
    if terminating is not None:
        status["terminatingReplicas"] = terminating
    if generation := obj["metadata"].get("generation"):
        status["observedGeneration"] = generation
    kept = list(old.get("conditions") or ())
    present = conditions.find(kept, "ReplicaFailure")
    if failure is not None and present is None and difference:
        reason = "FailedCreate" if difference > 0 else "FailedDelete"
        kept.append(conditions.condition("ReplicaFailure", "True", reason, str(failure), format_time(now)))
    elif failure is None and present is not None:
        kept = conditions.without(kept, "ReplicaFailure")
    if kept:
        status["conditions"] = kept
    return status


def is_namespace_terminating(error: errors.ApiError) -> bool:
    """Whether a create was refused only because its namespace is being deleted."""
    return isinstance(error, errors.Forbidden) and any(c.reason == "NamespaceTerminating" for c in error.causes)


async def slow_start(count: int, call: Callable[[], Awaitable[T]]) -> tuple[list[T], errors.ApiError | None]:
    """Make calls in batches of 1, 2, 4, ...; stops after the batch in which one failed.

    A quota or an admission plugin that refuses one pod refuses all: so it is asked once, not N times.
    """
    done: list[T] = []
    batch = 1
    while len(done) < count:
        results = await all_of([call] * min(batch, count - len(done)))
        failures = [result for result in results if isinstance(result, errors.ApiError)]
        done += [result for result in results if not isinstance(result, errors.ApiError)]
        if failures:
            return done, failures[0]
        batch *= 2
    return done, None


async def all_of(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T | errors.ApiError]:
    """Make calls at the same time; an ApiError is a result, everything else escapes."""
    if len(calls) == 1:
        return [await _settle(calls[0])]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_settle(call), name="controller/call") for call in calls]
    return [task.result() for task in tasks]


async def _settle(call: Callable[[], Awaitable[T]]) -> T | errors.ApiError:
    try:
        return await call()
    except errors.ApiError as error:
        return error


class PodControl:
    """Creates and deletes pods for an owner, with the events that `kubectl describe` of the owner shows."""

    def __init__(self, controller: Controller, pods: Any, expectations: Expectations) -> None:
        self._controller = controller
        self._pods = pods
        self._expectations = expectations

    async def create(self, owner: Object, pod: Object) -> Object:
        """Create one pod; ApiError when the API refuses it."""
        controller = self._controller
        try:
            created = await controller.client.create(PODS, pod)
        except errors.ApiError as error:
            if not is_namespace_terminating(error):
                controller.recorder.event(owner, "Warning", "FailedCreate", f"Error creating: {error.message}")
            raise
        self._expectations.wrote(key_of(owner), self._pods, created)
        controller.recorder.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {name_of(created)}")
        return created

    async def delete(self, owner: Object, pod: Object) -> None:
        """Delete one pod; one that is gone already is fine."""
        controller = self._controller
        try:
            await controller.client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
        except errors.NotFound:
            return
        except errors.ApiError as error:
            controller.recorder.event(owner, "Warning", "FailedDelete", f"Error deleting: {error.message}")
            raise
        self._expectations.deleted(key_of(owner), self._pods, pod)
        controller.recorder.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")


class ReplicaController(Controller):
    """The reconcile loop of everything that keeps N pods of one template."""

    resource: ClassVar[Resource]
    reports_terminating: ClassVar[bool] = False

    @abc.abstractmethod
    def selector_of(self, obj: Object) -> LabelSelector:
        """The selector of such an object."""

    def setup(self) -> None:
        """Own objects by key; pods by controller, orphans by the selectors of their namespace."""
        self._objects = self.informer(self.resource)
        self._pods = self.informer(PODS)
        self._objects.add_index(CONTROLLER_INDEX, index_by_controller)
        add_selector_index(self._objects, self.selector_of)
        self._pods.add_index(CONTROLLER_INDEX, index_by_controller)
        self._expectations = Expectations()
        self._control = PodControl(self, self._pods, self._expectations)
        self._objects.add_handler(self.enqueue_object)
        self._pods.add_handler(self._on_pod)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        before, after = owner_in_cache(old, self._objects), owner_in_cache(new, self._objects)
        if before is not None:
            self.queue.add(key_of(before))
        if after is not None:
            self.queue.add(key_of(after))
        elif new is not None and controller_of(new) is None and not is_terminating(new):
            labels = labels_of(new)
            if old is None or controller_of(old) is not None or labels_of(old) != labels:
                for obj in selecting(self._objects, new, self.selector_of):
                    self.queue.add(key_of(obj))

    async def reconcile(self, key: str) -> float | None:
        """Claim pods, create or delete some, report status."""
        obj = self._objects.get(key)
        if obj is None:
            self._expectations.forget(key)
            return None
        current = self._expectations.is_fulfilled(key)
        spec = obj.get("spec") or {}
        candidates = [pod for pod in controlled_or_orphaned(self._pods, obj) if not is_finished(pod)]
        owned = await claim(self.client, self.resource, obj, self.selector_of(obj), PODS, candidates)
        active = [pod for pod in owned if is_active(pod)]
        terminating = sum(is_terminating(pod) for pod in owned) if self.reports_terminating else None
        wanted = spec.get("replicas", 1)
        failure: errors.ApiError | None = None
        now = self.clock.now()
        if current and not is_terminating(obj):
            related = self._related(obj) if len(active) > wanted else ()
            failure = await self._scale(obj, plan_scale(active, wanted, related, now))
        status = plan_status(obj, active, terminating, failure, wanted - len(active), now)
        if status != (obj.get("status") or {}):
            updated = await self.client.update_status(self.resource, conditions.with_status(obj, status))
            self._expectations.wrote(key, self._objects, updated)
        if failure is not None:
            raise failure
        if not current:
            return RECHECK_SECONDS
        min_ready_seconds = spec.get("minReadySeconds") or 0
        waits = [available_in_seconds(pod, min_ready_seconds, now) for pod in active]
        return min((wait for wait in waits if wait), default=None)

    def _related(self, obj: Object) -> list[Object]:
        owner = controller_of(obj)
        siblings = self._objects.by_index(CONTROLLER_INDEX, owner["uid"]) if owner else [obj]
        return [pod for s in siblings for pod in self._pods.by_index(CONTROLLER_INDEX, uid_of(s)) if is_active(pod)]

    async def _scale(self, obj: Object, plan: Scale) -> errors.ApiError | None:
        if plan.create:
            template = obj["spec"].get("template") or {}
            _, failure = await slow_start(
                plan.create, lambda: self._control.create(obj, pod_from_template(template, obj))
            )
            if failure is not None and is_namespace_terminating(failure):
                return None  # nothing can be created there any more; deletion brings the end
            return failure
        results = await all_of([lambda pod=pod: self._control.delete(obj, pod) for pod in plan.delete])  # type: ignore[misc]
        return next((result for result in results if isinstance(result, errors.ApiError)), None)
