"""The garbage collector's shell: feeds the graph from informers, verifies, deletes, orphans."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Unpack

from orchestrator.api import errors
from orchestrator.api.objects import Object, is_terminating, resource_version_of, uid_of
from orchestrator.api.resources import Resource
from orchestrator.client.informer import Informer
from orchestrator.component.controller import Controller, Dependencies
from orchestrator.controllers.garbagecollector.graph import (
    FOREGROUND,
    ORPHAN,
    Effects,
    Graph,
    Node,
    OwnerReference,
    OwnerState,
    finalizers_of,
    is_same_owner,
    node_of,
    owner_references,
    plan_dependent,
)

ABSENT_OWNERS_MAX = 500
"""So many absent owners are remembered, so that each of their dependents need not ask the API again."""

_IGNORED = frozenset({"events", "events.events.k8s.io"})
_DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"


class GarbageCollector(Controller):
    """Follows every resource that `resources()` names; call `refresh` when that may have changed.

    When CustomResourceDefinitions are among the resources it refreshes by itself with each of
    their changes. Keys are `check/<uid>` and `orphan/<uid>`.
    """

    name: ClassVar[str] = "garbagecollector"
    workers: ClassVar[int] = 20

    def __init__(self, *, resources: Callable[[], Sequence[Resource]], **dependencies: Unpack[Dependencies]) -> None:
        self._resources = resources
        self._graph = Graph()
        self._monitored: dict[Resource, Informer] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._absent: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._unresolved: set[str] = set()
        super().__init__(**dependencies)

    def setup(self) -> None:
        """Follow what is served at the start; its caches are waited for."""
        for resource in self._resources():
            if resource.group_resource not in _IGNORED:
                self.informer(resource)
        self.refresh()

    def refresh(self) -> None:
        """Follow resources that appeared; decide again about owners whose kind was not known."""
        # Simplified: the informer of a resource that is no longer served keeps asking for it, with back-off.
        current = [resource for resource in self._resources() if resource.group_resource not in _IGNORED]
        self._by_kind = {(resource.group, resource.kind): resource for resource in current}
        for resource in current:
            if resource in self._monitored:
                continue
            # Caches that come later are not waited for: owners that they lack are looked up in the API.
            informer = self._monitored[resource] = self._informers.informer(resource)
            informer.add_handler(partial(self._on_change, resource))
            if resource.group_resource == _DEFINITIONS:
                informer.add_handler(lambda old, new: self.refresh())
        unresolved, self._unresolved = self._unresolved, set()
        for uid in unresolved:
            self.queue.add(f"check/{uid}")

    # The graph.

    def _on_change(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or uid_of(old) != uid_of(new)):
            self._remember_absent(old)
            self._enqueue(self._graph.remove(uid_of(old)))
        if new is not None:
            if (
                old is not None
                and uid_of(old) == uid_of(new)
                and owner_references(old) == owner_references(new)
                and finalizers_of(old) == finalizers_of(new)
                and is_terminating(old) == is_terminating(new)
            ):
                return  # most changes are status changes
            self._enqueue(self._graph.observe(node_of(resource, new)))

    def _enqueue(self, effects: Effects) -> None:
        for uid in effects.check:
            self.queue.add(f"check/{uid}")
        for uid in effects.orphan:
            self.queue.add(f"orphan/{uid}")

    def _remember_absent(self, obj: Object) -> None:
        self._mark_absent(uid_of(obj), obj["metadata"].get("namespace") or "")

    def _mark_absent(self, uid: str, namespace: str) -> None:
        self._absent[uid, namespace] = None
        self._absent.move_to_end((uid, namespace))
        if len(self._absent) > ABSENT_OWNERS_MAX:
            self._absent.popitem(last=False)

    # Decisions.

    async def reconcile(self, key: str) -> float | None:
        """Look at one object: does it still have an owner, or wait for dependents, or orphan them?"""
        action, _, uid = key.partition("/")
        node = self._graph.nodes.get(uid)
        if node is None:
            self._unresolved.discard(uid)
            return None
        if action == "orphan":
            await self._orphan_dependents(node)
        elif node.waits_for_dependents:
            await self._finish_foreground(node)
        elif not node.is_terminating:
            await self._check(node)
        return None

    async def _check(self, node: Node) -> None:
        if not node.owners:
            return
        try:
            obj = await self.client.get(node.resource, node.name, node.namespace)
        except errors.NotFound:
            return  # its deletion is on its way to us
        if uid_of(obj) != node.uid or is_terminating(obj):
            return
        states: dict[str, OwnerState] = {}
        for reference in owner_references(obj):
            state = await self._state_of(reference, node, obj)
            if state is None:
                self._unresolved.add(node.uid)
                return
            states[reference["uid"]] = state
        dependents = self._graph.dependents_of(node.uid)
        verdict = plan_dependent(
            obj,
            states,
            has_dependents=bool(dependents),
            has_waiting_dependents=any(dependent.waits_for_dependents for dependent in dependents),
        )
        if verdict.drop_owners:
            await self._drop_owners(node, obj, verdict.drop_owners)
        elif verdict.delete:
            if verdict.unblock:
                references = [{**ref, "blockOwnerDeletion": False} for ref in owner_references(obj)]
                obj = await self._patch_metadata(node, obj, {"ownerReferences": references})
            await self._delete(node, obj, verdict.propagation)

    async def _state_of(self, reference: OwnerReference, node: Node, obj: Object) -> OwnerState | None:
        """How an owner stands; None when that cannot be known, and nothing may be deleted."""
        resource = self._by_kind.get((reference["apiVersion"].rpartition("/")[0], reference["kind"]))
        if resource is None:
            return None
        uid, name = reference["uid"], reference["name"]
        namespace = node.namespace if resource.namespaced else ""
        owner = self._graph.nodes.get(uid)
        if resource.namespaced and not node.namespace:
            self._report_invalid(reference, node, obj)
            return None
        if owner is not None:
            if is_same_owner(reference, owner, node.namespace):
                return "waiting" if owner.waits_for_dependents else "solid"
            if owner.namespace and owner.namespace != node.namespace:
                self._report_invalid(reference, node, obj)
        if (uid, namespace) in self._absent:
            return "absent"
        # A cache may be behind, and a deletion cannot be taken back: the API has the last word.
        try:
            live = await self.client.get(resource, name, namespace)
        except errors.NotFound:
            self._mark_absent(uid, namespace)
            return "absent"
        if uid_of(live) != uid:
            self._mark_absent(uid, namespace)
            return "absent"
        return "waiting" if is_terminating(live) and FOREGROUND in finalizers_of(live) else "solid"

    def _report_invalid(self, reference: OwnerReference, node: Node, obj: Object) -> None:
        owner = (
            f"[{reference['apiVersion']}/{reference['kind']}, namespace: {node.namespace}, "
            f"name: {reference['name']}, uid: {reference['uid']}]"
        )
        message = f'ownerRef {owner} does not exist in namespace "{node.namespace}"'
        self.recorder.event(obj, "Warning", "OwnerRefInvalidNamespace", message)

    # Actions.

    async def _finish_foreground(self, node: Node) -> None:
        blocking = self._graph.blocking(node.uid)
        if blocking:
            for dependent in blocking:
                if not dependent.is_terminating:
                    self.queue.add(f"check/{dependent.uid}")
            return
        await self._drop_finalizer(node, FOREGROUND)

    async def _orphan_dependents(self, node: Node) -> None:
        for dependent in self._graph.dependents_of(node.uid):
            obj = self._monitored[dependent.resource].get(dependent.key)
            if obj is not None and uid_of(obj) == dependent.uid:
                await self._drop_owners(dependent, obj, (node.uid,))
        await self._drop_finalizer(node, ORPHAN)

    async def _drop_owners(self, node: Node, obj: Object, uids: Sequence[str]) -> None:
        kept = [ref for ref in owner_references(obj) if ref["uid"] not in uids]
        await self._patch_metadata(node, obj, {"ownerReferences": kept or None})

    async def _drop_finalizer(self, node: Node, finalizer: str) -> None:
        try:
            obj = await self.client.get(node.resource, node.name, node.namespace)
        except errors.NotFound:
            return
        if uid_of(obj) != node.uid or finalizer not in finalizers_of(obj):
            return
        kept = [one for one in finalizers_of(obj) if one != finalizer]
        await self._patch_metadata(node, obj, {"finalizers": kept or None})

    async def _patch_metadata(self, node: Node, obj: Object, metadata: dict[str, Any]) -> Object:
        # The resource version makes the patch conditional: the lists are replaced whole.
        patch = {"metadata": {"resourceVersion": resource_version_of(obj), **metadata}}
        try:
            return await self.client.patch(node.resource, node.name, patch, node.namespace)
        except errors.NotFound:
            return obj

    async def _delete(self, node: Node, obj: Object, propagation: str) -> None:
        try:
            await self.client.delete(
                node.resource,
                node.name,
                node.namespace,
                uid=node.uid,
                resource_version=resource_version_of(obj),
                propagation_policy=propagation,
            )
        except errors.NotFound:
            return
