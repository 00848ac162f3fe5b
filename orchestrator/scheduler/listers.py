"""What plugins read besides nodes and pods: who selects a pod, and which budgets protect it.

Answers from informers, through a bounded cache. Mirrors the listers that kube-scheduler hands to plugins.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from orchestrator.api.objects import Object, controller_of, key_of, namespace_of
from orchestrator.api.resources import (
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
    Resource,
)
from orchestrator.api.selectors import EQUALS, LabelSelector, Requirement, from_label_selector
from orchestrator.api.volume_binding import class_of
from orchestrator.client.informer import Informer
from orchestrator.scheduler.pod_info import PodInfo

SELECTORS_MAX: Final = 4_096
OWNERS: Final = {
    ("apps", "ReplicaSet"): REPLICA_SETS,
    ("apps", "StatefulSet"): STATEFUL_SETS,
    ("", "ReplicationController"): REPLICATION_CONTROLLERS,
}


SELECTING: Final = (SERVICES, *OWNERS.values())
"""What selects pods."""
CLASS_INDEX: Final = "scheduler/class"


class SelectingListers:
    """What follows from finding and listing objects: who selects a pod, what protects it."""

    def __init__(self) -> None:
        self._selectors: OrderedDict[tuple[str, bytes, str], LabelSelector | None] = OrderedDict()

    @abstractmethod
    def find(self, resource: Resource, key: str) -> Object | None:
        """One object."""

    @abstractmethod
    def list(self, resource: Resource, namespace: str = "") -> Sequence[Object]:
        """All objects of a resource, or those of a namespace."""

    def disruption_budgets(self, namespace: str) -> Sequence[Object]:
        return self.list(POD_DISRUPTION_BUDGETS, namespace)

    def volumes_of_class(self, name: str) -> Sequence[Object]:
        return [volume for volume in self.list(PERSISTENT_VOLUMES) if class_of(volume) == name]

    def default_selector(self, pod: PodInfo) -> LabelSelector | None:
        owner = controller_of(pod.obj)
        identity = (pod.namespace, orjson.dumps(pod.labels), owner["uid"] if owner else "")
        try:
            return self._selectors[identity]
        except KeyError:
            pass
        selector = self._make_selector(pod, owner)
        self._selectors[identity] = selector
        if len(self._selectors) > SELECTORS_MAX:
            self._selectors.popitem(last=False)
        return selector

    def _make_selector(self, pod: PodInfo, owner: Object | None) -> LabelSelector | None:
        wanted: dict[str, str] = {}
        for service in self.list(SERVICES, pod.namespace):
            selector = (service.get("spec") or {}).get("selector")
            if selector and selector.items() <= pod.labels.items():
                wanted.update(selector)
        requirements: list[Requirement] = []
        if owner is not None:
            group = owner["apiVersion"].rpartition("/")[0]
            resource = OWNERS.get((group, owner["kind"]))
            found = self.find(resource, f"{pod.namespace}/{owner['name']}") if resource is not None else None
            if found is not None:
                selector = _selector_of(found)
                if resource is REPLICATION_CONTROLLERS:
                    wanted.update(selector or {})
                else:
                    requirements += from_label_selector(selector).requirements
        requirements += [Requirement(key, EQUALS, (value,)) for key, value in sorted(wanted.items())]
        return LabelSelector(tuple(requirements)) if requirements else None


class SnapshotListers(SelectingListers):
    """Listers over objects that do not change: for a look at a cluster from outside."""

    budgets_version = 0

    def __init__(self, objects: Mapping[Resource, Sequence[Object]]) -> None:
        super().__init__()
        self._objects = {resource: {key_of(obj): obj for obj in items} for resource, items in objects.items()}

    def find(self, resource: Resource, key: str) -> Object | None:
        return self._objects.get(resource, {}).get(key)

    def list(self, resource: Resource, namespace: str = "") -> Sequence[Object]:
        found = self._objects.get(resource, {}).values()
        return [obj for obj in found if not namespace or namespace_of(obj) == namespace]

    async def changed(self, resources: Sequence[Resource], *, or_when: asyncio.Event) -> None:
        await or_when.wait()  # nothing ever changes


class InformerListers(SelectingListers):
    """Listers over the shared informers; a resource that is not followed counts as having no objects."""

    def __init__(self) -> None:
        super().__init__()
        self._informers: dict[Resource, Informer] = {}
        self._changes: dict[Resource, asyncio.Event] = {}
        self.budgets_version = 0

    def follow(self, informer: Informer) -> None:
        """Read this resource from now on; following it again changes nothing."""
        if informer.resource not in self._informers:
            self._informers[informer.resource] = informer
            resource = informer.resource
            if resource is POD_DISRUPTION_BUDGETS:
                informer.add_handler(self._count_budget_change)
            elif resource in SELECTING:
                informer.add_handler(self._forget_selectors)
            else:
                informer.add_handler(lambda old, new: self._announce(resource))
            if resource is PERSISTENT_VOLUMES:
                informer.add_index(CLASS_INDEX, lambda volume: [f"class/{class_of(volume)}"])

    def _count_budget_change(self, old: Object | None, new: Object | None) -> None:
        self.budgets_version += 1

    def _forget_selectors(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or _selector_of(old) != _selector_of(new):
            self._selectors.clear()

    @property
    def informers(self) -> tuple[Informer, ...]:
        """All informers that are read."""
        return tuple(self._informers.values())

    def find(self, resource: Resource, key: str) -> Object | None:
        informer = self._informers.get(resource)
        return informer.get(key) if informer is not None else None

    def list(self, resource: Resource, namespace: str = "") -> Sequence[Object]:
        informer = self._informers.get(resource)
        return informer.list(namespace) if informer is not None else ()

    def volumes_of_class(self, name: str) -> Sequence[Object]:
        informer = self._informers.get(PERSISTENT_VOLUMES)
        return informer.by_index(CLASS_INDEX, f"class/{name}") if informer is not None else ()

    async def changed(self, resources: Sequence[Resource], *, or_when: asyncio.Event) -> None:
        changes = [self._changes.setdefault(resource, asyncio.Event()) for resource in resources]
        waits = [asyncio.ensure_future(event.wait()) for event in (*changes, or_when)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _announce(self, resource: Resource) -> None:
        """Wake everybody who waits for a change of this resource; the next one waits for the next change."""
        if (event := self._changes.pop(resource, None)) is not None:
            event.set()


def _selector_of(obj: Object) -> Object | None:
    selector: Object | None = (obj.get("spec") or {}).get("selector")
    return selector
