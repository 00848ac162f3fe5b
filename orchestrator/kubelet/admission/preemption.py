"""Which pods of a node make room for a critical one that was bound to it although it does not fit. Pure functions.

Mirrors pkg/kubelet/preemption: as few and as small pods as possible, BestEffort ones before Burstable ones before
Guaranteed ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from orchestrator.api.objects import Object
from orchestrator.kubelet.node.plan import PODS_MAX
from orchestrator.kubelet.pod import is_critical, priority_of, qos_class_of
from orchestrator.kubelet.resources.pod_resources import Amounts, add_amounts, amount_of

REASON = "Preempting"
MESSAGE = "Preempted in order to admit critical pod"
_CLASSES = ("BestEffort", "Burstable", "Guaranteed")


class Occupant(Struct, frozen=True):
    """A pod that holds some of the node's resources."""

    pod: Object
    requests: Mapping[str, int]


def plan_preemption(
    pod: Object, requests: Mapping[str, int], occupants: Sequence[Occupant], allocatable: Mapping[str, str]
) -> list[Occupant]:
    """The pods to end for a critical one; empty when it is not critical, or when even all of them would not do."""
    if not is_critical(pod):
        return []
    missing = _missing(requests, occupants, allocatable)
    preemptable = [one for one in occupants if _gives_way(one.pod, pod)]
    by_class = {name: [one for one in preemptable if qos_class_of(one.pod) == name] for name in _CLASSES}
    if _without(missing, preemptable):
        return []
    # What the better classes must give even if the worse ones gave everything, then less and less.
    chosen: list[Occupant] = []
    for position in reversed(range(len(_CLASSES))):
        worse = [one for name in _CLASSES[:position] for one in by_class[name]]
        chosen += _nearest(by_class[_CLASSES[position]], _without(missing, [*worse, *chosen]))
    return chosen


def _gives_way(pod: Object, critical: Object) -> bool:
    if not is_critical(pod):
        return True
    return priority_of(pod) < priority_of(critical)


def _missing(
    requests: Mapping[str, int], occupants: Sequence[Occupant], allocatable: Mapping[str, str]
) -> dict[str, int]:
    """What the node lacks for the pod, by resource; `pods` among them."""
    used: Amounts = {"pods": len(occupants) + 1}
    for one in occupants:
        add_amounts(used, one.requests)
    add_amounts(used, requests)
    asked = {name for name, amount in requests.items() if amount} | {"pods"}
    capacity = {name: amount_of(name, amount) for name, amount in allocatable.items()}
    capacity.setdefault("pods", PODS_MAX)
    return {name: used[name] - capacity[name] for name in asked & capacity.keys() if used[name] > capacity[name]}


def _without(missing: Mapping[str, int], freed: Iterable[Occupant]) -> dict[str, int]:
    """What is still missing once these pods are gone."""
    rest = dict(missing)
    for one in freed:
        for name in [*rest]:
            rest[name] -= 1 if name == "pods" else one.requests.get(name, 0)
            if rest[name] <= 0:
                del rest[name]
    return rest


def _nearest(pods: Sequence[Occupant], missing: Mapping[str, int]) -> list[Occupant]:
    """Pods that together give what is missing, each time the one that comes closest; the smaller one of two alike."""
    left, chosen = [*pods], []
    rest = dict(missing)
    while rest and left:
        best = min(
            left, key=lambda one: (_distance(one, rest), one.requests.get("memory", 0), one.requests.get("cpu", 0))
        )
        left.remove(best)
        chosen.append(best)
        rest = _without(rest, [best])
    return chosen


def _distance(one: Occupant, missing: Mapping[str, int]) -> float:
    """How much of what is missing the pod would leave missing, from 0 (nothing) to the number of resources (all)."""
    total = 0.0
    for name, amount in missing.items():
        given = 1 if name == "pods" else one.requests.get(name, 0)
        total += (max(0, amount - given) / amount) ** 2
    return total
