"""The CronJob controller's shell: one timer for each CronJob, one Job for each time."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from prometheus_client import Histogram

from orchestrator.aiokit.clock import format_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, controller_of, key_of, name_of, namespace_of, uid_of
from orchestrator.api.resources import CRON_JOBS, JOBS
from orchestrator.component.controller import Controller
from orchestrator.component.metrics import REGISTRY, doubling
from orchestrator.controllers.conditions import with_status
from orchestrator.controllers.cronjob.plan import (
    job_name,
    new_job,
    plan_history,
    plan_review,
    plan_start,
    reference_to,
)
from orchestrator.controllers.expectations import RECHECK_SECONDS, Expectations
from orchestrator.controllers.ownership import CONTROLLER_INDEX, index_by_controller, owner_in_cache
from orchestrator.controllers.pods import created_at
from orchestrator.controllers.replicas import is_namespace_terminating

_CREATION_SKEW = Histogram(
    "cronjob_controller_job_creation_skew_duration_seconds", "From the time of a schedule to the creation of its Job.",
    registry=REGISTRY, buckets=doubling(1, 10),
)  # fmt: skip


class CronJobController(Controller):
    """Keys are CronJobs; each comes back when its schedule is due."""

    name: ClassVar[str] = "cronjob"

    def setup(self) -> None:
        """CronJobs by key, Jobs by controller."""
        self._cron_jobs = self.informer(CRON_JOBS)
        self._jobs = self.informer(JOBS)
        self._jobs.add_index(CONTROLLER_INDEX, index_by_controller)
        self._expectations = Expectations()
        self._cron_jobs.add_handler(self.enqueue_object)
        self._jobs.add_handler(self._on_job)

    def _on_job(self, old: Object | None, new: Object | None) -> None:
        for job in (old, new):
            owner = owner_in_cache(job, self._cron_jobs)
            if owner is not None:
                self.queue.add(key_of(owner))

    async def reconcile(self, key: str) -> float | None:
        """Follow the Jobs, clean up, start the one that is due."""
        one = self._cron_jobs.get(key)
        if one is None:
            self._expectations.forget(key)
            return None
        if not self._expectations.is_fulfilled(key):
            return RECHECK_SECONDS
        jobs = {uid_of(job): job for job in self._jobs.by_index(CONTROLLER_INDEX, uid_of(one))}
        review = plan_review(one, jobs, await self._gone(one, jobs))
        for event in review.events:
            self.recorder.event(one, *event)
        if review.status != (one.get("status") or {}):
            one = await self._write_status(one, review.status)
        # Only after the status tells of them: a run that nothing tells of any more would be started again.
        for job in plan_history(one, [*jobs.values()]):
            await self._delete(one, job)
        start = plan_start(one, self.clock.now())
        for event in start.events:
            self.recorder.event(one, *event)
        if start.at is not None:
            await self._start(one, start.at)
        return start.again_seconds

    async def _gone(self, one: Object, jobs: dict[str, Object]) -> list[str]:
        """The uids of active Jobs that neither the cache nor the API knows."""
        gone: list[str] = []
        for reference in (one.get("status") or {}).get("active") or ():
            if reference["uid"] in jobs:
                continue
            try:
                live = await self.client.get(JOBS, reference["name"], namespace_of(one))
            except errors.NotFound:
                gone.append(reference["uid"])
            else:
                if uid_of(live) != reference["uid"]:
                    gone.append(reference["uid"])
        return gone

    async def _start(self, one: Object, at: datetime) -> None:
        status = one.get("status") or {}
        active = list(status.get("active") or ())
        if any(reference["name"] == job_name(one, at) for reference in active):
            return
        policy = one["spec"].get("concurrencyPolicy") or "Allow"
        if policy == "Forbid" and active:
            # Not started now, but not forgotten: it starts when the other one ends, if it is not too late then.
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self.recorder.event(one, "Normal", "JobAlreadyActive", message)
            return
        if policy == "Replace":
            for reference in active:
                job = self._jobs.get(f"{namespace_of(one)}/{reference['name']}")
                if job is not None and uid_of(job) == reference["uid"]:
                    await self._delete(one, job)
            active = []
        created = await self._create(one, at)
        if created is None:
            return
        active.append(reference_to(created))
        await self._write_status(one, {**status, "active": active, "lastScheduleTime": format_time(at)})

    async def _create(self, one: Object, at: datetime) -> Object | None:
        planned = new_job(one, at)
        try:
            created = await self.client.create(JOBS, planned)
        except errors.AlreadyExists:
            # Made by us before a restart, and the status that names it was not written any more.
            present = await self.client.get(JOBS, name_of(planned), namespace_of(planned))
            reference = controller_of(present)
            if reference is None or reference["uid"] != uid_of(one):
                raise
            return present
        except errors.ApiError as error:
            if is_namespace_terminating(error):
                return None
            self.recorder.event(one, "Warning", "FailedCreate", f"Error creating job: {error.message}")
            raise
        self._expectations.wrote(key_of(one), self._jobs, created)
        _CREATION_SKEW.observe((created_at(created) - at).total_seconds())
        self.recorder.event(one, "Normal", "SuccessfulCreate", f"Created job {name_of(created)}")
        return created

    async def _delete(self, one: Object, job: Object) -> None:
        try:
            await self.client.delete(
                JOBS, name_of(job), namespace_of(job), uid=uid_of(job), propagation_policy="Background"
            )
        except errors.NotFound:
            return
        except errors.ApiError as error:
            self.recorder.event(one, "Warning", "FailedDelete", f"Deleted job: {error.message}")
            raise
        self._expectations.deleted(key_of(one), self._jobs, job)
        self.recorder.event(one, "Normal", "SuccessfulDelete", f"Deleted job {name_of(job)}")

    async def _write_status(self, one: Object, status: dict[str, Any]) -> Object:
        updated = await self.client.update_status(CRON_JOBS, with_status(one, status))
        self._expectations.wrote(key_of(one), self._cron_jobs, updated)
        return updated
