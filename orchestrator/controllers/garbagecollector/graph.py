"""Who owns whom, over all resources, and whom a change concerns. Pure.

The cost of a change follows the owners and dependents of the object that changed, never the size
of the graph. Vocabulary: an object is a *dependent* of the objects in its `ownerReferences`; an
owner *blocks* on dependents that set `blockOwnerDeletion` while it is deleted in the foreground.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from msgspec import Struct, field

from orchestrator.api.objects import Object, is_terminating, name_of, namespace_of, uid_of
from orchestrator.api.resources import Resource

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"

OwnerReference = dict[str, Any]


def owner_references(obj: Object) -> list[OwnerReference]:
    """`metadata.ownerReferences`. Do not modify."""
    return obj.get("metadata", {}).get("ownerReferences") or []


def finalizers_of(obj: Object) -> list[str]:
    """`metadata.finalizers`. Do not modify."""
    return obj.get("metadata", {}).get("finalizers") or []


class Node(Struct):
    """What is known of one object."""

    resource: Resource
    namespace: str
    name: str
    uid: str
    owners: list[OwnerReference]
    is_terminating: bool
    waits_for_dependents: bool
    """Deleted in the foreground: it goes when no blocking dependent is left."""
    is_orphaning: bool

    @property
    def key(self) -> str:
        """The key of the object in its informer."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def node_of(resource: Resource, obj: Object) -> Node:
    """The node for an object as it is."""
    finalizers = finalizers_of(obj)
    terminating = is_terminating(obj)
    return Node(
        resource,
        namespace_of(obj),
        name_of(obj),
        uid_of(obj),
        owner_references(obj),
        terminating,
        terminating and FOREGROUND in finalizers,
        terminating and ORPHAN in finalizers,
    )


class Effects(Struct):
    """The uids of objects that need a closer look after a change."""

    check: set[str] = field(default_factory=set)
    orphan: set[str] = field(default_factory=set)


class Graph:
    """Nodes by uid, dependents by the uid of the owner, also of owners that nobody has seen."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._dependents: dict[str, set[str]] = {}

    def dependents_of(self, uid: str) -> list[Node]:
        """The known objects that name this uid as an owner."""
        return [self.nodes[dependent] for dependent in self._dependents.get(uid, ())]

    def blocking(self, uid: str) -> list[Node]:
        """The dependents that hold up the foreground deletion of this owner."""
        return [
            node
            for node in self.dependents_of(uid)
            if any(ref["uid"] == uid and ref.get("blockOwnerDeletion") for ref in node.owners)
        ]

    def observe(self, node: Node) -> Effects:
        """An object was added or changed."""
        effects = Effects()
        known = self.nodes.get(node.uid)
        self.nodes[node.uid] = node
        if known is None or known.owners != node.owners:
            self._relink(known.owners if known is not None else (), node, effects)
        if node.waits_for_dependents and (known is None or not known.waits_for_dependents):
            effects.check.add(node.uid)
            effects.check |= self._dependents.get(node.uid, set())
        if node.is_orphaning and (known is None or not known.is_orphaning):
            effects.orphan.add(node.uid)
        return effects

    def _relink(self, before: Iterable[OwnerReference], node: Node, effects: Effects) -> None:
        old = {ref["uid"]: ref for ref in before}
        new = {ref["uid"]: ref for ref in node.owners}
        for uid in old.keys() - new.keys():
            self._unlink(uid, node.uid)
        for uid in new.keys() - old.keys():
            self._dependents.setdefault(uid, set()).add(node.uid)
        for uid in old:
            # It may have been the last one that its owner waits for.
            owner = self.nodes.get(uid)
            if owner is not None and owner.waits_for_dependents:
                effects.check.add(uid)
        for ref in node.owners:
            owner = self.nodes.get(ref["uid"])
            if owner is None or owner.waits_for_dependents or not is_same_owner(ref, owner, node.namespace):
                effects.check.add(node.uid)

    def remove(self, uid: str) -> Effects:
        """An object is gone."""
        effects = Effects()
        node = self.nodes.pop(uid, None)
        if node is not None:
            for ref in node.owners:
                self._unlink(ref["uid"], uid)
                owner = self.nodes.get(ref["uid"])
                if owner is not None and owner.waits_for_dependents:
                    effects.check.add(ref["uid"])
        effects.check |= self._dependents.get(uid, set())
        return effects

    def _unlink(self, owner: str, dependent: str) -> None:
        dependents = self._dependents.get(owner)
        if dependents is not None:
            dependents.discard(dependent)
            if not dependents:
                del self._dependents[owner]


def is_same_owner(reference: OwnerReference, owner: Node, dependents_namespace: str) -> bool:
    """Whether an owner reference means this object: kind, name, and namespace of the dependent must fit too."""
    group = reference["apiVersion"].rpartition("/")[0]
    if (reference["kind"], group, reference["name"]) != (owner.resource.kind, owner.resource.group, owner.name):
        return False
    return not owner.namespace or owner.namespace == dependents_namespace


OwnerState = Literal["solid", "waiting", "absent"]


class Verdict(NamedTuple):
    """What to do with a dependent: nothing, drop owner references, or delete it."""

    delete: bool = False
    propagation: str = ""
    drop_owners: tuple[str, ...] = ()
    unblock: bool = False
    """Before deleting, its references must stop blocking: owner and dependent wait for each other."""


def plan_dependent(
    obj: Object, states: dict[str, OwnerState], *, has_dependents: bool, has_waiting_dependents: bool
) -> Verdict:
    """What follows from the states of its owners (by uid) for a dependent.

    With one solid owner it stays and only forgets the others. Otherwise it goes: in the foreground
    when an owner waits for it and it has dependents itself, else as its own finalizers ask
    (Kubernetes docs, "Garbage Collection: Cascading deletion").
    """
    if not states:
        return Verdict()
    if "solid" in states.values():
        return Verdict(drop_owners=tuple(uid for uid, state in states.items() if state != "solid"))
    if "waiting" in states.values() and has_dependents:
        return Verdict(delete=True, propagation="Foreground", unblock=has_waiting_dependents)
    finalizers = finalizers_of(obj)
    if ORPHAN in finalizers:
        return Verdict(delete=True, propagation="Orphan")
    return Verdict(delete=True, propagation="Foreground" if FOREGROUND in finalizers else "Background")
