"""Plugins that complete pods from the cluster's state: tolerations, priority, runtime class, pull policy."""

from __future__ import annotations

from typing import Any

from orchestrator.api import errors
from orchestrator.api.objects import Object
from orchestrator.api.resources import PRIORITY_CLASSES
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes, Reader
from orchestrator.store import Event, EventType, Record, Store

NOT_READY_TAINT = "node.kubernetes.io/not-ready"
UNREACHABLE_TAINT = "node.kubernetes.io/unreachable"
DEFAULT_TOLERATION_SECONDS = 300

SYSTEM_PRIORITY_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
USER_PRIORITY_MAX = 1_000_000_000


class DefaultTolerationSeconds(AdmissionPlugin):
    """A pod stays five minutes on a node that is not ready or unreachable, unless it says otherwise."""

    name = "DefaultTolerationSeconds"
    resources = frozenset(("pods",))

    def handles(self, attributes: Attributes) -> bool:
        return (
            attributes.group_resource == "pods"
            and not attributes.subresource
            and attributes.operation in ("CREATE", "UPDATE")
        )

    async def admit(self, attributes: Attributes) -> None:
        spec = attributes.obj["spec"]
        tolerations: list[dict[str, Any]] = spec.get("tolerations") or []
        added = [
            {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": DEFAULT_TOLERATION_SECONDS}
            for taint in (NOT_READY_TAINT, UNREACHABLE_TAINT)
            if not any(
                toleration.get("key") in (None, "", taint) and toleration.get("effect") in (None, "", "NoExecute")
                for toleration in tolerations
            )
        ]
        if added:
            spec["tolerations"] = [*tolerations, *added]


class Priority(AdmissionPlugin):
    """Turns `priorityClassName` into `priority` and `preemptionPolicy`; keeps PriorityClasses consistent."""

    name = "Priority"
    resources = frozenset(("pods", PRIORITY_CLASSES.group_resource))

    def __init__(self, store: Store) -> None:
        self._classes: dict[str, Record] = {}
        """By name: every new pod asks for them."""
        store.observe(PRIORITY_CLASSES.group_resource, self._on_class)

    def _on_class(self, event: Event) -> None:
        name = event.record.key.name
        if event.type is EventType.DELETED:
            self._classes.pop(name, None)
        else:
            self._classes[name] = event.record

    def handles(self, attributes: Attributes) -> bool:
        if attributes.subresource or attributes.operation not in ("CREATE", "UPDATE"):
            return False
        return attributes.group_resource in self.resources

    async def admit(self, attributes: Attributes) -> None:
        if attributes.group_resource != "pods":
            return
        spec = attributes.obj["spec"]
        if attributes.operation == "UPDATE":
            old = (attributes.old or {}).get("spec", {})
            for field in ("priority", "preemptionPolicy"):
                if spec.get(field) is None and old.get(field) is not None:
                    spec[field] = old[field]
            return
        name = spec.get("priorityClassName") or ""
        if name:
            chosen = self._class(name)
            if chosen is None:
                raise errors.forbidden("", "pods", attributes.name, f"no PriorityClass with name {name} was found")
        else:
            chosen = self._global_default()
            if chosen is not None:
                spec["priorityClassName"] = chosen["metadata"]["name"]
        priority = chosen["value"] if chosen else 0
        policy = (chosen or {}).get("preemptionPolicy") or "PreemptLowerPriority"
        if spec.get("priority") is not None and spec["priority"] != priority:
            raise errors.forbidden(
                "",
                "pods",
                attributes.name,
                f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority"
                f" admission controller computed {priority} from the given PriorityClass name",
            )
        spec["priority"] = priority
        if spec.get("preemptionPolicy") and spec["preemptionPolicy"] != policy:
            raise errors.forbidden(
                "",
                "pods",
                attributes.name,
                f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec;"
                f" priority admission controller computed {policy} from the given PriorityClass name",
            )
        spec["preemptionPolicy"] = policy

    async def validate(self, attributes: Attributes) -> None:
        if attributes.group_resource == "pods" or not attributes.obj.get("globalDefault"):
            return
        current = self._global_default()
        if current is not None and current["metadata"]["name"] != attributes.name:
            raise errors.forbidden(
                "scheduling.k8s.io",
                "priorityclasses",
                attributes.name,
                f"PriorityClass {current['metadata']['name']} is already marked as default. Only one default can exist",
            )

    def _class(self, name: str) -> Object | None:
        if name in SYSTEM_PRIORITY_CLASSES:
            return {"metadata": {"name": name}, "value": SYSTEM_PRIORITY_CLASSES[name]}
        found = self._classes.get(name)
        return found.obj if found is not None else None

    def _global_default(self) -> Object | None:
        """The class for pods that name none; of several the one with the lowest value."""
        defaults = [found.obj for found in self._classes.values() if found.obj.get("globalDefault")]
        return min(defaults, key=lambda found: int(found["value"]), default=None)


class RuntimeClass(AdmissionPlugin):
    """Takes overhead and scheduling constraints of a pod's RuntimeClass over into the pod."""

    name = "RuntimeClass"
    resources = frozenset(("pods",))

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, attributes: Attributes) -> bool:
        return attributes.group_resource == "pods" and not attributes.subresource and attributes.operation == "CREATE"

    async def admit(self, attributes: Attributes) -> None:
        spec = attributes.obj["spec"]
        name = spec.get("runtimeClassName")
        if not name:
            if spec.get("overhead"):
                raise errors.forbidden(
                    "",
                    "pods",
                    attributes.name,
                    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined",
                )
            return
        found = await self._reader.read("runtimeclasses.node.k8s.io", name)
        if found is None:
            raise errors.forbidden("", "pods", attributes.name, f'pod rejected: RuntimeClass "{name}" not found')
        overhead = (found.get("overhead") or {}).get("podFixed")
        if spec.get("overhead") and spec["overhead"] != overhead:
            raise errors.forbidden(
                "",
                "pods",
                attributes.name,
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
            )
        if overhead:
            spec["overhead"] = dict(overhead)
        scheduling = found.get("scheduling") or {}
        selector = spec.get("nodeSelector") or {}
        for key, value in (scheduling.get("nodeSelector") or {}).items():
            if selector.get(key, value) != value:
                raise errors.forbidden(
                    "", "pods", attributes.name, f"conflict: {{{key}: {selector[key]}}} in both runtimeClass and pod"
                )
            selector = {**selector, key: value}
        if selector:
            spec["nodeSelector"] = selector
        tolerations = spec.get("tolerations") or []
        added = [t for t in scheduling.get("tolerations") or () if t not in tolerations]
        if added:
            spec["tolerations"] = [*tolerations, *added]
