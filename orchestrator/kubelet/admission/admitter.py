"""Whether a node takes a pod, and which resources a pod that it has taken is given.

Owns the node's count of requests and the resizes that wait for room. Never starts anything. Mirrors the admission of
pkg/kubelet and pkg/kubelet/allocation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from orchestrator.api.objects import Object, uid_of
from orchestrator.api.resources import NODES
from orchestrator.client.client import Client
from orchestrator.component.events import EventRecorder
from orchestrator.kubelet.admission.predicates import (
    refuse_apparmor,
    refuse_host_ports,
    refuse_placement,
    refuse_pod,
    refuse_sysctls,
    refuse_system,
)
from orchestrator.kubelet.admission.preemption import MESSAGE, REASON, Occupant, plan_preemption
from orchestrator.kubelet.eviction.plan import refuse_under_pressure
from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.node.shutdown import REFUSAL
from orchestrator.kubelet.parts import DeviceFailure, Devices, NodeFacts
from orchestrator.kubelet.pod import grace_seconds_of, is_critical
from orchestrator.kubelet.record import PodRecord
from orchestrator.kubelet.resources.pod_resources import pod_requests
from orchestrator.kubelet.resources.resize import (
    describe_sizes,
    judge_wish,
    retry_order,
    starting_allocation,
    wished,
    with_allocation,
)

_NOTHING: Mapping[str, int] = {}
UNEXPECTED = "UnexpectedAdmissionError"
PREEMPTED = "PreemptContainer"
"""The reason of the event, which differs from that of the status."""


class PodAdmitter:
    """Admits the pods of one node."""

    def __init__(
        self,
        *,
        client: Client,
        recorder: EventRecorder,
        options: NodeOptions,
        facts: NodeFacts,
        devices: Devices | None,
        pods: Mapping[str, PodRecord],
        known_node: Callable[[], Object | None],
        pressure: Callable[[], Iterable[str]],
        look_at: Callable[[str], None],
    ) -> None:
        """`pods` are those of the node by uid, `known_node` is its Node as last seen, `pressure` its conditions.

        `look_at` has the kubelet work on a pod.
        """
        self._client = client
        self._recorder = recorder
        self._options = options
        self._facts = facts
        self._devices = devices
        self._pods = pods
        self._known_node = known_node
        self._pressure = pressure
        self._look_at = look_at
        self._deferred: dict[str, None] = {}
        """Uids, those that have waited longest first."""
        self._victims: dict[str, set[str]] = {}
        """By the uid of a critical pod: the pods that have to end before it starts."""
        self.is_closed = False
        """Whether the node shuts down and takes no more pods."""

    def held(self, record: PodRecord) -> Mapping[str, int]:
        """What a pod holds of the node's resources now."""
        return record.requests if _holds_room(record) else _NOTHING

    def worked_on(self, record: PodRecord, held_before: Mapping[str, int]) -> None:
        """If the pod holds less than before the work on it, or has ended, there may be room for those that wait."""
        now = self.held(record)
        if any(now.get(name, 0) < amount for name, amount in held_before.items()):
            self._retry_deferred()
        if record.is_over:
            self._retry_critical(record.uid)

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._deferred.pop(uid, None)
        self._victims.pop(uid, None)
        self._retry_deferred()
        self._retry_critical(uid)

    def _retry_deferred(self) -> None:
        for pod in retry_order(self._pods[uid].pod for uid in self._deferred):
            self._look_at(uid_of(pod))

    def _retry_critical(self, ended: str) -> None:
        for uid, victims in self._victims.items():
            if ended in victims:
                self._look_at(uid)

    def has_room(self, record: PodRecord) -> bool:
        """Whether all pods that had to give way to this one have ended; what is ending itself needs no room."""
        victims = self._victims.get(record.uid)
        if victims is None:
            return True
        left = {uid for uid in victims if uid in self._pods and not self._pods[uid].is_over}
        if left and not record.is_terminating and not record.is_over:
            return False
        del self._victims[record.uid]
        return True

    async def refusal(self, record: PodRecord) -> tuple[str, str] | None:
        """(reason, message) when the node does not take a pod that it sees for the first time."""
        refused = (
            await self._misplaced(record)
            or self._refuse_kind(record)
            or await self._allocate_devices(record)
            or self._admit(record)
        )
        if refused is not None:
            record.admitted = True
        return refused

    async def _misplaced(self, record: PodRecord) -> tuple[str, str] | None:
        """Why a new pod does not belong on this node; a label that it misses may only not have been seen yet."""
        pod = record.pod
        if record.is_static or not _is_new(record):
            return None
        known = self._known_node()
        if known is None or refuse_placement(pod, known) is None:
            return None
        return refuse_placement(pod, await self._client.get(NODES, self._options.name))

    def _refuse_kind(self, record: PodRecord) -> tuple[str, str] | None:
        """Why the node takes no pod like a new one now, however much room there is."""
        if not _is_new(record):
            return None
        if self.is_closed:
            return REFUSAL
        pressed = refuse_under_pressure(record.pod, self._pressure())
        if pressed is not None:
            return pressed
        return (
            refuse_system(record.pod)
            or refuse_sysctls(record.pod, self._options.allowed_unsafe_sysctls)
            or refuse_apparmor(record.pod, is_enabled=self._facts.has_apparmor)
        )

    async def _allocate_devices(self, record: PodRecord) -> tuple[str, str] | None:
        """Give a new pod its devices, or say why there are none for it."""
        if self._devices is None or not _is_new(record):
            return None
        try:
            await self._devices.allocate(record.pod)
        except DeviceFailure as error:
            return UNEXPECTED, f"Pod was rejected: Allocate failed due to {error}, which is unexpected"
        return None

    def _admit(self, record: PodRecord) -> tuple[str, str] | None:
        """Count the pod's requests; refuse it if it was never started and does not fit."""
        record.admitted = True
        pod = record.pod
        if record.is_over or record.is_terminating:
            return None
        record.requests = pod_requests(pod)
        if not _is_new(record):
            return None
        others = self._others(record)
        taken = refuse_host_ports(pod, (other.pod for other in others))
        if taken is not None and is_critical(pod):
            return taken  # nobody else's room would help
        occupants = [Occupant(other.pod, other.requests) for other in others]
        victims = {uid_of(one.pod) for one in plan_preemption(pod, record.requests, occupants, self._facts.allocatable)}
        for other in others:
            if other.uid in victims:
                self._preempt(other)
        if victims:
            self._victims[record.uid] = victims
        others = [other for other in others if other.uid not in victims]
        too_much = refuse_pod(record.requests, (o.requests for o in others), len(others), self._facts.allocatable)
        return too_much or taken

    def _preempt(self, victim: PodRecord) -> None:
        """End a pod that a critical one needs the room of."""
        self._recorder.event(victim.pod, "Warning", PREEMPTED, MESSAGE)
        victim.disrupt(REASON, MESSAGE, grace_seconds_of(victim.pod))
        self._look_at(victim.uid)

    def allocate(self, record: PodRecord) -> None:
        """Give the pod what it asks for now, if that fits; a wish that does not fit stays pending."""
        pod = record.pod
        if record.is_over or record.is_terminating:
            return
        if record.allocation is None:
            record.allocation = record.cgroup_allocation = starting_allocation(pod)
        before, record.resize_pending = record.resize_pending, None
        if wished(pod) != record.allocation:
            pending = judge_wish(pod, (o.requests for o in self._others(record)), self._facts.allocatable)
            if pending is None:
                record.allocation = wished(pod)
                self._recorder.event(pod, "Normal", "ResizeStarted", f"Pod resize started: {describe_sizes(pod)}")
            else:
                record.resize_pending = pending
                if before != pending:
                    message = f"Pod resize {pending.reason}: {describe_sizes(pod, pending.message)}"
                    self._recorder.event(pod, "Warning", f"Resize{pending.reason}", message)
        if record.resize_pending is not None and record.resize_pending.reason == "Deferred":
            self._deferred.setdefault(record.uid)
        else:
            self._deferred.pop(record.uid, None)
        record.requests = pod_requests(with_allocation(pod, record.allocation))

    def _others(self, record: PodRecord) -> list[PodRecord]:
        """The other pods that hold some of the node's resources.

        What was deleted by force does not, however long its containers take to end: the scheduler has given its room
        away already, and whoever came for it would be refused, replaced and refused again.
        """
        return [other for other in self._pods.values() if other is not record and _holds_room(other)]


def _is_new(record: PodRecord) -> bool:
    """Whether the pod is still to be started."""
    is_started = bool((record.pod.get("status") or {}).get("startTime"))
    return not (record.is_over or record.is_terminating or is_started)


def _holds_room(record: PodRecord) -> bool:
    return record.admitted and record.failure is None and not record.is_over and not record.removed
