"""The quality of service class of a pod, from what its containers ask for and may have at most.

Mirrors k8s.io/kubernetes/pkg/apis/core/v1/helper/qos (Kubernetes docs, "Pod Quality of Service Classes").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.api.quantity import QuantityError, parse_quantity


def qos_class(spec: Mapping[str, Any]) -> str:
    """`Guaranteed`, `Burstable` or `BestEffort`, from CPU and memory of all containers (or of the pod)."""
    holders = [spec] if _is_pod_level(spec) else [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    requests: dict[str, int] = {}
    limits: dict[str, int] = {}
    guaranteed = True
    for holder in holders:
        resources = holder.get("resources")
        for name, amount in _amounts(resources, "requests").items():
            requests[name] = requests.get(name, 0) + amount
        found = _amounts(resources, "limits")
        for name, amount in found.items():
            limits[name] = limits.get(name, 0) + amount
        if len(found) != 2:
            guaranteed = False
    if not requests and not limits:
        return "BestEffort"
    if guaranteed and requests == limits:
        return "Guaranteed"
    return "Burstable"


def _is_pod_level(spec: Mapping[str, Any]) -> bool:
    resources = spec.get("resources") or {}
    return bool(_amounts(resources, "requests") or _amounts(resources, "limits"))


def _amounts(resources: Mapping[str, Any] | None, key: str) -> dict[str, int]:
    found = {}
    for name, text in ((resources or {}).get(key) or {}).items():
        if name in ("cpu", "memory"):
            try:
                nanos = parse_quantity(text).nanos
            except QuantityError:
                continue
            if nanos > 0:
                found[name] = nanos
    return found
