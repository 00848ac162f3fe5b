"""Remove pods that nobody else will: of lost nodes, never bound ones, too many finished ones.

Mirrors pod-garbage-collector-controller. Keys: `node/<name>`, `pod/<namespace>/<name>`, `finished`.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

from orchestrator.api import errors
from orchestrator.api.objects import Object, is_terminating, key_of, name_of, namespace_of, uid_of
from orchestrator.api.resources import NODES, PODS
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.component.controller import Controller, Dependencies
from orchestrator.controllers.nodelifecycle.plan import ready_status
from orchestrator.controllers.pods import (
    NODE_INDEX,
    created_at,
    disruption_target,
    index_by_node,
    is_finished,
    node_of,
    phase_of,
)

TERMINATED_POD_THRESHOLD = 12_500
QUARANTINE_SECONDS = 40.0
"""A node that is missing may only be late: its pods are not touched before."""
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


def plan_finished(pods: Sequence[Object], threshold: int) -> list[Object]:
    """The finished pods above the threshold: evicted ones first, then the oldest."""
    surplus = len(pods) - threshold
    if surplus <= 0:
        return []
    return heapq.nsmallest(surplus, pods, key=lambda pod: (not _is_evicted(pod), created_at(pod), name_of(pod)))


def _is_evicted(pod: Object) -> bool:
    return phase_of(pod) == "Failed" and pod["status"].get("reason") == "Evicted"


def is_out_of_service(node: Object) -> bool:
    """Whether an administrator declared a node that is not ready dead (KEP-2268)."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return ready_status(node) != "True" and any(taint.get("key") == OUT_OF_SERVICE for taint in taints)


class PodGarbageCollector(Controller):
    """Deletes such pods without grace: no kubelet is there to confirm."""

    name: ClassVar[str] = "podgc"
    workers: ClassVar[int] = 2

    def __init__(
        self,
        *,
        terminated_pod_threshold: int = TERMINATED_POD_THRESHOLD,
        quarantine_seconds: float = QUARANTINE_SECONDS,
        **dependencies: Unpack[Dependencies],
    ) -> None:
        self._threshold = terminated_pod_threshold
        self._quarantine_seconds = quarantine_seconds
        self._finished: set[str] = set()
        super().__init__(**dependencies)

    def setup(self) -> None:
        """Nodes that leave, pods whose node is not there, and the number of finished pods."""
        self._nodes = self.informer(NODES)
        self._pods = self.informer(PODS)
        self._pods.add_index(NODE_INDEX, index_by_node)
        self._nodes.add_handler(self._on_node)
        self._pods.add_handler(self._on_pod)

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self.queue.add_after(f"node/{name_of(old)}", self._quarantine_seconds)
        elif is_out_of_service(new):
            self.queue.add(f"node/{name_of(new)}")

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._finished.discard(key_of(old))
            return
        node = node_of(new)
        if node and (old is None or node_of(old) != node) and self._nodes.get(node) is None:
            self.queue.add_after(f"node/{node}", self._quarantine_seconds)
        elif node and is_terminating(new) and (old is None or not is_terminating(old)):
            lost = self._nodes.get(node)
            if lost is not None and is_out_of_service(lost):
                self.queue.add(f"node/{node}")
        if not node and is_terminating(new):
            self.queue.add(f"pod/{key_of(new)}")
        if self._threshold > 0 and is_finished(new) and not is_terminating(new):
            self._finished.add(key_of(new))
            if len(self._finished) > self._threshold:
                self.queue.add("finished")

    async def reconcile(self, key: str) -> float | None:
        """Handle one of the three cases."""
        kind, _, rest = key.partition("/")
        if kind == "node":
            await self._collect_node(rest)
        elif kind == "pod":
            pod = self._pods.get(rest)
            if pod is not None and is_terminating(pod) and not node_of(pod):
                await self._delete(pod, message="")
        else:
            pods = [pod for name in self._finished if (pod := self._pods.get(name)) is not None]
            for pod in plan_finished(pods, self._threshold):
                await self._delete(pod, message="")
        return None

    async def _collect_node(self, name: str) -> None:
        node = self._nodes.get(name)
        if node is not None:
            if is_out_of_service(node):
                for pod in self._pods.by_index(NODE_INDEX, name):
                    if is_terminating(pod):
                        await self._delete(pod, message="")
            return
        try:
            await self.client.get(NODES, name)
        except errors.NotFound:
            for pod in self._pods.by_index(NODE_INDEX, name):
                await self._delete(pod, message="PodGC: node no longer exists")

    async def _delete(self, pod: Object, *, message: str) -> None:
        status: dict[str, Any] = {}
        if not is_finished(pod):
            status["phase"] = "Failed"
            if message:
                status["conditions"] = [disruption_target(pod, "DeletionByPodGC", message, self.clock.now())]
        name, namespace = name_of(pod), namespace_of(pod)
        try:
            if status:
                patch = {"metadata": {"uid": uid_of(pod)}, "status": status}
                await self.client.patch(
                    PODS, name, patch, namespace, subresource="status", content_type=STRATEGIC_MERGE_PATCH
                )
            await self.client.delete(PODS, name, namespace, uid=uid_of(pod), grace_period_seconds=0)
        except errors.NotFound:
            return
