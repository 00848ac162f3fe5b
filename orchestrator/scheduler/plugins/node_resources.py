"""NodeResourcesFit and NodeResourcesBalancedAllocation: room for a pod's requests, and how to fill it.

The first filters by what is left of a node's allocatable resources and scores by one of three
strategies; the second prefers nodes whose resources would be used evenly
(https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

from orchestrator.api.resources import NODES, PODS, Resource
from orchestrator.scheduler.fields import ConfigurationError, check_fields, check_range
from orchestrator.scheduler.framework import (
    MAX_NODE_SCORE,
    SKIP,
    Action,
    ClusterEvent,
    Cycle,
    Plugin,
    Reads,
    Skip,
    Verdict,
)
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.pod_info import CPU, EPHEMERAL_STORAGE, MEMORY, Amounts, PodInfo, amounts_of
from orchestrator.scheduler.pod_info import PODS as POD_COUNT

_FIXED_ORDER = {CPU: 0, MEMORY: 1, EPHEMERAL_STORAGE: 2}
DEFAULT_RESOURCES = ((CPU, 1), (MEMORY, 1))


def insufficient_resources(requests: Amounts, node: NodeInfo) -> list[tuple[str, bool]]:
    """Which resources a node lacks for these requests, and whether even an empty node would."""
    lacking: list[tuple[str, bool]] = []
    if len(node.pods) + 1 > node.pods_max:
        lacking.append((POD_COUNT, False))
    allocatable, requested = node.allocatable, node.requested
    for name, amount in requests.items():
        if amount and amount > (whole := allocatable.get(name, 0)) - requested.get(name, 0):
            lacking.append((name, amount > whole))
    return lacking


class NodeResourcesFit(Plugin):
    """Enough of everything that the pod requests must be left."""

    name: ClassVar[str] = "NodeResourcesFit"
    argument_fields: ClassVar[Mapping[str, type] | None] = {
        "ignoredResources": list,
        "ignoredResourceGroups": list,
        "scoringStrategy": dict,
    }
    reads = Reads.USAGE
    hints: ClassVar[Mapping[Resource, Action]] = {
        PODS: Action.DELETE | Action.UPDATE,
        NODES: Action.ADD | Action.UPDATE,
    }

    def __init__(self, arguments: Mapping[str, Any] | None = None) -> None:
        super().__init__(arguments)
        strategy = self.arguments.get("scoringStrategy") or {}
        check_fields(strategy, {"type": str, "resources": list, "requestedToCapacityRatio": dict}, "scoringStrategy")
        self._resources = _weighted(strategy.get("resources"))
        self._ignored = frozenset(self.arguments.get("ignoredResources") or ())
        self._ignored_groups = frozenset(self.arguments.get("ignoredResourceGroups") or ())
        kind = strategy.get("type") or "LeastAllocated"
        self._scorer: Callable[[int, int], int]
        if kind == "LeastAllocated":
            self._scorer = _least
        elif kind == "MostAllocated":
            self._scorer = _most
        elif kind == "RequestedToCapacityRatio":
            ratio = strategy.get("requestedToCapacityRatio") or {}
            check_fields(ratio, {"shape": list}, "scoringStrategy.requestedToCapacityRatio")
            shape = ratio.get("shape") or ()
            self._scorer = ratio_scorer(shape)
        else:
            raise ValueError(f"scoringStrategy.type: Unsupported value: {kind!r}")
        self._is_ratio = kind == "RequestedToCapacityRatio"
        self._is_default = kind == "LeastAllocated" and self._resources == DEFAULT_RESOURCES

    def sign(self, cycle: Cycle) -> Hashable:
        pod = cycle.pod
        return (tuple(pod.requests.items()), pod.nonzero_cpu, pod.nonzero_memory)

    def pre_filter(self, cycle: Cycle) -> None:
        requests = cycle.pod.requests
        if self._ignored or self._ignored_groups:
            requests = {name: amount for name, amount in requests.items() if not self._is_ignored(name)}
        cycle.notes[self.name] = requests

    def _is_ignored(self, resource: str) -> bool:
        group, slash, _ = resource.partition("/")
        return bool(slash) and (resource in self._ignored or group in self._ignored_groups)

    def filter(self, cycle: Cycle, node: NodeInfo) -> Verdict | None:
        requests: Amounts = cycle.notes[self.name]
        if len(node.pods) < node.pods_max:
            allocatable, requested = node.allocatable, node.requested
            for name, amount in requests.items():
                if amount and amount > allocatable.get(name, 0) - requested.get(name, 0):
                    break
            else:
                return None
        lacking = insufficient_resources(requests, node)
        lacking.sort(key=lambda item: -1 if item[0] == POD_COUNT else _FIXED_ORDER.get(item[0], 3))
        return Verdict(
            self.name,
            tuple("Too many pods" if name == POD_COUNT else f"Insufficient {name}" for name, _ in lacking),
            resolvable=not any(hopeless for _, hopeless in lacking),
        )

    def score(self, cycle: Cycle, node: NodeInfo) -> int:
        pod = cycle.pod
        allocatable = node.allocatable
        if self._is_default:  # the same arithmetic as below, unrolled: this is the inner loop
            total = weights = 0
            capacity = allocatable.get(CPU, 0)
            if capacity:
                weights = 1
                requested = node.nonzero_cpu + pod.nonzero_cpu
                if requested < capacity:
                    total = (capacity - requested) * MAX_NODE_SCORE // capacity
            capacity = allocatable.get(MEMORY, 0)
            if capacity:
                weights += 1
                requested = node.nonzero_memory + pod.nonzero_memory
                if requested < capacity:
                    total += (capacity - requested) * MAX_NODE_SCORE // capacity
            return total // weights if weights else 0
        total = weights = 0
        for name, weight in self._resources:
            capacity = allocatable.get(name, 0)
            if not capacity:
                continue
            if name == CPU:
                requested = node.nonzero_cpu + pod.nonzero_cpu
            elif name == MEMORY:
                requested = node.nonzero_memory + pod.nonzero_memory
            else:
                own = pod.requests.get(name, 0)
                if not own and "/" in name:
                    continue  # an extended resource that the pod does not want says nothing about it
                requested = node.requested.get(name, 0) + own
            points = self._scorer(requested, capacity)
            if self._is_ratio and points <= 0:
                continue
            total += points * weight
            weights += weight
        if not weights:
            return 0
        return _round_half_up(total, weights) if self._is_ratio else total // weights

    def may_help(self, pod: PodInfo, event: ClusterEvent) -> bool:
        if event.resource is PODS:
            gone = event.old_pod
            if gone is None or not gone.node_name:
                # The pod itself was resized to need less.
                return event.new_pod is not None and event.new_pod.uid == pod.uid
            if event.action is Action.DELETE:
                return True  # at least a pod slot
            now = event.new_pod
            return now is not None and any(
                amount > now.requests.get(name, 0) and pod.requests.get(name) for name, amount in gone.requests.items()
            )
        node = event.new or {}
        allocatable = amounts_of((node.get("status") or {}).get("allocatable"))
        if any(amount > allocatable.get(name, 0) for name, amount in pod.requests.items() if amount):
            return False
        if event.old is None:
            return True
        before = amounts_of((event.old.get("status") or {}).get("allocatable"))
        return any(amount > before.get(name, 0) for name, amount in allocatable.items())


class NodeResourcesBalancedAllocation(Plugin):
    """Prefers nodes whose CPU and memory would be used to the same fraction."""

    name: ClassVar[str] = "NodeResourcesBalancedAllocation"
    argument_fields: ClassVar[Mapping[str, type] | None] = {"resources": list}
    reads = Reads.USAGE

    def __init__(self, arguments: Mapping[str, Any] | None = None) -> None:
        super().__init__(arguments)
        self._resources = tuple(name for name, _ in _weighted(self.arguments.get("resources")))
        self._is_default = self._resources == (CPU, MEMORY)

    def sign(self, cycle: Cycle) -> Hashable:
        return tuple(cycle.pod.requests.items())

    def pre_score(self, cycle: Cycle, nodes: Sequence[NodeInfo]) -> Skip | None:
        requests = cycle.pod.requests
        return None if any(requests.get(name) for name in self._resources) else SKIP

    def score(self, cycle: Cycle, node: NodeInfo) -> int:
        requests, allocatable, requested = cycle.pod.requests, node.allocatable, node.requested
        if self._is_default:
            cpu, memory = allocatable.get(CPU, 0), allocatable.get(MEMORY, 0)
            if not cpu or not memory:
                return MAX_NODE_SCORE
            first = min(1.0, (requested[CPU] + requests.get(CPU, 0)) / cpu)
            second = min(1.0, (requested[MEMORY] + requests.get(MEMORY, 0)) / memory)
            return int((1 - abs((first - second) / 2)) * MAX_NODE_SCORE)
        fractions = [
            min(1.0, (requested.get(name, 0) + requests.get(name, 0)) / capacity)
            for name in self._resources
            if (capacity := allocatable.get(name, 0)) and ("/" not in name or requests.get(name))
        ]
        deviation = 0.0
        if len(fractions) == 2:
            deviation = abs((fractions[0] - fractions[1]) / 2)
        elif len(fractions) > 2:
            mean = sum(fractions) / len(fractions)
            deviation = math.sqrt(sum((fraction - mean) ** 2 for fraction in fractions) / len(fractions))
        return int((1 - deviation) * MAX_NODE_SCORE)


def _weighted(resources: Sequence[Mapping[str, Any]] | None) -> tuple[tuple[str, int], ...]:
    if not resources:
        return DEFAULT_RESOURCES
    found: list[tuple[str, int]] = []
    for position, resource in enumerate(resources):
        where = f"resources[{position}]"
        check_fields(resource, {"name": str, "weight": int}, where)
        if not resource.get("name"):
            raise ConfigurationError(f"{where}.name: Required value")
        found.append((resource["name"], check_range(resource.get("weight") or 1, 1, 100, f"{where}.weight")))
    return tuple(found)


def _least(requested: int, capacity: int) -> int:
    return (capacity - requested) * MAX_NODE_SCORE // capacity if requested <= capacity else 0


def _most(requested: int, capacity: int) -> int:
    return min(requested, capacity) * MAX_NODE_SCORE // capacity


def _round_half_up(total: int, weights: int) -> int:
    return math.floor(total / weights + 0.5)


def ratio_scorer(shape: Sequence[Mapping[str, int]]) -> Callable[[int, int], int]:
    """Points for a utilisation from a shape of (utilization 0..100, score 0..10), linear in between."""
    if not shape:
        raise ValueError("requestedToCapacityRatio.shape: Required value: at least one point must be specified")
    points: list[tuple[int, int]] = []
    for position, point in enumerate(shape):
        where = f"requestedToCapacityRatio.shape[{position}]"
        check_fields(point, {"utilization": int, "score": int}, where)
        utilization = check_range(point.get("utilization") or 0, 0, 100, f"{where}.utilization")
        score_of_ten = check_range(point.get("score") or 0, 0, 10, f"{where}.score")
        points.append((utilization, score_of_ten * MAX_NODE_SCORE // 10))
    if any(left[0] >= right[0] for left, right in pairwise(points)):
        raise ValueError("requestedToCapacityRatio.shape: utilization values must be sorted in increasing order")

    def score(requested: int, capacity: int) -> int:
        used = 100 if not capacity or requested > capacity else requested * 100 // capacity
        for position, (utilization, points_here) in enumerate(points):
            if used <= utilization:
                if position == 0:
                    return points_here
                before, points_before = points[position - 1]
                # towards zero, as Go divides
                return points_before + int((points_here - points_before) * (used - before) / (utilization - before))
        return points[-1][1]

    return score
