"""The Job controller's shell: status first, then finalizers, then pods."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

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
from orchestrator.api.resources import JOBS, PODS
from orchestrator.api.selectors import LabelSelector, from_label_selector
from orchestrator.component.controller import Controller
from orchestrator.controllers.conditions import with_status
from orchestrator.controllers.expectations import RECHECK_SECONDS, Expectations
from orchestrator.controllers.job import metrics
from orchestrator.controllers.job.plan import plan_job
from orchestrator.controllers.job.pods import plan_memory
from orchestrator.controllers.job.state import FINALIZER, MANAGED_BY, JobPlan, Look, finished_condition, has_finalizer
from orchestrator.controllers.ownership import (
    CONTROLLER_INDEX,
    claim,
    controlled_by,
    controlled_or_orphaned,
    index_by_controller,
    owner_in_cache,
)
from orchestrator.controllers.replicas import PodControl, all_of, is_namespace_terminating, slow_start
from orchestrator.controllers.selecting import add_selector_index, selecting

_ORPHAN = "orphan:"


class JobController(Controller):
    """Keys are Jobs, or `orphan:<pod>` for a tracked pod whose Job is gone."""

    name: ClassVar[str] = "job"

    def setup(self) -> None:
        """Jobs by key, pods by controller; pods of Jobs that are gone by themselves."""
        self._jobs = self.informer(JOBS)
        self._pods = self.informer(PODS)
        self._pods.add_index(CONTROLLER_INDEX, index_by_controller)
        add_selector_index(self._jobs, _selector)
        self._expectations = Expectations()
        self._control = PodControl(self, self._pods, self._expectations)
        self._failures: dict[str, dict[str, datetime]] = {}
        """By Job, when its pods failed since the last success; lost with the process, as in Kubernetes."""
        self._jobs.add_handler(self._on_job)
        self._pods.add_handler(self._on_pod)

    def _on_job(self, old: Object | None, new: Object | None) -> None:
        self.enqueue_object(old, new)
        if new is None and old is not None:
            for pod in self._pods.by_index(CONTROLLER_INDEX, uid_of(old)):
                self.queue.add(_ORPHAN + key_of(pod))

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        for pod in (old, new):
            owner = owner_in_cache(pod, self._jobs)
            if owner is not None:
                self.queue.add(key_of(owner))
        if new is None:
            return
        if has_finalizer(new) and owner_in_cache(new, self._jobs) is None:
            self.queue.add(_ORPHAN + key_of(new))
        elif controller_of(new) is None and not is_terminating(new):
            if old is not None and controller_of(old) is None and labels_of(old) == labels_of(new):
                return
            for job in selecting(self._jobs, new, _selector):
                self.queue.add(key_of(job))

    async def reconcile(self, key: str) -> float | None:
        """Apply the plan for one Job."""
        if key.startswith(_ORPHAN):
            await self._release_orphan(key.removeprefix(_ORPHAN))
            return None
        job = self._jobs.get(key)
        if job is None:
            self._expectations.forget(key)
            self._failures.pop(key, None)
            return None
        if (job["spec"].get("managedBy") or MANAGED_BY) != MANAGED_BY:
            return None
        started = self.clock.monotonic()
        is_current = self._expectations.is_fulfilled(key)
        selector = _selector(job)
        # A Job that is over takes nothing up any more: it would only be deleted.
        is_over = finished_condition(job.get("status") or {}) is not None
        candidates = controlled_by(self._pods, job) if is_over else controlled_or_orphaned(self._pods, job)
        pods = await claim(self.client, JOBS, job, selector, PODS, candidates)
        now, remembered = self.clock.now(), self._failures.pop(key, {})
        plan = plan_job(job, pods, now, may_manage=is_current, remembered=remembered)
        if not is_over and (failures := plan_memory(Look(job, pods, now, remembered))):
            self._failures[key] = failures
        is_success = False
        try:
            job = await self._write_status(job, plan)
            await self._apply(job, plan)
            is_success = True
        finally:
            metrics.count_sync(job, plan, self.clock.monotonic() - started, is_success=is_success)
        return plan.again_seconds if is_current else RECHECK_SECONDS

    async def _write_status(self, job: Object, plan: JobPlan) -> Object:
        before = job.get("status") or {}
        if plan.status == before:
            return job
        job = await self.client.update_status(JOBS, with_status(job, plan.status))
        self._expectations.wrote(key_of(job), self._jobs, job)
        metrics.count_change(job, before, plan.status)
        for event_type, reason, message in plan.events:
            self.recorder.event(job, event_type, reason, message)
        return job

    async def _apply(self, job: Object, plan: JobPlan) -> None:
        # Only now, with the status written: a pod that is released may be gone the next moment.
        for pod in plan.release:
            await self._release(pod)
        deletions = [lambda pod=pod: self._control.delete(job, pod) for pod in plan.delete]
        failures = [one for one in await all_of(deletions) if isinstance(one, errors.ApiError)]
        for pod in plan.hold:
            await self._hold(job, pod)
        if plan.create:
            pods = iter(plan.create)
            _, failure = await slow_start(len(plan.create), lambda: self._control.create(job, next(pods)))
            if failure is not None and not is_namespace_terminating(failure):
                failures.append(failure)
        if failures:
            raise failures[0]

    async def _hold(self, job: Object, pod: Object) -> None:
        finalizers = [*(pod["metadata"].get("finalizers") or ()), FINALIZER]
        metadata = {"resourceVersion": resource_version_of(pod), "finalizers": finalizers}
        try:
            held = await self.client.patch(PODS, name_of(pod), {"metadata": metadata}, namespace_of(pod))
        except errors.NotFound:
            return
        self._expectations.wrote(key_of(job), self._pods, held)

    async def _release(self, pod: Object) -> None:
        kept = [one for one in pod["metadata"].get("finalizers") or () if one != FINALIZER]
        metadata = {"resourceVersion": resource_version_of(pod), "finalizers": kept or None}
        try:
            await self.client.patch(PODS, name_of(pod), {"metadata": metadata}, namespace_of(pod))
        except errors.NotFound:
            return

    async def _release_orphan(self, key: str) -> None:
        pod = self._pods.get(key)
        if pod is None or not has_finalizer(pod) or owner_in_cache(pod, self._jobs) is not None:
            return
        reference = controller_of(pod)
        if reference is not None and reference["kind"] == "Job":
            try:
                live = await self.client.get(JOBS, reference["name"], namespace_of(pod))
            except errors.NotFound:
                pass
            else:
                if uid_of(live) == reference["uid"]:
                    return
        await self._release(pod)


def _selector(job: Object) -> LabelSelector:
    return from_label_selector(job["spec"].get("selector"))
