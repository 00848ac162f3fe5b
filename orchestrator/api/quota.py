"""What an object uses of a ResourceQuota, and which quotas count it; pure.

Shared by admission, which reserves, and by the controller, which settles. Source: "Resource Quotas",
kubernetes.io. Mirrors the quota evaluators of k8s.io/kubernetes/pkg/quota/v1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchestrator.api.kinds.core.quality_of_service import qos_class
from orchestrator.api.objects import Object, annotations_of
from orchestrator.api.pod_resources import Amounts, amounts_of, is_of_pods, pod_amounts
from orchestrator.api.quantity import Quantity, parse_quantity

ONE = parse_quantity(1)
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_REQUIRED = frozenset(("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"))
_LEGACY_COUNTS = frozenset(("configmaps", "secrets", "resourcequotas", "replicationcontrollers", "services"))
_CLASS_SUFFIX = ".storageclass.storage.k8s.io/"
_CLAIMS_OF_DEVICES = "resourceclaims.resource.k8s.io"
_DEVICES_SUFFIX = ".deviceclass.resource.k8s.io/devices"
_DEVICES_OF_A_CLAIM_MAX = 32
_OLD_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def usage(group_resource: str, obj: Object) -> Amounts:
    """Everything that an object uses, by the names that stand under a quota's `hard`."""
    used = {f"count/{group_resource}": ONE}
    if group_resource in _LEGACY_COUNTS:
        used[group_resource] = ONE
    evaluate = _EVALUATORS.get(group_resource)
    if evaluate is not None:
        used.update(evaluate(obj))
    return used


def may_use(group_resource: str, names: Iterable[str]) -> bool:
    """Whether objects of a resource can use anything of these names at all."""
    return any(_is_of(group_resource, name) for name in names)


def _is_of(group_resource: str, name: str) -> bool:
    if name == f"count/{group_resource}" or (name == group_resource and group_resource in _LEGACY_COUNTS):
        return True
    if group_resource == "pods":
        return name in ("pods", *_COMPUTE) or (name.startswith(("requests.", "limits.", "hugepages-")) and not (
            name == "requests.storage" or _CLASS_SUFFIX in name
        ))  # fmt: skip
    if group_resource == "services":
        return name in ("services.nodeports", "services.loadbalancers")
    if group_resource == "persistentvolumeclaims":
        return name in ("persistentvolumeclaims", "requests.storage") or _CLASS_SUFFIX in name
    return group_resource == _CLAIMS_OF_DEVICES and name.endswith(_DEVICES_SUFFIX)


def _pod_usage(pod: Object) -> Amounts:
    if has_ended(pod):
        return {}
    used: Amounts = {"pods": ONE}
    spec = pod["spec"]
    for name, amount in pod_amounts(spec, "requests").items():
        used[f"requests.{name}"] = amount
        if name in _COMPUTE or name.startswith("hugepages-"):
            used[name] = amount
    for name, amount in pod_amounts(spec, "limits").items():
        if name in _COMPUTE:
            used[f"limits.{name}"] = amount
    return used


def has_ended(pod: Object) -> bool:
    """Whether a pod uses nothing any more but its name."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _service_usage(service: Object) -> Amounts:
    spec = service.get("spec") or {}
    ports, type_ = spec.get("ports") or [], spec.get("type") or "ClusterIP"
    node_ports = 0
    if type_ == "NodePort" or (type_ == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False):
        node_ports = len(ports)
    elif type_ == "LoadBalancer":
        node_ports = sum(1 for port in ports if port.get("nodePort"))
    return {
        "services.nodeports": parse_quantity(node_ports),
        "services.loadbalancers": parse_quantity(int(type_ == "LoadBalancer")),
    }


def _claim_usage(claim: Object) -> Amounts:
    spec = claim.get("spec") or {}
    used: Amounts = {"persistentvolumeclaims": ONE}
    class_name = annotations_of(claim).get(_OLD_CLASS_ANNOTATION) or spec.get("storageClassName") or ""
    if class_name:
        used[f"{class_name}{_CLASS_SUFFIX}persistentvolumeclaims"] = ONE
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is not None:
        used["requests.storage"] = parse_quantity(storage)
        if class_name:
            used[f"{class_name}{_CLASS_SUFFIX}requests.storage"] = parse_quantity(storage)
    return used


def _device_usage(claim: Object) -> Amounts:
    """Devices of each class, at most: how many `All` will be is not known before."""
    used: dict[str, int] = {}
    for request in ((claim.get("spec") or {}).get("devices") or {}).get("requests") or ():
        most: dict[str, int] = {}
        for one in request.get("firstAvailable") or [request.get("exactly") or {}]:
            name, number = one.get("deviceClassName") or "", 0
            if one.get("allocationMode") == "ExactCount":
                number = one.get("count") or 0
            elif one.get("allocationMode") == "All":
                number = _DEVICES_OF_A_CLAIM_MAX
            most[name] = max(most.get(name, 0), number)
        for name, number in most.items():
            used[name] = used.get(name, 0) + number
    return {f"{name}{_DEVICES_SUFFIX}": parse_quantity(number) for name, number in used.items() if name}


_EVALUATORS: Mapping[str, Callable[[Object], Amounts]] = {
    "pods": _pod_usage,
    "services": _service_usage,
    "persistentvolumeclaims": _claim_usage,
    _CLAIMS_OF_DEVICES: _device_usage,
}


# What a quota counts.


def matches_scopes(quota: Object, group_resource: str, obj: Object) -> bool:
    """Whether an object is inside all scopes of a quota; only pods and claims have any."""
    spec = quota.get("spec") or {}
    requirements = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    requirements += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    if not requirements:
        return True
    if group_resource == "pods":
        return all(_pod_in_scope(obj, requirement) for requirement in requirements)
    if group_resource == "persistentvolumeclaims":
        return all(_claim_in_scope(obj, requirement) for requirement in requirements)
    return False


def has_deadline(pod: Object) -> bool:
    """Whether a pod is in the scope Terminating, and not in NotTerminating."""
    return pod["spec"].get("activeDeadlineSeconds") is not None


def _pod_in_scope(pod: Object, requirement: Mapping[str, Any]) -> bool:
    spec, scope = pod["spec"], requirement.get("scopeName")
    if scope in ("Terminating", "NotTerminating"):
        return bool(has_deadline(pod) == (scope == "Terminating"))
    if scope in ("BestEffort", "NotBestEffort"):
        return bool((qos_class(spec) == "BestEffort") == (scope == "BestEffort"))
    if scope == "PriorityClass":
        return _selects(requirement, spec.get("priorityClassName") or "")
    if scope == "CrossNamespacePodAffinity":
        return _uses_other_namespaces(spec)
    return False


def _claim_in_scope(claim: Object, requirement: Mapping[str, Any]) -> bool:
    if requirement.get("scopeName") != "VolumeAttributesClass":
        return False
    return _selects(requirement, (claim.get("spec") or {}).get("volumeAttributesClassName") or "")


def _selects(requirement: Mapping[str, Any], value: str) -> bool:
    operator, values = requirement.get("operator"), requirement.get("values") or ()
    if operator == "Exists":
        return bool(value)
    if operator == "DoesNotExist":
        return not value
    if operator == "In":
        return value in values
    return operator == "NotIn" and value not in values


def _uses_other_namespaces(spec: Mapping[str, Any]) -> bool:
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind) or {}
        required = terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        preferred = [
            one.get("podAffinityTerm") or {}
            for one in terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        ]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in (*required, *preferred)):
            return True
    return False


def missing_specifications(pod: Object, names: Iterable[str]) -> str:
    """Which of the limited resources which containers do not mention; empty when nothing is missing.

    A quota on cpu or memory demands that every container says how much of it, because what is not said
    cannot be counted. Where the pod says something as a whole, its containers need not.
    """
    wanted = sorted(_REQUIRED.intersection(names))
    if not wanted:
        return ""
    spec = pod["spec"]
    whole = spec.get("resources") or {}
    if any(is_of_pods(name) for part in ("requests", "limits") for name in whole.get(part) or ()):
        return ""
    missing: list[str] = []
    for name in wanted:
        part, _, resource = name.rpartition(".")
        part = part or "requests"
        without = {
            container["name"]
            for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
            if resource not in ((container.get("resources") or {}).get(part) or {})
        }
        if without:
            missing.append(f"{name} for: {','.join(sorted(without))}")
    return "; ".join(missing)


def hard_limits(quota: Object) -> Amounts:
    """The limits that are in force: those that the controller has acknowledged in the status."""
    return amounts_of((quota.get("status") or {}).get("hard"))


def used_amounts(quota: Object) -> Amounts:
    """What is in use, as the status has it."""
    return amounts_of((quota.get("status") or {}).get("used"))


def shown(amounts: Mapping[str, Quantity]) -> str:
    """`cpu=1,pods=2`, by name."""
    return ",".join(f"{name}={amounts[name]}" for name in sorted(amounts))
