"""CronJob. Mirrors registry/batch/cronjob, pkg/apis/batch and its printer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.api import fields
from orchestrator.api.errors import Cause
from orchestrator.api.kinds.apps.rollout_validation import non_negative
from orchestrator.api.kinds.batch.cron_schedule import ScheduleError, parse_schedule
from orchestrator.api.kinds.batch.job import default_job_template, validate_job_template_spec, warn_job_spec
from orchestrator.api.kinds.columns import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    NONE,
    age,
    container_cells,
    count,
    dig,
    format_label_selector,
    ref,
    translate_timestamp_since,
)
from orchestrator.api.kinds.core.pod_warnings import warn_pod_names
from orchestrator.api.kinds.defaulting import clear_status, fill, fill_empty, struct
from orchestrator.api.kinds.descriptor import Column, Kind
from orchestrator.api.objects import Object, name_of
from orchestrator.api.resources import CRON_JOBS

_NAME_BYTES_MAX = 52
"""A Job's name adds eleven characters."""
_POLICIES = ("Allow", "Forbid", "Replace")


def default_cron_job(obj: Object) -> None:
    """Jobs may overlap; three good ones and a failed one are kept."""
    spec = struct(obj, "spec")
    struct(obj, "status")
    fill_empty(spec, concurrencyPolicy="Allow")
    fill(spec, suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    struct(spec, "jobTemplate", "metadata")
    default_job_template(struct(spec, "jobTemplate", "spec"))


def validate_cron_job(obj: Object, old: Object | None = None) -> list[Cause]:
    """Schedule, policies, template, name."""
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    schedule, zone = spec.get("schedule") or "", spec.get("timeZone")
    if not schedule:
        causes.append(fields.required("spec.schedule"))
    else:
        causes += _validate_schedule(schedule, zone, old)
    causes += non_negative(spec, "startingDeadlineSeconds", "spec")
    policy = spec.get("concurrencyPolicy") or ""
    if not policy:
        causes.append(fields.required("spec.concurrencyPolicy"))
    elif policy not in _POLICIES:
        causes.append(fields.not_supported("spec.concurrencyPolicy", policy, _POLICIES))
    if zone is not None and (old is None or zone != dig(old, "spec", "timeZone")):
        causes += _validate_zone(zone)
    causes += non_negative(spec, "successfulJobsHistoryLimit", "spec")
    causes += non_negative(spec, "failedJobsHistoryLimit", "spec")
    template = (spec.get("jobTemplate") or {}).get("spec") or {}
    path = "spec.jobTemplate.spec"
    if template.get("manualSelector"):
        causes.append(fields.not_supported(f"{path}.manualSelector", True, ("nil", "false")))
    if template.get("selector") is not None:
        causes.append(fields.invalid(f"{path}.selector", template["selector"], "`selector` will be auto-generated"))
    causes += validate_job_template_spec(template, path)
    if old is None and len(name_of(obj)) > _NAME_BYTES_MAX:
        causes.append(
            fields.invalid("metadata.name", name_of(obj), f"must be no more than {_NAME_BYTES_MAX} characters")
        )
    return causes


def _validate_schedule(schedule: str, zone: str | None, old: Object | None) -> list[Cause]:
    try:
        parsed = parse_schedule(schedule)
    except ScheduleError as error:
        return [fields.invalid("spec.schedule", schedule, str(error))]
    if "TZ" in schedule and parsed.time_zone:
        if zone is not None:
            return [
                fields.invalid(
                    "spec.schedule",
                    schedule,
                    "cannot use both timeZone field and TZ or CRON_TZ in schedule",
                )
            ]
        if old is None or "TZ" not in (dig(old, "spec", "schedule") or ""):
            return [
                fields.invalid(
                    "spec.schedule", schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
                )
            ]
    return []


def _validate_zone(zone: str) -> list[Cause]:
    path = "spec.timeZone"
    if not zone:
        return [fields.invalid(path, zone, "timeZone must be nil or non-empty string")]
    if zone.lower() == "local":
        return [
            fields.invalid(
                path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
            )
        ]
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return [fields.invalid(path, zone, f"unknown time zone {zone}")]
    return []


def validate_cron_job_update(new: Object, old: Object) -> list[Cause]:
    """As for a new one; a stored name may be long and a stored zone unknown."""
    return validate_cron_job(new, old)


def _row(obj: Object, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    last = status.get("lastScheduleTime")
    return [
        name_of(obj),
        spec.get("schedule") or "",
        spec.get("timeZone") or NONE,
        "True" if spec.get("suspend") else "False",
        count(status.get("active")),
        translate_timestamp_since(last, now) if last else NONE,
        age(obj, now),
        *container_cells(dig(obj, "spec", "jobTemplate", "spec", "template", "spec")),
        format_label_selector(dig(obj, "spec", "jobTemplate", "spec", "selector")),
    ]


def _warn(new: Object, old: Object | None) -> list[str]:
    warnings = warn_pod_names(new) if old is None else []
    spec = new["spec"]
    if old is None or spec != old["spec"]:
        warnings += warn_job_spec(dig(spec, "jobTemplate", "spec") or {}, "spec.jobTemplate.spec")
    if old is not None and "TZ" in (spec.get("schedule") or ""):
        warnings.append(
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see"
            " https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )
    return warnings


CRON_JOB = Kind(
    CRON_JOBS,
    "io.k8s.api.batch.v1.CronJob",
    "cronjob",
    short_names=("cj",),
    categories=("all",),
    has_status=True,
    has_generation=True,
    default=default_cron_job,
    prepare_create=clear_status,
    validate=validate_cron_job,
    validate_update=validate_cron_job_update,
    warn=_warn,
    columns=(
        NAME,
        Column("Schedule", description=ref("batch.v1.CronJobSpec", "schedule")),
        Column("Timezone", description=ref("batch.v1.CronJobSpec", "timeZone")),
        Column("Suspend", "boolean", description=ref("batch.v1.CronJobSpec", "suspend")),
        Column("Active", "integer", description=ref("batch.v1.CronJobStatus", "active")),
        Column("Last Schedule", description=ref("batch.v1.CronJobStatus", "lastScheduleTime")),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", description=ref("batch.v1.JobSpec", "selector"), priority=1),
    ),
    row=_row,
)
