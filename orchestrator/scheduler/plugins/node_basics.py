"""NodeName, NodeUnschedulable and NodePorts: the named node, cordoned nodes, free host ports."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import ClassVar

from orchestrator.api.resources import NODES, PODS, Resource
from orchestrator.scheduler.framework import SKIP, Action, ClusterEvent, Cycle, Plugin, Reads, Skip, Verdict
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.plugins.taint_toleration import tolerates
from orchestrator.scheduler.pod_info import PodInfo

UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


class NodeName(Plugin):
    """A pod that names its node may only run there."""

    name: ClassVar[str] = "NodeName"
    argument_fields: ClassVar[Mapping[str, type] | None] = {}
    reads = Reads.NODE
    hints: ClassVar[Mapping[Resource, Action]] = {NODES: Action.ADD}
    _refusal = Verdict("NodeName", ("node(s) didn't match the requested node name",), resolvable=False)

    def sign(self, cycle: Cycle) -> Hashable:
        return cycle.pod.node_name

    def filter(self, cycle: Cycle, node: NodeInfo) -> Verdict | None:
        wanted = cycle.pod.node_name
        return self._refusal if wanted and wanted != node.name else None


class NodeUnschedulable(Plugin):
    """A cordoned node takes only pods that tolerate its taint."""

    name: ClassVar[str] = "NodeUnschedulable"
    argument_fields: ClassVar[Mapping[str, type] | None] = {}
    reads = Reads.NODE
    hints: ClassVar[Mapping[Resource, Action]] = {NODES: Action.ADD | Action.UPDATE}
    _refusal = Verdict("NodeUnschedulable", ("node(s) were unschedulable",), resolvable=False)

    def sign(self, cycle: Cycle) -> Hashable:
        return tolerates(cycle.pod, UNSCHEDULABLE_TAINT)

    def filter(self, cycle: Cycle, node: NodeInfo) -> Verdict | None:
        if node.unschedulable and not tolerates(cycle.pod, UNSCHEDULABLE_TAINT):
            return self._refusal
        return None

    def may_help(self, pod: PodInfo, event: ClusterEvent) -> bool:
        return event.new is not None and not (event.new.get("spec") or {}).get("unschedulable")


class NodePorts(Plugin):
    """Two pods cannot have the same host port of one node."""

    name: ClassVar[str] = "NodePorts"
    argument_fields: ClassVar[Mapping[str, type] | None] = {}
    reads = Reads.USAGE
    hints: ClassVar[Mapping[Resource, Action]] = {PODS: Action.DELETE, NODES: Action.ADD}
    _refusal = Verdict("NodePorts", ("node(s) didn't have free ports for the requested pod ports",))

    def sign(self, cycle: Cycle) -> Hashable:
        return cycle.pod.ports

    def pre_filter(self, cycle: Cycle) -> Skip | None:
        return None if cycle.pod.ports else SKIP

    def filter(self, cycle: Cycle, node: NodeInfo) -> Verdict | None:
        if node.used_ports and any(node.has_port_conflict(port) for port in cycle.pod.ports):
            return self._refusal
        return None

    def may_help(self, pod: PodInfo, event: ClusterEvent) -> bool:
        if event.resource is not PODS:
            return True
        gone = event.old_pod
        return gone is not None and any(
            mine[1:] == theirs[1:] for mine in pod.ports for theirs in gone.ports
        )  # an address may still differ; one attempt too many is cheap
