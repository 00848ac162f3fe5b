"""Empty a namespace that is being deleted, then let it go. Mirrors namespace-controller.

Pods go first and are waited for, so that nothing that protects them (NetworkPolicies, for example)
goes before they do (KEP-5080). What remains is told in the namespace's conditions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Unpack

from msgspec import Struct, field

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, copy_object, is_terminating, name_of, namespace_of
from orchestrator.api.resources import NAMESPACES, PODS, Resource
from orchestrator.client.informer import Informer
from orchestrator.component.controller import Controller, Dependencies
from orchestrator.controllers import conditions
from orchestrator.controllers.conditions import Condition

FINALIZER = "kubernetes"
CONTENT_CHUNK = 500
RECHECK_SECONDS = 15.0
"""For content of resources whose informers lag or fail; otherwise the last deletion of a resource leads back here."""


class Content(Struct):
    """What one pass over a namespace found."""

    remaining: dict[Resource, int] = field(default_factory=dict)
    finalizers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    discovery_failure: str = ""


def plan_conditions(present: Sequence[Condition], content: Content, now: datetime) -> list[Condition]:
    """The five conditions of a terminating namespace; those that say all is well appear once something was not."""
    stamp = format_time(now)
    result = list(present)
    for condition_type, reason, message, ok_reason, ok_message in _verdicts(content):
        if message:
            new = conditions.condition(condition_type, "True", reason, message, stamp)
        else:
            new = conditions.condition(condition_type, "False", ok_reason, ok_message, stamp)
        result = conditions.with_condition(result, new)
    return result


def _verdicts(content: Content) -> list[tuple[str, str, str, str, str]]:
    remaining = sorted(
        f"{resource.plural}.{resource.group} has {count} resource instances"
        for resource, count in content.remaining.items()
        if count
    )
    finalizers = sorted(f"{name} in {count} resource instances" for name, count in content.finalizers.items())
    failed = ""
    if content.failures:
        failed = f"Failed to delete all resource types, {len(content.failures)} remaining: "
        failed += ", ".join(sorted(content.failures))
    return [
        (
            "NamespaceDeletionDiscoveryFailure",
            "DiscoveryFailed",
            content.discovery_failure,
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "GroupVersionParsingFailed",
            "",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            "ContentDeletionFailed",
            failed,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            "SomeResourcesRemain",
            "Some resources are remaining: " + ", ".join(remaining) if remaining else "",
            "ContentRemoved",
            "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            "SomeFinalizersRemain",
            "Some content in the namespace has finalizers remaining: " + ", ".join(finalizers) if finalizers else "",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ]


class NamespaceController(Controller):
    """Deletes every object of every namespaced resource that `resources()` names."""

    name: ClassVar[str] = "namespace"
    workers: ClassVar[int] = 10

    def __init__(self, *, resources: Callable[[], Sequence[Resource]], **dependencies: Unpack[Dependencies]) -> None:
        self._resources = resources
        self._followed: set[Informer] = set()
        super().__init__(**dependencies)

    def setup(self) -> None:
        """Namespaces by key; content is followed from the first deletion of a namespace on."""
        self._namespaces = self.informer(NAMESPACES)
        self._namespaces.add_handler(self._on_namespace)

    def _on_namespace(self, old: Object | None, new: Object | None) -> None:
        if new is not None and is_terminating(new):
            self.queue.add(name_of(new))

    def _on_content(self, informer: Informer, old: Object | None, new: Object | None) -> None:
        if new is not None or old is None or not informer.is_empty(namespace_of(old)):
            return  # the last one of its resource leads here: each look at a namespace lists all that is left
        namespace = self._namespaces.get(namespace_of(old))
        if namespace is not None and is_terminating(namespace):
            self.queue.add(name_of(namespace))

    async def reconcile(self, key: str) -> float | None:
        """Delete what is there; when nothing is left, remove the finalizer."""
        namespace = self._namespaces.get(key)
        if namespace is None or not is_terminating(namespace):
            return None
        if FINALIZER not in ((namespace.get("spec") or {}).get("finalizers") or ()):
            return None
        content = await self._empty(key)
        status = {**(namespace.get("status") or {}), "phase": "Terminating"}
        status["conditions"] = plan_conditions(status.get("conditions") or [], content, self.clock.now())
        is_empty = not (content.remaining or content.failures or content.discovery_failure)
        if status != (namespace.get("status") or {}) and not (is_empty and not _has_conditions(namespace)):
            namespace = await self.client.update_status(NAMESPACES, conditions.with_status(namespace, status))
        if content.failures or content.discovery_failure:
            raise errors.InternalError("; ".join([*content.failures, content.discovery_failure]))
        if content.remaining:
            return RECHECK_SECONDS
        finalized = copy_object(namespace)
        finalized["spec"]["finalizers"] = [one for one in finalized["spec"]["finalizers"] if one != FINALIZER]
        try:
            await self.client.update(NAMESPACES, finalized, subresource="finalize")
        except errors.NotFound:
            return None
        return None

    async def _empty(self, namespace: str) -> Content:
        content = Content()
        try:
            resources = [resource for resource in self._resources() if resource.namespaced]
        except errors.ApiError as error:
            content.discovery_failure = f"Discovery failed for some groups: {error.message}"
            return content
        self._follow(resources)
        if PODS in resources:
            await self._delete_all(PODS, namespace, content)
            if content.remaining or content.failures:
                return content
        for resource in resources:
            if resource != PODS:
                await self._delete_all(resource, namespace, content)
        return content

    def _follow(self, resources: Sequence[Resource]) -> None:
        for resource in resources:
            informer = self._informers.informer(resource)
            if informer not in self._followed:
                self._followed.add(informer)
                informer.add_handler(partial(self._on_content, informer))

    async def _delete_all(self, resource: Resource, namespace: str, content: Content) -> None:
        try:
            if not await self._list(resource, namespace):
                return
            try:
                await self.client.delete_collection(resource, namespace)
            except errors.MethodNotAllowed:
                for obj in await self._list(resource, namespace):
                    await self._delete_one(resource, obj)
            left = await self._list(resource, namespace)
        except (errors.NotFound, errors.MethodNotAllowed):
            return  # not served any more, or nothing that can be listed (reviews, bindings)
        except errors.ApiError as error:
            content.failures.append(error.message)
            return
        if left:
            content.remaining[resource] = len(left)
            for obj in left:
                content.finalizers.update(obj["metadata"].get("finalizers") or ())

    async def _delete_one(self, resource: Resource, obj: Object) -> None:
        try:
            await self.client.delete(resource, name_of(obj), namespace_of(obj), propagation_policy="Background")
        except errors.NotFound:
            return

    async def _list(self, resource: Resource, namespace: str) -> list[Object]:
        items: list[Object] = []
        token = ""
        while True:
            page: Any = await self.client.list(resource, namespace, limit=CONTENT_CHUNK, continue_token=token)
            items += page.get("items") or ()
            token = page["metadata"].get("continue") or ""
            if not token:
                return items


def _has_conditions(namespace: Object) -> bool:
    return bool((namespace.get("status") or {}).get("conditions"))
