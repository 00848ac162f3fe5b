"""What the scheduler writes about pods: where they go, why they wait, who is evicted for them.

Knows neither queue nor cache; whoever calls it puts right what a failure means there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from orchestrator.aiokit.clock import Clock, format_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, condition_of
from orchestrator.api.resources import PODS
from orchestrator.client.client import Client
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.component.events import EventRecorder
from orchestrator.logs import get_logger
from orchestrator.scheduler import metrics
from orchestrator.scheduler.pod_info import PodInfo
from orchestrator.scheduler.preemption import Candidate

EVENT_ACTIONS: Final = {"Scheduled": "Binding", "FailedScheduling": "Scheduling", "Preempted": "Preempting"}
"""What was being done, by the reason of an event."""


class PodWriter:
    """Writes as one client, tells in the name of a pod's profile."""

    def __init__(self, client: Client, recorder: EventRecorder, clock: Clock) -> None:
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._log = get_logger("kube-scheduler")

    async def bind(self, pod: PodInfo, node: str) -> None:
        """Set `spec.nodeName`; ApiError or OSError when that fails."""
        binding: Object = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"kind": "Node", "name": node},
        }
        await self._client.create(PODS, binding, pod.namespace, name=pod.name, subresource="binding")

    async def patch_status(self, pod: PodInfo, status: Object) -> None:
        """Merge this into the status of a pod; what the API refuses is left for the next attempt."""
        try:
            await self._client.patch(
                PODS,
                pod.name,
                # With the uid as precondition: a namesake that came later is not meant.
                {"metadata": {"uid": pod.uid}, "status": status},
                pod.namespace,
                subresource="status",
                content_type=STRATEGIC_MERGE_PATCH,
            )
        except (errors.NotFound, errors.Conflict) as error:
            self._log.debug("pod.status_obsolete", pod=pod.key, error=error.message)
        except (errors.ApiError, OSError) as error:
            # The next attempt reports again; the pod itself is queued already.
            self._log.info("pod.status_refused", pod=pod.key, error=str(error))

    async def preempt(
        self, pod: PodInfo, candidate: Candidate, displaced: Sequence[PodInfo], status: Object | None
    ) -> bool:
        """Evict the victims of a plan, and say so; False when one of them could not be."""
        node = candidate.node.name
        if status:
            await self.patch_status(pod, status)
        for other in displaced:
            await self.patch_status(other, {"nominatedNodeName": None})
        metrics.PREEMPTION_VICTIMS.observe(len(candidate.victims))
        for victim in candidate.victims:
            try:
                await self._evict(pod, victim, node)
            except (errors.ApiError, OSError) as error:
                self._log.info("pod.preemption_failed", pod=pod.key, victim=victim.key, error=str(error))
                return False
        return True

    async def _evict(self, pod: PodInfo, victim: PodInfo, node: str) -> None:
        condition: dict[str, Any] = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{pod.scheduler_name}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": format_time(self._clock.now()),
            "observedGeneration": victim.obj["metadata"].get("generation"),
        }
        patch = {"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(
                PODS,
                victim.name,
                patch,
                victim.namespace,
                subresource="status",
                content_type=STRATEGIC_MERGE_PATCH,
            )
            await self._client.delete(PODS, victim.name, victim.namespace, uid=victim.uid)
        except errors.NotFound:
            return
        except errors.Conflict:
            return  # a namesake: the victim itself is gone
        self._log.info("pod.preempted", pod=victim.key, by=pod.key, node=node)
        self.tell(pod, victim, "Normal", "Preempted", f"Preempted by pod {pod.uid} on node {node}")

    def tell(self, pod: PodInfo, about: PodInfo, kind: str, reason: str, message: str) -> None:
        """An event in the name of the profile that schedules `pod`."""
        self._recorder.event(about.obj, kind, reason, message, component=pod.scheduler_name)


def plan_refusal(pod: Object, message: str, *, now: str, nominated_node_name: str = "") -> Object | None:
    """The change of `status` that tells why a pod is pending; None when it says so already."""
    status: Object = {}
    condition = condition_of(pod, "PodScheduled") or {}
    wanted: dict[str, Any] = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    generation = pod["metadata"].get("generation")
    if generation:
        wanted["observedGeneration"] = generation
    if any(condition.get(field) != value for field, value in wanted.items()):
        is_same_status = condition.get("status") == "False"
        wanted["lastTransitionTime"] = (condition.get("lastTransitionTime") if is_same_status else None) or now
        wanted["lastProbeTime"] = None
        status["conditions"] = [wanted]
    nominated = (pod.get("status") or {}).get("nominatedNodeName") or ""
    if nominated != nominated_node_name:
        status["nominatedNodeName"] = nominated_node_name or None
    return status or None
