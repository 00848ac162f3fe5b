"""What a pod asks for and may use in all: its containers' resources added up, its own where it has any.

Pure functions. CPU counts in thousandths, everything else in whole units. Mirrors
k8s.io/component-helpers/resource.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.api.objects import Object
from orchestrator.api.quantity import int_value, milli_value
from orchestrator.kubelet.pod import app_containers_of, init_containers_of, is_sidecar, requests_of, spec_of

Amounts = dict[str, int]


def amount_of(name: str, amount: str) -> int:
    """CPU in thousandths, everything else in whole units."""
    return milli_value(amount) if name == "cpu" else int_value(amount)


def pod_requests(pod: Object) -> Amounts:
    """What a pod asks for in all (docs, "Init containers"; KEP-2837 for requests of the pod itself)."""
    total = _aggregate(pod, requests_of)
    total.update(_amounts(_own(pod, "requests")))
    add_amounts(total, _amounts(spec_of(pod).get("overhead") or {}))
    return total


def pod_limits(pod: Object) -> Amounts:
    """What a pod may use in all of CPU and memory; a resource that one of its containers has no limit for is missing.

    A limit of the pod itself stands for all of its containers (KEP-2837).
    """
    total = _aggregate(pod, limits_of)
    containers = [*app_containers_of(pod), *init_containers_of(pod)]
    bounded = {name for name in ("cpu", "memory") if all(_has_limit(container, name) for container in containers)}
    own = _amounts(_own(pod, "limits"))
    total = {name: amount for name, amount in {**total, **own}.items() if name in bounded or own.get(name)}
    overhead = _amounts(spec_of(pod).get("overhead") or {})
    add_amounts(total, {name: amount for name, amount in overhead.items() if name in total})
    return {name: total[name] for name in ("cpu", "memory") if total.get(name)}


def limits_of(container: Object) -> Mapping[str, Any]:
    """`resources.limits`, never None."""
    return (container.get("resources") or {}).get("limits") or {}


def remaining_request_per_container(pod: Object, name: str) -> int:
    """What a pod's own request has beyond those of its containers, shared equally among them (KEP-2837)."""
    own = _own(pod, "requests").get(name)
    if not own:
        return 0
    containers = [*app_containers_of(pod), *(c for c in init_containers_of(pod) if is_sidecar(c))]
    asked = sum(amount_of(name, requests_of(container).get(name) or "0") for container in containers)
    return max(0, amount_of(name, own) - asked) // max(1, len(containers))


def add_amounts(total: Amounts, more: Mapping[str, int]) -> None:
    """Add in place."""
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _aggregate(pod: Object, of_container: Callable[[Object], Mapping[str, Any]]) -> Amounts:
    """The running containers together, or the most that there is while the init containers run."""
    total: Amounts = {}
    for container in app_containers_of(pod):
        add_amounts(total, _amounts(of_container(container)))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for together in _while_starting(pod, of_container, sidecars):
        _raise_to(peak, together)
    add_amounts(total, sidecars)
    _raise_to(total, peak)
    return total


def _while_starting(
    pod: Object, of_container: Callable[[Object], Mapping[str, Any]], sidecars: Amounts
) -> Iterator[Amounts]:
    """What there is with each init container: itself and the `sidecars` before it, which this adds up."""
    for container in init_containers_of(pod):
        own = _amounts(of_container(container))
        if is_sidecar(container):
            add_amounts(sidecars, own)
            yield sidecars
        else:
            together = dict(sidecars)
            add_amounts(together, own)
            yield together


def _own(pod: Object, section: str) -> Mapping[str, Any]:
    return (spec_of(pod).get("resources") or {}).get(section) or {}


def _has_limit(container: Object, name: str) -> bool:
    return bool(amount_of(name, limits_of(container).get(name) or "0"))


def _amounts(quantities: Mapping[str, Any]) -> Amounts:
    return {name: amount_of(name, amount) for name, amount in quantities.items()}


def _raise_to(total: Amounts, least: Mapping[str, int]) -> None:
    for name, amount in least.items():
        total[name] = max(total.get(name, 0), amount)
