"""The StatefulSet controller's shell: claim pods and revisions, apply the plan, write the status."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from orchestrator.api import errors
from orchestrator.api.objects import (
    Object,
    controller_of,
    is_terminating,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    resource_version_of,
    uid_of,
)
from orchestrator.api.resources import CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from orchestrator.api.selectors import LabelSelector, from_label_selector
from orchestrator.component.controller import Controller
from orchestrator.controllers.conditions import with_status
from orchestrator.controllers.expectations import RECHECK_SECONDS, Expectations
from orchestrator.controllers.ownership import (
    CONTROLLER_INDEX,
    claim,
    controlled_or_orphaned,
    index_by_controller,
    owner_in_cache,
)
from orchestrator.controllers.replicas import all_of, is_namespace_terminating
from orchestrator.controllers.revisions import RevisionKeeper
from orchestrator.controllers.statefulset import identity
from orchestrator.controllers.statefulset.plan import StatefulSetPlan, is_ordered, plan_pods, plan_status


class StatefulSetController(Controller):
    """Keeps one pod for each ordinal."""

    name: ClassVar[str] = "statefulset"

    def setup(self) -> None:
        """Sets by key; pods and revisions by controller; claims by name."""
        self._sets = self.informer(STATEFUL_SETS)
        self._pods = self.informer(PODS)
        self._claims = self.informer(PERSISTENT_VOLUME_CLAIMS)
        self._revisions = self.informer(CONTROLLER_REVISIONS)
        self._pods.add_index(CONTROLLER_INDEX, index_by_controller)
        self._revisions.add_index(CONTROLLER_INDEX, index_by_controller)
        self._expectations = Expectations()
        self._keeper = RevisionKeeper(self, self._revisions, self._expectations)
        self._sets.add_handler(self.enqueue_object)
        self._pods.add_handler(self._on_pod)
        self._claims.add_handler(self._on_claim)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        for pod in (old, new):
            owner = owner_in_cache(pod, self._sets)
            if owner is not None:
                self.queue.add(key_of(owner))
        pod = new if new is not None else old
        assert pod is not None
        if controller_of(pod) is None and (new is None or not is_terminating(new)):
            # The name of a member names its set, so an orphan finds it without a search. A stranger of such a
            # name stands in the way until it is gone.
            owner = self._sets.get(f"{namespace_of(pod)}/{identity.split_name(name_of(pod))[0]}")
            if owner is not None and (new is None or _selector(owner).matches(labels_of(new))):
                self.queue.add(key_of(owner))

    def _on_claim(self, old: Object | None, new: Object | None) -> None:
        """A pod may wait for a claim to be gone, its predecessor's or one that somebody deleted."""
        if new is None and old is not None:
            for name in identity.sets_of_claim(name_of(old)):
                key = f"{namespace_of(old)}/{name}"
                if self._sets.get(key) is not None:
                    self.queue.add(key)

    async def reconcile(self, key: str) -> float | None:
        """One step for one set."""
        one = self._sets.get(key)
        if one is None:
            self._expectations.forget(key)
            return None
        if not self._expectations.is_fulfilled(key):
            return RECHECK_SECONDS
        selector = _selector(one)
        candidates = [pod for pod in controlled_or_orphaned(self._pods, one) if identity.is_member(one, pod)]
        pods = await claim(self.client, STATEFUL_SETS, one, selector, PODS, candidates)
        status = one.get("status") or {}
        revisions = await self._keeper.adopt(STATEFUL_SETS, one, selector)
        update, collisions = await self._keeper.current(one, revisions, status.get("collisionCount"))
        current = next((r for r in revisions if name_of(r) == status.get("currentRevision")), update)
        now = self.clock.now()
        plan = plan_pods(one, pods, current, update, now)
        status = plan_status(one, pods, current, update, collisions, now)
        if status != (one.get("status") or {}):
            updated = await self.client.update_status(STATEFUL_SETS, with_status(one, status))
            self._expectations.wrote(key, self._sets, updated)
        await self._fix_claims(one, pods)
        if is_terminating(one):
            return None
        await self._apply(one, plan)
        await self._keeper.truncate(one, revisions, pods, (name_of(update), status["currentRevision"]))
        return plan.again_seconds

    # Applying a plan.

    async def _apply(self, one: Object, plan: StatefulSetPlan) -> None:
        for pod in plan.claims_for:
            await self._create_claims(one, pod)
        for pod in plan.relabel:
            await self._relabel(one, pod)
        steps = [partial(self._create, one, pod) for pod in plan.create]
        steps += [partial(self._delete, one, pod) for pod in plan.delete]
        if not steps:
            return
        if is_ordered(one):
            for step in steps:
                await step()
            return
        failures = [result for result in await all_of(steps) if isinstance(result, errors.ApiError)]
        if failures:
            raise failures[0]

    async def _create(self, one: Object, pod: Object) -> None:
        name = name_of(pod)
        try:
            if not await self._create_claims(one, pod):
                return  # the old claim goes first; its end leads back here
        except errors.ApiError as error:
            if not is_namespace_terminating(error):
                message = f"create Pod {name} in StatefulSet {name_of(one)} failed error: {error.message}"
                self.recorder.event(one, "Warning", "FailedCreate", message)
            raise
        try:
            created = await self.client.create(PODS, pod)
        except errors.AlreadyExists:
            # A stranger, or a predecessor that the cache does not show: its end leads back here.
            raise
        except errors.ApiError as error:
            if is_namespace_terminating(error):
                return
            message = f"create Pod {name} in StatefulSet {name_of(one)} failed error: {error.message}"
            self.recorder.event(one, "Warning", "FailedCreate", message)
            raise
        self._expectations.wrote(key_of(one), self._pods, created)
        message = f"create Pod {name} in StatefulSet {name_of(one)} successful"
        self.recorder.event(one, "Normal", "SuccessfulCreate", message)

    async def _delete(self, one: Object, pod: Object) -> None:
        name = name_of(pod)
        try:
            await self.client.delete(PODS, name, namespace_of(pod), uid=uid_of(pod))
        except errors.NotFound:
            return
        except errors.ApiError as error:
            message = f"delete Pod {name} in StatefulSet {name_of(one)} failed error: {error.message}"
            self.recorder.event(one, "Warning", "FailedDelete", message)
            raise
        self._expectations.deleted(key_of(one), self._pods, pod)
        message = f"delete Pod {name} in StatefulSet {name_of(one)} successful"
        self.recorder.event(one, "Normal", "SuccessfulDelete", message)

    async def _relabel(self, one: Object, pod: Object) -> None:
        patch = {
            "metadata": {"resourceVersion": resource_version_of(pod), "labels": identity.plan_labels(pod)},
        }
        updated = await self.client.patch(PODS, name_of(pod), patch, namespace_of(pod))
        self._expectations.wrote(key_of(one), self._pods, updated)
        message = f"update Pod {name_of(pod)} in StatefulSet {name_of(one)} successful"
        self.recorder.event(one, "Normal", "SuccessfulUpdate", message)

    # Claims.

    async def _create_claims(self, one: Object, pod: Object) -> bool:
        """Create what is missing; False while a claim of an earlier pod is on its way out.

        ApiError when a claim cannot be made, or is being deleted: it would be gone as soon as nobody uses it.
        """
        wanted = identity.new_claims(one, identity.ordinal_of(pod))
        claims = [(planned, self._claims.get(key_of(planned))) for planned in wanted]
        if any(present is not None and identity.is_stale_claim(present, uid_of(pod)) for _, present in claims):
            return False
        for planned, present in claims:
            if present is None:
                await self._create_claim(one, pod, planned)
            elif is_terminating(present):
                raise errors.InternalError(f"pvc {name_of(present)} is being deleted")
        return True

    async def _create_claim(self, one: Object, pod: Object, planned: Object) -> None:
        try:
            created = await self.client.create(PERSISTENT_VOLUME_CLAIMS, planned)
        except errors.AlreadyExists:
            return
        except errors.ApiError as error:
            if is_namespace_terminating(error):
                raise
            where = f"for Pod {name_of(pod)} in StatefulSet {name_of(one)}"
            message = f"create Claim {name_of(planned)} {where} failed error: {error.message}"
            self.recorder.event(one, "Warning", "FailedCreate", message)
            raise errors.InternalError(f"failed to create PVC {name_of(planned)}: {error.message}") from None
        self._expectations.wrote(key_of(one), self._claims, created)
        message = f"create Claim {name_of(planned)} Pod {name_of(pod)} in StatefulSet {name_of(one)} success"
        self.recorder.event(one, "Normal", "SuccessfulCreate", message)

    async def _fix_claims(self, one: Object, pods: Sequence[Object]) -> None:
        if not identity.claim_templates(one):
            return
        for pod in pods:
            for planned in identity.new_claims(one, identity.ordinal_of(pod)):
                present = self._claims.get(key_of(planned))
                if present is None or is_terminating(present):
                    continue
                owners = identity.plan_claim_owners(one, pod, present)
                if owners is None:
                    continue
                metadata: dict[str, Any] = {"resourceVersion": resource_version_of(present), "ownerReferences": owners}
                updated = await self.client.patch(
                    PERSISTENT_VOLUME_CLAIMS, name_of(present), {"metadata": metadata}, namespace_of(present)
                )
                self._expectations.wrote(key_of(one), self._claims, updated)


def _selector(one: Object) -> LabelSelector:
    return from_label_selector(one["spec"].get("selector"))
