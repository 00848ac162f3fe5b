"""Which nodes are alive: stale Leases make a node Unknown, taints keep pods away. Mirrors node-lifecycle-controller.

A node is alive while its Lease or its status changes; the time of a change is when *we* saw it, so
that clocks of nodes do not matter. Each node has one timer, which moves on with its heart-beats; no
node is looked at because time passed for another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal, Unpack

from msgspec import Struct, field
from prometheus_client import Counter

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.objects import (
    Object,
    condition_of,
    labels_of,
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
from orchestrator.controllers.pods import NODE_INDEX, index_by_node, is_finished, is_ready

LEASE_NAMESPACE = "kube-node-lease"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"

GRACE_SECONDS = 50.0
"""`--node-monitor-grace-period`, its default since v1.32."""
STARTUP_GRACE_SECONDS = 60.0
EVICTIONS_PER_SECOND = 0.1
SECONDARY_EVICTIONS_PER_SECOND = 0.01
LARGE_ZONE_NODES = 50
UNHEALTHY_ZONE_SHARE = 0.55

_WATCHED_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_PRESSURE_TAINTS = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OLD_LABELS = {"kubernetes.io/os": "beta.kubernetes.io/os", "kubernetes.io/arch": "beta.kubernetes.io/arch"}
_OUR_NO_SCHEDULE = frozenset({NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_PRESSURE_TAINTS.values()})
_OUR_NO_EXECUTE = frozenset({NOT_READY, UNREACHABLE})

Taint = dict[str, Any]


def ready_status(node: Object) -> str:
    """The Ready condition: `True`, `False` or `Unknown`; a node without one is Unknown."""
    condition = condition_of(node, "Ready")
    return condition.get("status", "Unknown") if condition is not None else "Unknown"


def plan_unknown(node: Object, now: datetime) -> dict[str, Any] | None:
    """The status of a node that fell silent; None when it says so already."""
    status = node.get("status") or {}
    stamp = format_time(now)
    conditions = list(status.get("conditions") or ())
    is_changed = False
    for condition_type in _WATCHED_CONDITIONS:
        known = next((c for c in conditions if c.get("type") == condition_type), None)
        unknown = {"type": condition_type, "status": "Unknown", "lastTransitionTime": stamp}
        if known is None:
            created = node["metadata"].get("creationTimestamp") or stamp
            unknown |= {
                "lastHeartbeatTime": created,
                "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
            }
            conditions.append(unknown)
            is_changed = True
        elif known.get("status") != "Unknown":
            unknown |= {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
            conditions[conditions.index(known)] = {**known, **unknown}
            is_changed = True
    return {**status, "conditions": conditions} if is_changed else None


def plan_old_labels(node: Object) -> dict[str, str]:
    """The labels of old names that a node lacks or has otherwise than those of present names."""
    labels = labels_of(node)
    return {
        old: labels[present]
        for present, old in _OLD_LABELS.items()
        if present in labels and labels.get(old) != labels[present]
    }


def no_execute_taint(node: Object) -> str:
    """The key of the NoExecute taint that follows from Ready; empty for a ready node."""
    return {"True": "", "False": NOT_READY}.get(ready_status(node), UNREACHABLE)


def plan_taints(node: Object, now: datetime, *, may_evict: bool, cancel_evictions: bool = False) -> list[Taint] | None:
    """`spec.taints` as conditions and cordon ask; None when nothing changes.

    `may_evict`: whether a node that has no NoExecute taint of ours may get one now. A taint that is
    already there is exchanged or removed at any time. Taints of others stay as they are.
    """
    present: list[Taint] = list((node.get("spec") or {}).get("taints") or ())
    stamp = format_time(now)
    no_schedule: set[str] = set()
    no_execute = no_execute_taint(node)
    if no_execute:
        no_schedule.add(no_execute)
    for condition_type, key in _PRESSURE_TAINTS.items():
        condition = condition_of(node, condition_type)
        if condition is not None and condition.get("status") == "True":
            no_schedule.add(key)
    if (node.get("spec") or {}).get("unschedulable"):
        no_schedule.add(UNSCHEDULABLE)
    had_no_execute = any(_is(t, _OUR_NO_EXECUTE, "NoExecute") for t in present)
    wants = {(key, "NoSchedule") for key in no_schedule}
    if no_execute and (may_evict or had_no_execute) and not cancel_evictions:
        wants.add((no_execute, "NoExecute"))
    kept: list[Taint] = []
    for taint in present:
        identity = (taint.get("key", ""), taint.get("effect", ""))
        ours = _is(taint, _OUR_NO_SCHEDULE, "NoSchedule") or _is(taint, _OUR_NO_EXECUTE, "NoExecute")
        if not ours or identity in wants:
            kept.append(taint)
            wants.discard(identity)
    for key, effect in sorted(wants, key=lambda pair: (pair[1] == "NoExecute", pair[0])):
        kept.append({"key": key, "effect": effect, "timeAdded": stamp})
    return kept if kept != present else None


def _is(taint: Taint, keys: frozenset[str], effect: str) -> bool:
    return taint.get("effect") == effect and taint.get("key") in keys


ZoneState = Literal["Normal", "PartialDisruption", "FullDisruption"]


def plan_zone_state(ready: int, not_ready: int) -> ZoneState:
    """How a zone stands (Kubernetes docs, "Nodes: Rate limits on eviction")."""
    if ready == 0 and not_ready > 0:
        return "FullDisruption"
    if not_ready > 2 and not_ready / (not_ready + ready) >= UNHEALTHY_ZONE_SHARE:
        return "PartialDisruption"
    return "Normal"


def eviction_rate(state: ZoneState, nodes: int, *, all_disrupted: bool) -> float:
    """How many nodes a second may be tainted NoExecute in a zone."""
    if all_disrupted:
        return 0.0
    if state == "PartialDisruption":
        return SECONDARY_EVICTIONS_PER_SECOND if nodes > LARGE_ZONE_NODES else 0.0
    return EVICTIONS_PER_SECOND


class Zone(Struct):
    """The nodes of a zone and when the next of them may be tainted."""

    nodes: dict[str, bool] = field(default_factory=dict)
    ready: int = 0
    next_eviction: float = 0.0

    @property
    def state(self) -> ZoneState:
        return plan_zone_state(self.ready, len(self.nodes) - self.ready)

    def put(self, node: str, is_ready: bool) -> None:
        """Count a node."""
        self.ready += is_ready - self.nodes.get(node, False)
        self.nodes[node] = is_ready

    def drop(self, node: str) -> None:
        """A node left."""
        self.ready -= self.nodes.pop(node, False)


def zone_of(node: Object) -> str:
    """Region and zone of a node, by its well-known labels."""
    labels = labels_of(node)
    return f"{labels.get('topology.kubernetes.io/region', '')}/{labels.get('topology.kubernetes.io/zone', '')}"


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
        self._zones: dict[str, Zone] = {}
        self._zone_by_node: dict[str, str] = {}
        self._disrupted_zones: set[str] = set()
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
        zone = self._zone_by_node.pop(name, None)
        if zone is not None:
            self._zones[zone].drop(name)
            if not self._zones[zone].nodes:
                del self._zones[zone]
            self._follow_zone(zone)
        message = f"Node {name} event: Removing Node {name} from Controller"
        self.recorder.event(node, "Normal", "RemovingNode", message)

    def _count(self, node: Object) -> None:
        name, zone = name_of(node), zone_of(node)
        known = self._zone_by_node.get(name)
        if known is not None and known != zone:
            self._zones[known].drop(name)
            if not self._zones[known].nodes:
                del self._zones[known]
            self._follow_zone(known)
        self._zone_by_node[name] = zone
        self._zones.setdefault(zone, Zone()).put(name, ready_status(node) == "True")
        self._follow_zone(zone)

    def _follow_zone(self, zone: str) -> None:
        """When the last zone is lost, or the first comes back, every node is looked at once."""
        was = self._is_all_disrupted()
        if zone in self._zones and self._zones[zone].state == "FullDisruption":
            self._disrupted_zones.add(zone)
        else:
            self._disrupted_zones.discard(zone)
        if was != self._is_all_disrupted():
            for name in self._seen:
                self.queue.add(name)

    def _is_all_disrupted(self) -> bool:
        return bool(self._disrupted_zones) and len(self._disrupted_zones) == len(self._zones)

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
        now, wait = self.clock.now(), None
        all_disrupted = self._is_all_disrupted()
        may_evict = False
        if no_execute_taint(node) and not _has_no_execute(node) and not all_disrupted:
            wait = self._eviction_wait(zone_of(node))
            may_evict = wait == 0
        taints = plan_taints(node, now, may_evict=may_evict, cancel_evictions=all_disrupted)
        if taints is not None:
            patch = {
                "metadata": {"resourceVersion": resource_version_of(node)},
                "spec": {"taints": taints or None},
            }
            await self.client.patch(NODES, name_of(node), patch)
            if may_evict:
                _EVICTIONS.labels(zone_of(node)).inc()
                zone = self._zones[zone_of(node)]
                rate = eviction_rate(zone.state, len(zone.nodes), all_disrupted=False)
                zone.next_eviction = self.clock.monotonic() + (1 / rate if rate else 0.0)
        return wait

    def _eviction_wait(self, zone_name: str) -> float | None:
        """Seconds until the zone allows one more eviction; None while it allows none."""
        zone = self._zones.get(zone_name)
        if zone is None:
            return None
        if eviction_rate(zone.state, len(zone.nodes), all_disrupted=False) == 0:
            # Asked again with the next change of a node; this is only the safety net.
            return self._grace_seconds
        return max(0.0, zone.next_eviction - self.clock.monotonic())

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


def _has_no_execute(node: Object) -> bool:
    taints: Sequence[Mapping[str, Any]] = (node.get("spec") or {}).get("taints") or ()
    return any(_is(dict(taint), _OUR_NO_EXECUTE, "NoExecute") for taint in taints)


def _posted(node: Object) -> list[Any]:
    """What changes when a kubelet posts its status, and not when we write conditions."""
    conditions = (node.get("status") or {}).get("conditions") or ()
    return [(c.get("type"), c.get("lastHeartbeatTime")) for c in conditions]
