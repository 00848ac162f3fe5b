"""Writes ControllerRevisions as `history` plans them, for the workloads that keep them.

Owns the API calls about revisions. Never decides which pod runs which one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.api import errors
from orchestrator.api.objects import (
    Object,
    key_of,
    name_of,
    namespace_of,
    resource_version_of,
    uid_of,
)
from orchestrator.api.resources import CONTROLLER_REVISIONS, Resource
from orchestrator.api.selectors import LabelSelector
from orchestrator.client.informer import Informer
from orchestrator.component.controller import Controller
from orchestrator.controllers import history
from orchestrator.controllers.expectations import Expectations
from orchestrator.controllers.ownership import claim, controlled_or_orphaned

COLLISIONS_MAX = 100


class RevisionKeeper:
    """The revisions of one controller's objects; `hash_label` is where they carry their hash."""

    def __init__(
        self,
        controller: Controller,
        informer: Informer,
        expectations: Expectations,
        *,
        hash_label: str = history.HASH_LABEL,
    ) -> None:
        self._controller = controller
        self._informer = informer
        self._expectations = expectations
        self._hash_label = hash_label

    async def adopt(self, resource: Resource, owner: Object, selector: LabelSelector) -> list[Object]:
        """The owner's revisions in order, orphans that fit adopted."""
        candidates = controlled_or_orphaned(self._informer, owner)
        client = self._controller.client
        owned = await claim(client, resource, owner, selector, CONTROLLER_REVISIONS, candidates)
        return history.in_order(owned)

    async def current(
        self, owner: Object, revisions: Sequence[Object], collision_count: int | None
    ) -> tuple[Object, int]:
        """(the revision of the owner's present template, the collision count); created or renumbered if need be."""
        client = self._controller.client
        collisions = collision_count or 0
        plan = history.plan_revision(owner, revisions, collisions, self._hash_label)
        if plan.keep is not None:
            return plan.keep, collisions
        if plan.renumber is not None:
            patch = {"metadata": {"resourceVersion": resource_version_of(plan.renumber)}, "revision": plan.number}
            revision = await client.patch(
                CONTROLLER_REVISIONS, name_of(plan.renumber), patch, namespace_of(plan.renumber)
            )
            self._expectations.wrote(key_of(owner), self._informer, revision)
            return revision, collisions
        while True:
            planned = history.new_revision(owner, plan.number, collisions, self._hash_label)
            try:
                revision = await client.create(CONTROLLER_REVISIONS, planned)
            except errors.AlreadyExists:
                present = await client.get(CONTROLLER_REVISIONS, name_of(planned), namespace_of(planned))
                if history.has_same_data(present, planned["data"]) and _is_of(present, owner):
                    return present, collisions
                collisions += 1
                if collisions > COLLISIONS_MAX:
                    raise
                continue
            self._expectations.wrote(key_of(owner), self._informer, revision)
            return revision, collisions

    async def truncate(
        self, owner: Object, revisions: Sequence[Object], pods: Iterable[Object], live: Iterable[str]
    ) -> None:
        """Delete revisions beyond the limit that nothing uses."""
        label = self._hash_label if self._hash_label == history.REVISION_LABEL else ""
        for one in history.plan_truncation(owner, revisions, pods, live, label):
            try:
                await self._controller.client.delete(
                    CONTROLLER_REVISIONS, name_of(one), namespace_of(one), uid=uid_of(one)
                )
            except errors.NotFound:
                continue
            self._expectations.deleted(key_of(owner), self._informer, one)


def _is_of(revision: Object, owner: Object) -> bool:
    return any(one.get("uid") == uid_of(owner) for one in revision["metadata"].get("ownerReferences") or ())
