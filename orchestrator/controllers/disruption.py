"""How many pods of a PodDisruptionBudget may be evicted now. Mirrors disruption-controller.

Owns the status of budgets, from which the eviction API takes, and the end of announced disruptions
that did not happen. Never evicts anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple, Unpack

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.intstr import scaled_value
from orchestrator.api.objects import (
    Object,
    condition_of,
    controller_of,
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from orchestrator.api.resources import POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, Resource
from orchestrator.api.selectors import LabelSelector, from_label_selector
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.component.controller import Controller, Dependencies
from orchestrator.controllers.conditions import condition, find, with_condition, with_status
from orchestrator.controllers.pods import is_finished, is_ready, time_of
from orchestrator.controllers.selecting import add_selector_index, selecting

DELETION_SECONDS = 120.0
"""An evicted pod that is still not being deleted after this time counts again."""

_STALE = "stale:"


class Expected(NamedTuple):
    """How many pods there should be, and how many of them must be healthy."""

    pods: int
    healthy: int


def needs_scale(budget: Object) -> bool:
    """Whether the budget is relative to the sizes of the workloads behind its pods."""
    spec = budget["spec"]
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


def plan_expected(budget: Object, pod_count: int, scale: int) -> Expected:
    """What the budget's spec asks for; `scale`: the replicas of all workloads, where `needs_scale`."""
    spec = budget["spec"]
    if spec.get("maxUnavailable") is not None:
        unavailable = scaled_value(spec["maxUnavailable"], scale, round_up=True)
        return Expected(scale, max(0, scale - unavailable))
    wanted = spec.get("minAvailable")
    if isinstance(wanted, str):
        return Expected(scale, scaled_value(wanted, scale, round_up=True))
    return Expected(pod_count, int(wanted or 0))


class Disrupted(NamedTuple):
    """Evictions that were granted and whose pods do not show it yet."""

    pods: dict[str, str]
    overdue: list[str]
    again_seconds: float | None


def plan_disrupted(budget: Object, pods: Mapping[str, Object], now: datetime) -> Disrupted:
    """`status.disruptedPods` without those that are being deleted, are gone, or will not go. `pods`: by name."""
    kept: dict[str, str] = {}
    overdue: list[str] = []
    waits: list[float] = []
    for name, stamp in ((budget.get("status") or {}).get("disruptedPods") or {}).items():
        pod = pods.get(name)
        if pod is None or is_terminating(pod):
            continue
        left = DELETION_SECONDS - (now - (time_of(stamp) or now)).total_seconds()
        if left <= 0:
            overdue.append(name)
        else:
            kept[name] = stamp
            waits.append(left)
    return Disrupted(kept, overdue, min(waits, default=None))


def count_healthy(pods: Sequence[Object], disrupted: Collection[str]) -> int:
    """Ready pods that stay."""
    return sum(is_ready(pod) and not is_terminating(pod) and name_of(pod) not in disrupted for pod in pods)


def plan_status(
    budget: Object, expected: Expected, healthy: int, disrupted: Mapping[str, str], now: datetime
) -> dict[str, Any]:
    """The status of a budget, with its condition."""
    allowed = max(0, healthy - expected.healthy) if expected.pods > 0 else 0
    status: dict[str, Any] = {
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": expected.healthy,
        "expectedPods": expected.pods,
    }
    if disrupted:
        status["disruptedPods"] = dict(disrupted)
    if generation := budget["metadata"].get("generation"):
        status["observedGeneration"] = generation
    reason = "SufficientPods" if allowed else "InsufficientPods"
    status["conditions"] = _conditions(budget, bool(allowed), reason, "", now)
    return status


def plan_failed_status(budget: Object, message: str, now: datetime) -> dict[str, Any]:
    """When the numbers cannot be known, nothing may be evicted."""
    status = {**(budget.get("status") or {}), "disruptionsAllowed": 0}
    status["conditions"] = _conditions(budget, False, "SyncFailed", message, now)
    return status


def _conditions(budget: Object, allowed: bool, reason: str, message: str, now: datetime) -> list[dict[str, Any]]:
    present = (budget.get("status") or {}).get("conditions") or ()
    new = condition("DisruptionAllowed", str(allowed), reason, message, format_time(now))
    if generation := budget["metadata"].get("generation"):
        new["observedGeneration"] = generation
    known = find(present, "DisruptionAllowed")
    if known is not None and known.get("status") == new["status"] and known.get("reason") == reason:
        new["lastTransitionTime"] = known.get("lastTransitionTime") or new["lastTransitionTime"]
    return with_condition(present, new)


def plan_stale(pod: Object, now: datetime) -> float | None:
    """Seconds until an announced disruption counts as not happening (0: now); None without one."""
    target = condition_of(pod, "DisruptionTarget")
    if target is None or target.get("status") != "True" or is_terminating(pod) or is_finished(pod):
        return None
    since = time_of(target.get("lastTransitionTime")) or now
    return max(0.0, (since + timedelta(seconds=DELETION_SECONDS) - now).total_seconds())


class DisruptionController(Controller):
    """Keys are budgets, or `stale:<pod>` for an announced disruption."""

    name: ClassVar[str] = "disruption"

    def __init__(self, *, resources: Callable[[], Sequence[Resource]], **dependencies: Unpack[Dependencies]) -> None:
        self._resources = resources
        self._members: dict[str, set[str]] = {}
        super().__init__(**dependencies)

    def setup(self) -> None:
        """Budgets by key; pods lead to the budgets that select them, before or now."""
        self._budgets = self.informer(POD_DISRUPTION_BUDGETS)
        self._pods = self.informer(PODS)
        add_selector_index(self._budgets, selector_of)
        self._budgets.add_handler(self._on_budget)
        self._pods.add_handler(self._on_pod)

    def _on_budget(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._members.pop(key_of(old), None)
        elif old is None or old["spec"].get("selector") != new["spec"].get("selector"):
            selector = selector_of(new)
            members = {key_of(pod) for pod in self._pods.list(namespace_of(new)) if selector.matches(labels_of(pod))}
            self._members[key_of(new)] = members
        self.enqueue_object(old, new)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        pod = new if new is not None else old
        assert pod is not None
        if new is not None and plan_stale(new, self.clock.now()) is not None:
            self.queue.add(_STALE + key_of(new))
        if old is not None and new is not None and _as_member(old) == _as_member(new):
            return
        # Members are those of the present selectors, so the old labels find what the pod was a member of.
        before = {key_of(budget) for budget in selecting(self._budgets, old, selector_of)} if old is not None else set()
        after = {key_of(budget) for budget in selecting(self._budgets, new, selector_of)} if new is not None else set()
        for key in before - after:
            self._members.get(key, set()).discard(key_of(pod))
        for key in after:
            self._members.setdefault(key, set()).add(key_of(pod))
        for key in before | after:
            self.queue.add(key)

    async def reconcile(self, key: str) -> float | None:
        """Count, and write the status."""
        if key.startswith(_STALE):
            return await self._end_stale(key.removeprefix(_STALE))
        budget = self._budgets.get(key)
        if budget is None:
            return None
        pods = [pod for name in self._members.get(key, ()) if (pod := self._pods.get(name)) is not None]
        now = self.clock.now()
        if not pods:
            self.recorder.event(budget, "Normal", "NoPods", "No matching pods found")
        try:
            scale = await self._scale(budget, pods) if needs_scale(budget) else 0
        except LookupError as error:
            message = f"Failed to calculate the number of expected pods: {error.args[0]}"
            self.recorder.event(budget, "Warning", "CalculateExpectedPodCountFailed", message)
            await self._write(budget, plan_failed_status(budget, str(error.args[0]), now))
            raise errors.InternalError(message) from None
        expected = plan_expected(budget, len(pods), scale)
        by_name = {name_of(pod): pod for pod in pods}
        disrupted = plan_disrupted(budget, by_name, now)
        for name in disrupted.overdue:
            message = f"Pod was expected by PDB {key} to be deleted but it wasn't"
            self.recorder.event(by_name[name], "Warning", "NotDeleted", message)
        healthy = count_healthy(pods, disrupted.pods)
        await self._write(budget, plan_status(budget, expected, healthy, disrupted.pods, now))
        return disrupted.again_seconds

    async def _write(self, budget: Object, status: dict[str, Any]) -> None:
        if status != (budget.get("status") or {}):
            # Conditional on the resource version: an eviction that was granted meanwhile must not be lost.
            await self.client.update_status(POD_DISRUPTION_BUDGETS, with_status(budget, status))

    async def _scale(self, budget: Object, pods: Sequence[Object]) -> int:
        """The replicas of all workloads that control these pods; LookupError when one has no scale."""
        scales: dict[str, int] = {}
        unmanaged = 0
        for pod in pods:
            reference = controller_of(pod)
            if reference is None:
                unmanaged += 1
            elif reference["uid"] not in scales:
                uid, replicas = await self._scale_of(reference, namespace_of(pod), name_of(pod))
                scales[reference["uid"]] = 0  # looked up; its owner may hold the number
                scales[uid] = replicas
        if unmanaged:
            message = (
                f"Pods selected by this PodDisruptionBudget (selector: {budget['spec'].get('selector')}) were found to "
                "be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in "
                'undefined behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an '
                "integer value."
            )
            self.recorder.event(budget, "Warning", "UnmanagedPods", message)
        return sum(scales.values())

    async def _scale_of(self, reference: Mapping[str, Any], namespace: str, pod: str) -> tuple[str, int]:
        """(uid, replicas) of the topmost workload above a pod."""
        resource = self._resource_of(reference)
        # The scale tells the size of everything that has one; only of a ReplicaSet more must be known.
        subresource = "" if resource == REPLICA_SETS else "scale"
        obj: Object | None = None
        if resource is not None:
            try:
                obj = await self.client.get(resource, reference["name"], namespace, subresource=subresource)
            except errors.NotFound:
                obj = None
            except errors.MethodNotAllowed:
                message = f"{resource.group_resource} does not implement the scale subresource"
                raise LookupError(message) from None
        if obj is None or uid_of(obj) != reference["uid"]:
            raise LookupError(f'found no controllers for pod "{pod}"')
        above = controller_of(obj)
        if above is not None:
            return await self._scale_of(above, namespace, pod)
        return uid_of(obj), int((obj.get("spec") or {}).get("replicas") or 0)

    def _resource_of(self, reference: Mapping[str, Any]) -> Resource | None:
        group = str(reference["apiVersion"]).rpartition("/")[0]
        for resource in self._resources():
            if resource.group == group and resource.kind == reference["kind"] and resource.namespaced:
                return resource
        return None

    async def _end_stale(self, key: str) -> float | None:
        pod = self._pods.get(key)
        left = plan_stale(pod, self.clock.now()) if pod is not None else None
        if pod is None or left is None or left > 0:
            return left
        ended = {
            "type": "DisruptionTarget",
            "status": "False",
            "lastTransitionTime": format_time(self.clock.now()),
            "observedGeneration": pod["metadata"].get("generation"),
        }
        patch = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": [ended]}}
        try:
            await self.client.patch(
                PODS, name_of(pod), patch, namespace_of(pod), subresource="status", content_type=STRATEGIC_MERGE_PATCH
            )
        except errors.NotFound:
            return None
        return None


def selector_of(budget: Object) -> LabelSelector:
    """The pods of a budget; an empty selector means all of the namespace, none at all means none."""
    return from_label_selector(budget["spec"].get("selector"))


def _as_member(pod: Object) -> tuple[Any, ...]:
    """What of a pod a budget counts."""
    return (labels_of(pod), is_ready(pod), is_terminating(pod), controller_of(pod))
