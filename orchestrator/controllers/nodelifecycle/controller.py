"""The node lifecycle controller's shell.

A node is alive while its Lease or its status changes; the time of a change is when *we* saw it, so
that clocks of nodes do not matter. Each node has one timer, which moves on with its heart-beats; no
node is looked at because time passed for another.
"""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

from prometheus_client import Counter

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.objects import (
    Object,
    condition_of,
    name_of,
    namespace_of,
    resource_version_of,
    uid_of,
)
from orchestrator.api.resources import LEASES, NODES, PODS
from orchestrator.client.transport import STRATEGIC_MERGE_PATCH
from orchestrator.component.controller import Controller, Dependencies
from orchestrator.component.metrics import REGISTRY
from orchestrator.controllers.conditions import with_status
from orchestrator.controllers.nodelifecycle.plan import (
    has_no_execute,
    no_execute_taint,
    plan_old_labels,
    plan_taints,
    plan_unknown,
    ready_status,
)
from orchestrator.controllers.nodelifecycle.zones import Zones, zone_of
from orchestrator.controllers.pods import NODE_INDEX, index_by_node, is_finished, is_ready

LEASE_NAMESPACE = "kube-node-lease"

GRACE_SECONDS = 50.0
"""`--node-monitor-grace-period`, its default since v1.32."""
STARTUP_GRACE_SECONDS = 60.0

_EVICTIONS = Counter(
    "node_collector_evictions", "Nodes whose pods were told to go, by zone.", ["zone"], registry=REGISTRY
)


class NodeLifecycleController(Controller):
    """Follows heart-beats, writes Unknown, taints, and marks pods of lost nodes not ready."""

    name: ClassVar[str] = "nodelifecycle"
    workers: ClassVar[int] = 8

    def __init__(
        self,
        *,
        grace_seconds: float = GRACE_SECONDS,
        startup_grace_seconds: float = STARTUP_GRACE_SECONDS,
        **dependencies: Unpack[Dependencies],
    ) -> None:
        self._grace_seconds = grace_seconds
        self._startup_grace_seconds = startup_grace_seconds
        self._seen: dict[str, float] = {}
        self._zones = Zones()
        self._pods_marked: set[str] = set()
        super().__init__(**dependencies)

    def setup(self) -> None:
        """Nodes by name; Leases only move the time when their node was last seen."""
        self._nodes = self.informer(NODES)
        self._pods = self.informer(PODS)
        self._pods.add_index(NODE_INDEX, index_by_node)
        self._nodes.add_handler(self._on_node)
        self.informer(LEASES).add_handler(self._on_lease)

    def _on_lease(self, old: Object | None, new: Object | None) -> None:
        if new is None or namespace_of(new) != LEASE_NAMESPACE or name_of(new) not in self._seen:
            return  # nobody's, or that of a node that has yet to come: it is alive when it comes
        renewed = (new.get("spec") or {}).get("renewTime")
        if old is None or (old.get("spec") or {}).get("renewTime") != renewed:
            self._seen[name_of(new)] = self.clock.monotonic()

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._forget(old)
            return
        name = name_of(new)
        if old is None or uid_of(old) != uid_of(new):
            self._seen[name] = self.clock.monotonic()
            self.recorder.event(
                new, "Normal", "RegisteredNode", f"Node {name} event: Registered Node {name} in Controller"
            )
        elif _posted(old) != _posted(new):
            self._seen[name] = self.clock.monotonic()
        self._count(new)
        self.queue.add(name)

    def _forget(self, node: Object) -> None:
        name = name_of(node)
        self._seen.pop(name, None)
        self._pods_marked.discard(name)
        if self._zones.drop(name):
            self._look_at_all()
        message = f"Node {name} event: Removing Node {name} from Controller"
        self.recorder.event(node, "Normal", "RemovingNode", message)

    def _count(self, node: Object) -> None:
        if self._zones.put(name_of(node), zone_of(node), is_ready=ready_status(node) == "True"):
            self._look_at_all()

    def _look_at_all(self) -> None:
        """The last zone is lost, or the first came back: that concerns every node."""
        for name in self._seen:
            self.queue.add(name)

    async def reconcile(self, key: str) -> float | None:
        """Judge one node; returns when its grace period would end."""
        node = self._nodes.get(key)
        if node is None:
            self._seen.pop(key, None)
            return None
        has_reported = condition_of(node, "Ready") is not None
        grace = self._grace_seconds if has_reported else self._startup_grace_seconds
        left = self._seen.setdefault(key, self.clock.monotonic()) + grace - self.clock.monotonic()
        if left <= 0:
            status = plan_unknown(node, self.clock.now())
            if status is not None:
                node = await self.client.update_status(NODES, with_status(node, status))
                if self._nodes.get(key) is None:
                    return None  # it went meanwhile
                # Counted at once: whether anybody may be evicted depends on how many are lost.
                self._count(node)
        if labels := plan_old_labels(node):
            node = await self.client.patch(NODES, key, {"metadata": {"labels": labels}})
        wait = await self._taint(node)
        await self._mark_pods(node)
        waits = [seconds for seconds in (wait, left) if seconds is not None and seconds > 0]
        return min(waits, default=None)

    async def _taint(self, node: Object) -> float | None:
        """Write taints; returns the seconds until an eviction that must wait may happen."""
        wait: float | None = None
        all_disrupted = self._zones.is_all_disrupted()
        may_evict = False
        if no_execute_taint(node) and not has_no_execute(node) and not all_disrupted:
            wait = self._zones.eviction_wait(zone_of(node), self.clock.monotonic())
            if wait is None:
                # Asked again with the next change of a node; this is only the safety net.
                wait = self._grace_seconds
            may_evict = wait == 0
        taints = plan_taints(node, self.clock.now(), may_evict=may_evict, cancel_evictions=all_disrupted)
        if taints is not None:
            patch = {
                "metadata": {"resourceVersion": resource_version_of(node)},
                "spec": {"taints": taints or None},
            }
            await self.client.patch(NODES, name_of(node), patch)
            if may_evict:
                _EVICTIONS.labels(zone_of(node)).inc()
                self._zones.evicted(zone_of(node), self.clock.monotonic())
        return wait

    async def _mark_pods(self, node: Object) -> None:
        """Once per outage: pods of a node that is not ready are not ready, so that Services drop them."""
        name = name_of(node)
        if ready_status(node) == "True":
            self._pods_marked.discard(name)
            return
        if name in self._pods_marked:
            return
        if condition_of(node, "Ready") is not None:
            self.recorder.event(node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        stamp = format_time(self.clock.now())
        for pod in self._pods.by_index(NODE_INDEX, name):
            if is_finished(pod) or not is_ready(pod):
                continue
            condition = {"type": "Ready", "status": "False", "lastTransitionTime": stamp}
            if generation := pod["metadata"].get("generation"):
                condition["observedGeneration"] = generation
            patch = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": [condition]}}
            self.recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")
            try:
                await self.client.patch(
                    PODS,
                    name_of(pod),
                    patch,
                    namespace_of(pod),
                    subresource="status",
                    content_type=STRATEGIC_MERGE_PATCH,
                )
            except errors.NotFound:
                continue
        self._pods_marked.add(name)


def _posted(node: Object) -> list[Any]:
    """What changes when a kubelet posts its status, and not when we write conditions."""
    conditions = (node.get("status") or {}).get("conditions") or ()
    return [(c.get("type"), c.get("lastHeartbeatTime")) for c in conditions]
