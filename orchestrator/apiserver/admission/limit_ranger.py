"""LimitRanger: default requests and limits of containers, and the bounds for containers, pods and claims.

Source: "Limit Ranges", kubernetes.io. Mirrors kube-apiserver's LimitRanger plugin: defaults on create, bounds on
create, on resize, and for claims on update.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.api.pod_resources import Amounts, amounts_of, pod_amounts
from orchestrator.api.quantity import DECIMAL_SI, Quantity, parse_quantity
from orchestrator.api.resources import LIMIT_RANGES
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes
from orchestrator.store import Event, EventType, Record, Store

ANNOTATION = "kubernetes.io/limit-ranger"


class LimitRanger(AdmissionPlugin):
    """Runs for pods and claims in namespaces that have a LimitRange."""

    name = "LimitRanger"
    resources = frozenset(("pods", "persistentvolumeclaims"))

    def __init__(self, store: Store) -> None:
        self._ranges: dict[str, dict[str, Record]] = {}
        """namespace → name → LimitRange"""
        store.observe(LIMIT_RANGES.group_resource, self._on_range)

    def _on_range(self, event: Event) -> None:
        _, namespace, name = event.record.key
        if event.type is EventType.DELETED:
            ranges = self._ranges.get(namespace, {})
            ranges.pop(name, None)
            if not ranges:
                self._ranges.pop(namespace, None)
        else:
            self._ranges.setdefault(namespace, {})[name] = event.record

    def handles(self, attributes: Attributes) -> bool:
        if attributes.namespace not in self._ranges:
            return False
        if attributes.old is not None and attributes.old["metadata"].get("deletionTimestamp"):
            # Whatever is being deleted may still lose its finalizers.
            return False
        if attributes.group_resource == "pods":
            if attributes.operation == "CREATE":
                return not attributes.subresource
            return attributes.operation == "UPDATE" and attributes.subresource == "resize"
        return (
            attributes.group_resource == "persistentvolumeclaims"
            and not attributes.subresource
            and attributes.operation in ("CREATE", "UPDATE")
        )

    async def admit(self, attributes: Attributes) -> None:
        if attributes.group_resource == "pods" and attributes.operation == "CREATE":
            for limits in self._limits(attributes.namespace):
                fill_defaults(attributes.obj, limits)

    async def validate(self, attributes: Attributes) -> None:
        violations = pod_violations if attributes.group_resource == "pods" else claim_violations
        for limits in self._limits(attributes.namespace):
            found = violations(attributes.obj, limits)
            if found:
                resource = attributes.kind.resource
                why = found[0] if len(found) == 1 else "[" + ", ".join(found) + "]"
                raise errors.forbidden(resource.group, resource.plural, attributes.name, why)

    def _limits(self, namespace: str) -> Iterator[list[Mapping[str, Any]]]:
        for _, record in sorted(self._ranges.get(namespace, {}).items()):
            yield (record.obj.get("spec") or {}).get("limits") or []


def fill_defaults(pod: Object, limits: list[Mapping[str, Any]]) -> None:
    """Give containers the defaults for what they do not mention, and note it in an annotation; in place."""
    requests: dict[str, str] = {}
    maximums: dict[str, str] = {}
    for limit in limits:
        if limit.get("type") == "Container":
            requests.update(limit.get("defaultRequest") or {})
            maximums.update(limit.get("default") or {})
    notes: list[str] = []
    spec = pod["spec"]
    for field, what in (("containers", "container"), ("initContainers", "init container")):
        for container in spec.get(field) or ():
            for part, defaults in (("requests", requests), ("limits", maximums)):
                resources = container.get("resources") or {}
                given = resources.get(part) or {}
                missing = sorted(defaults.keys() - given.keys())
                if missing:
                    filled = {**given, **{name: defaults[name] for name in missing}}
                    container["resources"] = {**resources, part: filled}
                    notes.append(f"{', '.join(missing)} {part.removesuffix('s')} for {what} {container['name']}")
    if notes:
        annotations = dict(pod["metadata"].get("annotations") or {})
        annotations[ANNOTATION] = "LimitRanger plugin set: " + "; ".join(notes)
        pod["metadata"]["annotations"] = annotations


def pod_violations(pod: Object, limits: list[Mapping[str, Any]]) -> list[str]:
    """Every bound that a pod or one of its containers does not keep, limit by limit."""
    spec = pod["spec"]
    found: list[str] = []
    for limit in limits:
        if limit.get("type") == "Container":
            for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
                resources = container.get("resources") or {}
                found += _violations(limit, amounts_of(resources.get("requests")), amounts_of(resources.get("limits")))
        elif limit.get("type") == "Pod":
            # What the sandbox costs is not the user's to keep within bounds.
            bare = {**spec, "overhead": None}
            found += _violations(limit, _plain(pod_amounts(bare, "requests")), _plain(pod_amounts(bare, "limits")))
    return found


def claim_violations(claim: Object, limits: list[Mapping[str, Any]]) -> list[str]:
    """Every bound that a claim's request does not keep."""
    requests = amounts_of(((claim["spec"].get("resources")) or {}).get("requests"))
    found: list[str] = []
    for limit in limits:
        if limit.get("type") != "PersistentVolumeClaim":
            continue
        for name, bound in _bounds(limit, "min"):
            found += _below_minimum(limit["type"], name, bound, requests.get(name), None)
        for name, bound in _bounds(limit, "max"):
            request = requests.get(name)
            says = f"maximum {name} usage per {limit['type']} is {bound}"
            if request is None:
                found.append(f"{says}.  No request is specified")
            elif request > bound:
                found.append(f"{says}, but request is {request}")
    return found


def _plain(amounts: Amounts) -> Amounts:
    # A sum has no notation of its own.
    return {name: Quantity(amount.nanos, DECIMAL_SI) for name, amount in amounts.items()}


def _bounds(limit: Mapping[str, Any], field: str) -> Iterator[tuple[str, Quantity]]:
    for name, text in sorted((limit.get(field) or {}).items()):
        yield name, parse_quantity(text)


def _violations(limit: Mapping[str, Any], requests: Amounts, limits: Amounts) -> list[str]:
    kind = limit["type"]
    found: list[str] = []
    for name, bound in _bounds(limit, "min"):
        found += _below_minimum(kind, name, bound, requests.get(name), limits.get(name))
    for name, bound in _bounds(limit, "max"):
        found += _above_maximum(kind, name, bound, requests.get(name), limits.get(name))
    for name, bound in _bounds(limit, "maxLimitRequestRatio"):
        found += _above_ratio(kind, name, bound, requests.get(name), limits.get(name))
    return found


def _below_minimum(
    kind: str, name: str, bound: Quantity, request: Quantity | None, limit: Quantity | None
) -> list[str]:
    says = f"minimum {name} usage per {kind} is {bound}"
    if request is None:
        return [f"{says}.  No request is specified"]
    if request < bound:
        return [f"{says}, but request is {request}"]
    if limit is not None and limit < bound:
        return [f"{says}, but limit is {limit}"]
    return []


def _above_maximum(
    kind: str, name: str, bound: Quantity, request: Quantity | None, limit: Quantity | None
) -> list[str]:
    says = f"maximum {name} usage per {kind} is {bound}"
    if limit is None:
        return [f"{says}.  No limit is specified"]
    if limit > bound:
        return [f"{says}, but limit is {limit}"]
    if request is not None and request > bound:
        return [f"{says}, but request is {request}"]
    return []


def _above_ratio(kind: str, name: str, bound: Quantity, request: Quantity | None, limit: Quantity | None) -> list[str]:
    says = f"{name} max limit to request ratio per {kind} is {bound}"
    if request is None or request.is_zero():
        return [f"{says}, but no request is specified or request is 0"]
    if limit is None or limit.is_zero():
        return [f"{says}, but no limit is specified or limit is 0"]
    if limit.nanos * 10**9 > bound.nanos * request.nanos:
        return [f"{says}, but provided ratio is {limit.nanos / request.nanos:.6f}"]
    return []
