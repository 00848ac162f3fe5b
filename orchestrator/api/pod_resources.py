"""What a pod asks for as a whole: requests and limits of its containers, summed as Kubernetes sums them.

Pure. Containers run together, init containers one after the other before them, restartable ones (sidecars)
beside all that comes later (KEP-753); resources of the pod itself count instead of the sum (KEP-2837); overhead
is on top. Mirrors k8s.io/component-helpers/resource.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.api.quantity import Quantity, parse_quantity

Amounts = dict[str, Quantity]
POD_LEVEL_RESOURCES = ("cpu", "memory")


def amounts_of(resources: Mapping[str, Any] | None) -> Amounts:
    """A map of the API as quantities."""
    return {name: parse_quantity(text) for name, text in (resources or {}).items()}


def pod_amounts(spec: Mapping[str, Any], part: str) -> Amounts:
    """`requests` or `limits` (`part`) of a whole pod."""
    total = container_amounts(spec, part)
    for name, amount in amounts_of((spec.get("resources") or {}).get(part)).items():
        if is_of_pods(name):
            total[name] = amount
    for name, amount in amounts_of(spec.get("overhead")).items():
        # Without a limit there is none, whatever the overhead.
        if part == "requests" or name in total:
            total[name] = total[name] + amount if name in total else amount
    return total


def is_of_pods(name: str) -> bool:
    """Whether a pod as a whole can have this resource."""
    return name in POD_LEVEL_RESOURCES or name.startswith("hugepages-")


def container_amounts(spec: Mapping[str, Any], part: str) -> Amounts:
    """`requests` or `limits` (`part`) of a pod's containers together, at the moment when they are largest."""
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, _of(container, part))
    sidecars: Amounts = {}
    starting: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = _of(container, part)
        if container.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
            at_once = dict(sidecars)
        else:
            at_once = dict(sidecars)
            _add(at_once, own)
        _maximize(starting, at_once)
    _maximize(total, starting)
    return total


def _of(container: Mapping[str, Any], part: str) -> Amounts:
    return amounts_of((container.get("resources") or {}).get(part))


def _add(total: Amounts, more: Amounts) -> None:
    for name, amount in more.items():
        total[name] = total[name] + amount if name in total else amount


def _maximize(total: Amounts, other: Amounts) -> None:
    for name, amount in other.items():
        if name not in total or amount > total[name]:
            total[name] = amount
