"""Which Job of a CronJob starts now, what its status says, and which finished Jobs go. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct, field

from orchestrator.aiokit.clock import format_time
from orchestrator.api.kinds.batch.cron_schedule import ScheduleError, parse_schedule
from orchestrator.api.objects import (
    Object,
    annotations_of,
    copy_object,
    is_terminating,
    name_of,
    namespace_of,
    owner_reference,
    resource_version_of,
    uid_of,
)
from orchestrator.controllers.cronjob.schedule import most_recent_time, next_time
from orchestrator.controllers.pods import created_at, time_of

SCHEDULED_ANNOTATION = "batch.kubernetes.io/cronjob-scheduled-timestamp"
MISSED_MAX = 100
WAKE_DELAY_SECONDS = 0.1
"""Timers may fire a little early, and a schedule that is not quite due would be looked at twice."""

Event = tuple[str, str, str]


class Start(NamedTuple):
    """What the schedule says now."""

    at: datetime | None = None
    """The time whose Job should start now."""
    again_seconds: float | None = None
    events: tuple[Event, ...] = ()


def zone_of(cron_job: Object) -> tzinfo:
    """`spec.timeZone`, or UTC; ValueError names what is wrong with it."""
    zone = cron_job["spec"].get("timeZone")
    if not zone:
        return UTC
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"unknown time zone {zone}") from None


def plan_start(cron_job: Object, now: datetime) -> Start:
    """Whether a Job is due. An older time that was missed is made up for, unless it is too late for it."""
    spec = cron_job["spec"]
    if spec.get("suspend") or is_terminating(cron_job):
        return Start()
    try:
        zone = zone_of(cron_job)
    except ValueError as error:
        message = f'invalid timeZone: "{spec.get("timeZone")}": {error}'
        return Start(events=(("Warning", "UnknownTimeZone", message),))
    try:
        schedule = parse_schedule(spec["schedule"])
    except ScheduleError as error:
        message = f'unparseable schedule: "{spec["schedule"]}" : {error}'
        return Start(events=(("Warning", "UnparseableSchedule", message),))
    events: list[Event] = []
    if schedule.time_zone:
        zone = ZoneInfo(schedule.time_zone)
        message = (
            f'CRON_TZ or TZ used in schedule "{spec["schedule"]}" is not officially supported, see '
            "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )
        events.append(("Warning", "UnsupportedSchedule", message))
    deadline = spec.get("startingDeadlineSeconds")
    last = time_of((cron_job.get("status") or {}).get("lastScheduleTime"))
    since = last or created_at(cron_job)
    if deadline is not None:
        since = max(since, now - timedelta(seconds=deadline))
    due, missed = most_recent_time(schedule, since, now, zone)
    following = next_time(schedule, max(due or since, now if due is None else due), zone)
    wait = None if following is None else max(0.0, (following - now).total_seconds()) + WAKE_DELAY_SECONDS
    if due is None:
        return Start(again_seconds=wait, events=tuple(events))
    if missed > MISSED_MAX:
        message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        events.append(("Warning", "TooManyMissedTimes", message))
    if deadline is not None and due + timedelta(seconds=deadline) < now:
        text = due.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
        events.append(("Warning", "MissSchedule", f"Missed scheduled time to start a job: {text}"))
        return Start(again_seconds=wait, events=tuple(events))
    if due == last:
        return Start(again_seconds=wait, events=tuple(events))
    return Start(due, wait, tuple(events))


def job_name(cron_job: Object, at: datetime) -> str:
    """`<cron job>-<minutes since 1970>`: the same time always means the same Job."""
    return f"{name_of(cron_job)}-{int(at.timestamp()) // 60}"


def new_job(cron_job: Object, at: datetime) -> Object:
    """The Job for one time of the schedule."""
    template = copy_object(cron_job["spec"]["jobTemplate"])
    metadata = template.get("metadata") or {}
    local = at.astimezone(zone_of(cron_job))
    stamp = format_time(local) if local.utcoffset() == timedelta(0) else local.isoformat()
    meta: dict[str, Any] = {
        "name": job_name(cron_job, at),
        "namespace": namespace_of(cron_job),
        "annotations": {**(metadata.get("annotations") or {}), SCHEDULED_ANNOTATION: stamp},
        "ownerReferences": [owner_reference(cron_job)],
    }
    if metadata.get("labels"):
        meta["labels"] = metadata["labels"]
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": template.get("spec") or {}}


def scheduled_at(cron_job: Object, job: Object) -> datetime | None:
    """The time that a Job stands for; None unless it has the name that this controller gives the Job of that time.

    `kubectl create job --from=cronjob/...` makes Jobs that the CronJob owns too, and that are none of its runs.
    """
    try:
        at = time_of(annotations_of(job).get(SCHEDULED_ANNOTATION))
    except ValueError:
        return None
    return at if at is not None and name_of(job) == job_name(cron_job, at) else None


def reference_to(job: Object) -> dict[str, str]:
    """How `status.active` names a Job."""
    return {
        "kind": "Job",
        "namespace": namespace_of(job),
        "name": name_of(job),
        "uid": uid_of(job),
        "apiVersion": "batch/v1",
        "resourceVersion": resource_version_of(job),
    }


def outcome_of(job: Object) -> str:
    """`Complete`, `Failed`, or empty while the Job runs."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            return str(condition["type"])
    return ""


class Review(Struct):
    """What the Jobs say about their CronJob."""

    status: dict[str, Any]
    events: list[Event] = field(default_factory=list)


def plan_review(cron_job: Object, jobs: Mapping[str, Object], gone: Sequence[str] = ()) -> Review:
    """The status that follows from the Jobs (by uid); `gone`: uids of active ones that exist no more.

    A Job of the schedule that the status does not name was created just before a crash, or before the write of the
    status failed. It is taken up: the concurrency policy counts it, and its time is not started again.
    """
    status = copy_object(cron_job.get("status") or {})
    review = Review(status)
    active: list[dict[str, Any]] = []
    known: set[str] = set()
    for reference in status.get("active") or ():
        uid = reference.get("uid", "")
        known.add(uid)
        job = jobs.get(uid)
        if job is not None and (outcome := outcome_of(job)):
            message = f"Saw completed job: {name_of(job)}, condition: {outcome}"
            review.events.append(("Normal", "SawCompletedJob", message))
        elif job is None and uid in gone:
            message = f"Active job went missing: {reference.get('name')}"
            review.events.append(("Normal", "MissingJob", message))
        else:
            active.append(reference)
    for uid, job in jobs.items():
        if uid not in known and not outcome_of(job):
            message = f"Saw a job that the controller did not create or forgot: {name_of(job)}"
            review.events.append(("Warning", "UnexpectedJob", message))
            if scheduled_at(cron_job, job) is not None and not is_terminating(job):
                active.append(reference_to(job))
    last = time_of(status.get("lastScheduleTime"))
    latest_run = max((at for job in jobs.values() if (at := scheduled_at(cron_job, job)) is not None), default=None)
    if latest_run is not None and (last is None or latest_run > last):
        status["lastScheduleTime"] = format_time(latest_run)
    ends = [(job.get("status") or {}).get("completionTime") for job in jobs.values() if outcome_of(job) == "Complete"]
    latest = max((end for end in (*ends, status.get("lastSuccessfulTime")) if end), default=None)
    if latest:
        status["lastSuccessfulTime"] = latest
    if active:
        status["active"] = active
    else:
        status.pop("active", None)
    return review


def plan_history(cron_job: Object, jobs: Sequence[Object]) -> list[Object]:
    """Finished Jobs beyond the history limits, the oldest first."""
    spec = cron_job["spec"]
    surplus: list[Object] = []
    for outcome, limit in (
        ("Complete", spec.get("successfulJobsHistoryLimit")),
        ("Failed", spec.get("failedJobsHistoryLimit")),
    ):
        if limit is None:
            continue
        finished = [job for job in jobs if outcome_of(job) == outcome and not is_terminating(job)]
        finished.sort(
            key=lambda job: (time_of((job.get("status") or {}).get("startTime")) or created_at(job), name_of(job))
        )
        surplus += finished[: max(0, len(finished) - limit)]
    return surplus
