"""The Deployment controller's shell: claim ReplicaSets, apply the plan, write the status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from orchestrator.api import errors
from orchestrator.api.objects import (
    Object,
    annotations_of,
    controller_of,
    copy_object,
    is_terminating,
    key_of,
    name_of,
    namespace_of,
    uid_of,
)
from orchestrator.api.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from orchestrator.api.selectors import LabelSelector, from_label_selector
from orchestrator.component.controller import Controller
from orchestrator.controllers.conditions import find, with_status
from orchestrator.controllers.deployment import progress, revisions, rollout
from orchestrator.controllers.deployment.rollout import Resize, replicas_of, size_of
from orchestrator.controllers.expectations import RECHECK_SECONDS, Expectations
from orchestrator.controllers.ownership import (
    CONTROLLER_INDEX,
    claim,
    controlled_by,
    controlled_or_orphaned,
    index_by_controller,
    owner_in_cache,
)
from orchestrator.controllers.pods import is_finished
from orchestrator.controllers.replicas import is_namespace_terminating
from orchestrator.controllers.selecting import add_selector_index, selecting


class DeploymentController(Controller):
    """Brings the ReplicaSets of a Deployment to the sizes that its strategy allows."""

    name: ClassVar[str] = "deployment"

    def setup(self) -> None:
        """Deployments by key; ReplicaSets by controller; deleted pods, for which Recreate waits."""
        self._deployments = self.informer(DEPLOYMENTS)
        self._replica_sets = self.informer(REPLICA_SETS)
        self._pods = self.informer(PODS)
        self._replica_sets.add_index(CONTROLLER_INDEX, index_by_controller)
        self._pods.add_index(CONTROLLER_INDEX, index_by_controller)
        add_selector_index(self._deployments, _selector)
        self._expectations = Expectations()
        self._deployments.add_handler(self.enqueue_object)
        self._replica_sets.add_handler(self._on_replica_set)
        self._pods.add_handler(self._on_pod)

    def _on_replica_set(self, old: Object | None, new: Object | None) -> None:
        for rs in (old, new):
            owner = owner_in_cache(rs, self._deployments)
            if owner is not None:
                self.queue.add(key_of(owner))
        if new is not None and controller_of(new) is None and not is_terminating(new):
            for deployment in selecting(self._deployments, new, _selector):
                self.queue.add(key_of(deployment))

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        gone = new is None or (old is not None and is_finished(new) and not is_finished(old))
        if not gone:
            return
        owner = owner_in_cache(owner_in_cache(old, self._replica_sets), self._deployments)
        if owner is not None and not rollout.is_rolling_update(owner):
            self.queue.add(key_of(owner))

    async def reconcile(self, key: str) -> float | None:
        """One step of the rollout, or none; then the status."""
        deployment = self._deployments.get(key)
        if deployment is None:
            self._expectations.forget(key)
            return None
        if not self._expectations.is_fulfilled(key):
            return RECHECK_SECONDS
        selector = _selector(deployment)
        if selector.is_everything:
            message = "This deployment is selecting all pods. A non-empty selector is required."
            self.recorder.event(deployment, "Warning", "SelectingAll", message)
            observed = {**(deployment.get("status") or {}), "observedGeneration": deployment["metadata"]["generation"]}
            await self._write_status(deployment, observed)
            return None
        candidates = controlled_or_orphaned(self._replica_sets, deployment)
        owned = await claim(self.client, DEPLOYMENTS, deployment, selector, REPLICA_SETS, candidates)
        if is_terminating(deployment):
            await self._write_status(deployment, self._settled_status(deployment, owned))
            return None
        paused = progress.plan_paused_condition(deployment, self.clock.now())
        if paused is not None:
            deployment = await self._write_condition(deployment, paused)
        if deployment["spec"].get("paused") or rollout.is_scaling_event(deployment, owned):
            return await self._scale(deployment, owned)
        if rollout.is_rolling_update(deployment):
            return await self._roll(deployment, owned)
        return await self._recreate(deployment, owned)

    # Strategies.

    async def _scale(self, deployment: Object, owned: list[Object]) -> float | None:
        deployment, new, old = await self._new_and_old(deployment, owned, create=False)
        for resize in rollout.plan_scaling(deployment, new, old):
            await self._resize(deployment, resize)
        if not self._expectations.is_fulfilled(key_of(deployment)):
            owned = self._refresh(owned)
        if deployment["spec"].get("paused"):
            await self._clean_up(deployment, old)
        await self._write_status(deployment, self._settled_status(deployment, owned))
        return None

    async def _roll(self, deployment: Object, owned: list[Object]) -> float | None:
        deployment, new, old = await self._new_and_old(deployment, owned, create=True)
        if new is None:
            return None
        resize = Resize(new, rollout.plan_new_size(deployment, [*old, new], new))
        if await self._resize(deployment, resize):
            return await self._report(deployment, old, new)
        shrink = rollout.plan_scale_down_old(deployment, old, new)
        for resize in shrink:
            await self._resize(deployment, resize)
        if not shrink and progress.is_complete(deployment, deployment.get("status") or {}):
            await self._clean_up(deployment, old)
        return await self._report(deployment, old, new)

    async def _recreate(self, deployment: Object, owned: list[Object]) -> float | None:
        deployment, new, old = await self._new_and_old(deployment, owned, create=False)
        shrink = [Resize(rs, 0) for rs in old if size_of(rs) > 0]
        for resize in shrink:
            await self._resize(deployment, resize)
        if shrink or self._is_old_running(old):
            return await self._report(deployment, old, new)
        if new is None:
            deployment, new, old = await self._new_and_old(deployment, owned, create=True)
            if new is None:
                return None
        await self._resize(deployment, Resize(new, replicas_of(deployment)))
        if progress.is_complete(deployment, deployment.get("status") or {}):
            await self._clean_up(deployment, old)
        return await self._report(deployment, old, new)

    def _is_old_running(self, old: Sequence[Object]) -> bool:
        for rs in old:
            if (rs.get("status") or {}).get("replicas"):
                return True
            if any(not is_finished(pod) for pod in controlled_by(self._pods, rs)):
                return True
        return False

    # The new ReplicaSet and its revision.

    async def _new_and_old(
        self, deployment: Object, owned: list[Object], *, create: bool
    ) -> tuple[Object, Object | None, list[Object]]:
        """(deployment, new, old); the Deployment comes back changed when its revision or conditions were written."""
        new = revisions.find_new(deployment, owned)
        old = [rs for rs in owned if rs is not new]
        revision = revisions.next_revision(old)
        if new is not None:
            deployment, new = await self._keep_new(deployment, new, revision)
        elif create:
            deployment, new = await self._create_new(deployment, old, revision)
        return deployment, new, old

    async def _keep_new(self, deployment: Object, new: Object, revision: int) -> tuple[Object, Object]:
        annotations = revisions.annotations_for_new(deployment, annotations_of(new), revision, exists=True)
        min_ready_seconds = deployment["spec"].get("minReadySeconds") or 0
        if annotations != annotations_of(new) or (new["spec"].get("minReadySeconds") or 0) != min_ready_seconds:
            changed = copy_object(new)
            changed["metadata"]["annotations"] = annotations
            changed["spec"]["minReadySeconds"] = min_ready_seconds
            new = await self._update_replica_set(deployment, changed)
        condition = None
        if progress.has_deadline(deployment) and find(progress.conditions_of(deployment), "Progressing") is None:
            message = f'Found new replica set "{name_of(new)}"'
            condition = progress.condition("Progressing", "True", progress.FOUND_REPLICA_SET, message, self.clock.now())
        return await self._write_revision(deployment, annotations_of(new).get(revisions.REVISION), condition), new

    async def _create_new(self, deployment: Object, old: list[Object], revision: int) -> tuple[Object, Object | None]:
        planned = revisions.new_replica_set(deployment, revision, rollout.max_surge(deployment))
        planned["spec"]["replicas"] = rollout.plan_new_size(deployment, old, planned)
        is_made_now = False
        try:
            new = await self.client.create(REPLICA_SETS, planned)
        except errors.AlreadyExists:
            present = await self.client.get(REPLICA_SETS, name_of(planned), namespace_of(planned))
            reference = controller_of(present)
            if (
                reference is None
                or reference["uid"] != uid_of(deployment)
                or not revisions.has_same_template(deployment, present)
            ):
                # Another template has this hash, or somebody else this name: the next hash differs.
                status = {**(deployment.get("status") or {})}
                status["collisionCount"] = (status.get("collisionCount") or 0) + 1
                await self._write_status(deployment, status)
                raise
            new = present
        except errors.ApiError as error:
            if is_namespace_terminating(error):
                return deployment, None
            message = f'Failed to create new replica set "{name_of(planned)}": {error.message}'
            if progress.has_deadline(deployment):
                await self._write_condition(
                    deployment,
                    progress.condition("Progressing", "False", progress.CREATE_ERROR, message, self.clock.now()),
                )
            self.recorder.event(deployment, "Warning", progress.CREATE_ERROR, message)
            raise
        else:
            is_made_now = True
            self._expectations.wrote(key_of(deployment), self._replica_sets, new)
            if size_of(new) > 0:
                self._say_scaled(deployment, new, 0, size_of(new))
        condition = None
        if is_made_now and progress.has_deadline(deployment):
            message = f'Created new replica set "{name_of(new)}"'
            condition = progress.condition("Progressing", "True", progress.NEW_REPLICA_SET, message, self.clock.now())
        deployment = await self._write_revision(deployment, annotations_of(new).get(revisions.REVISION), condition)
        return deployment, new

    # Writes.

    async def _resize(self, deployment: Object, resize: Resize) -> bool:
        """Give a ReplicaSet its size and its size annotations; whether the size changed."""
        rs, replicas = resize
        annotations = revisions.replica_annotations(replicas_of(deployment), rollout.max_surge(deployment))
        before = size_of(rs)
        if before == replicas and annotations.items() <= annotations_of(rs).items():
            return False
        changed = copy_object(rs)
        changed["spec"]["replicas"] = replicas
        changed["metadata"]["annotations"] = {**annotations_of(rs), **annotations}
        await self._update_replica_set(deployment, changed)
        if before != replicas:
            self._say_scaled(deployment, rs, before, replicas)
        return before != replicas

    def _say_scaled(self, deployment: Object, rs: Object, before: int, after: int) -> None:
        direction = "up" if after > before else "down"
        message = f"Scaled {direction} replica set {name_of(rs)} from {before} to {after}"
        self.recorder.event(deployment, "Normal", "ScalingReplicaSet", message)

    async def _update_replica_set(self, deployment: Object, changed: Object) -> Object:
        updated = await self.client.update(REPLICA_SETS, changed)
        self._expectations.wrote(key_of(deployment), self._replica_sets, updated)
        return updated

    async def _clean_up(self, deployment: Object, old: Sequence[Object]) -> None:
        for rs in rollout.plan_cleanup(deployment, old):
            try:
                await self.client.delete(REPLICA_SETS, name_of(rs), namespace_of(rs), uid=uid_of(rs))
            except errors.NotFound:
                continue
            self._expectations.deleted(key_of(deployment), self._replica_sets, rs)

    async def _report(self, deployment: Object, old: list[Object], new: Object | None) -> float | None:
        everything = self._refresh([*old, new] if new is not None else old)
        new = next((rs for rs in everything if new is not None and uid_of(rs) == uid_of(new)), None)
        now = self.clock.now()
        status = progress.plan_rollout_status(deployment, everything, new, now)
        await self._write_status(deployment, status)
        return progress.seconds_to_deadline(deployment, status, now)

    def _refresh(self, replica_sets: Sequence[Object]) -> list[Object]:
        """The ReplicaSets as the cache has them after our writes; those that it lacks as we know them."""
        return [self._replica_sets.get(key_of(rs)) or rs for rs in replica_sets]

    def _settled_status(self, deployment: Object, owned: list[Object]) -> dict[str, Any]:
        new = revisions.find_new(deployment, owned)
        return progress.plan_status(deployment, owned, new, self.clock.now())

    async def _write_status(self, deployment: Object, status: dict[str, Any]) -> Object:
        if status == (deployment.get("status") or {}):
            return deployment
        return await self._update_status(with_status(deployment, status))

    async def _write_condition(self, deployment: Object, condition: dict[str, Any]) -> Object:
        conditions = progress.set_condition(progress.conditions_of(deployment), condition)
        return await self._write_status(deployment, {**(deployment.get("status") or {}), "conditions": conditions})

    async def _write_revision(
        self, deployment: Object, revision: str | None, condition: dict[str, Any] | None
    ) -> Object:
        """Write the revision annotation and a Progressing condition, both through the status subresource."""
        status = dict(deployment.get("status") or {})
        if condition is not None:
            status["conditions"] = progress.set_condition(progress.conditions_of(deployment), condition)
        annotations = annotations_of(deployment)
        is_current = revision is None or annotations.get(revisions.REVISION) == revision
        if is_current and status == (deployment.get("status") or {}):
            return deployment
        changed = with_status(deployment, status)
        if revision is not None:
            annotations = {**annotations, revisions.REVISION: revision}
            changed["metadata"] = {**deployment["metadata"], "annotations": annotations}
        return await self._update_status(changed)

    async def _update_status(self, changed: Object) -> Object:
        updated = await self.client.update_status(DEPLOYMENTS, changed)
        self._expectations.wrote(key_of(updated), self._deployments, updated)
        return updated


def _selector(deployment: Object) -> LabelSelector:
    return from_label_selector(deployment["spec"].get("selector"))
