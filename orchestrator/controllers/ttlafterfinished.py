"""Delete Jobs some time after they finished. Mirrors ttl-after-finished-controller."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from orchestrator.api import errors
from orchestrator.api.objects import Object, is_terminating, name_of, namespace_of, resource_version_of, uid_of
from orchestrator.api.resources import JOBS
from orchestrator.component.controller import Controller
from orchestrator.controllers.pods import time_of


def plan_expiry(job: Object) -> datetime | None:
    """When a finished Job is to be deleted; None for one that still runs or may stay."""
    seconds = (job.get("spec") or {}).get("ttlSecondsAfterFinished")
    if seconds is None or is_terminating(job):
        return None
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            finished = time_of(condition.get("lastTransitionTime"))
            return finished + timedelta(seconds=seconds) if finished is not None else None
    return None


class TTLAfterFinishedController(Controller):
    """Each finished Job with a TTL has one timer."""

    name: ClassVar[str] = "ttl-after-finished"

    def setup(self) -> None:
        """Jobs by key."""
        self._jobs = self.informer(JOBS)
        self._jobs.add_handler(self._on_job)

    def _on_job(self, old: Object | None, new: Object | None) -> None:
        if new is not None and plan_expiry(new) is not None:
            self.enqueue_object(old, new)

    async def reconcile(self, key: str) -> float | None:
        """Delete the Job when its time has come, with its pods."""
        job = self._jobs.get(key)
        expiry = plan_expiry(job) if job is not None else None
        if job is None or expiry is None:
            return None
        left = (expiry - self.clock.now()).total_seconds()
        if left > 0:
            return left
        try:
            # The TTL may have been raised since: the API has the last word before something is deleted.
            live = await self.client.get(JOBS, name_of(job), namespace_of(job))
            expiry = plan_expiry(live)
            if uid_of(live) != uid_of(job) or expiry is None or expiry > self.clock.now():
                return None
            await self.client.delete(
                JOBS,
                name_of(live),
                namespace_of(live),
                uid=uid_of(live),
                resource_version=resource_version_of(live),
                propagation_policy="Foreground",
            )
        except errors.NotFound:
            return None
        return None
