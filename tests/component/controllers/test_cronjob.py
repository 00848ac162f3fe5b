"""CronJobs on a running cluster whose time the test moves."""

from __future__ import annotations

from typing import Any

from orchestrator.api.objects import Object, annotations_of, controller_of, is_terminating, name_of
from orchestrator.api.resources import CRON_JOBS, EVENTS, JOBS, PODS

from .conftest import TimedStage, template

MINUTE = 60.0
HOUR = 60 * MINUTE


def cron_job(schedule: str = "*/10 * * * *", **spec: Any) -> Object:
    """The CronJob `c` in `default`."""
    pod = template("c")
    pod["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "c", "namespace": "default"},
        "spec": {"schedule": schedule, "jobTemplate": {"spec": {"template": pod, "backoffLimit": 0}}, **spec},
    }


async def jobs_of(timed: TimedStage) -> list[Object]:
    jobs: list[Object] = (await timed.client.list(JOBS, "default"))["items"]
    return sorted((job for job in jobs if not is_terminating(job)), key=name_of)


async def the_cron_job(timed: TimedStage) -> Object:
    return await timed.client.get(CRON_JOBS, "c", "default")


async def reasons(timed: TimedStage) -> set[str]:
    events = (await timed.client.list(EVENTS, "default"))["items"]
    return {e["reason"] for e in events if e["source"]["component"] == "cronjob-controller"}


async def test_a_job_for_each_time_and_the_history_stays_short(timed: TimedStage) -> None:
    timed.exit_code = lambda pod: 0
    await timed.client.create(CRON_JOBS, cron_job())
    await timed.after(5 * MINUTE)
    assert await jobs_of(timed) == []
    await timed.after(6 * MINUTE)
    (job,) = await jobs_of(timed)
    minutes = int(timed.clock.now().timestamp()) // 60 - 1
    assert name_of(job) == f"c-{minutes}"
    assert annotations_of(job)["batch.kubernetes.io/cronjob-scheduled-timestamp"] == "2026-01-01T12:10:00Z"
    assert controller_of(job)["kind"] == "CronJob"  # type: ignore[index]
    await timed.after(2 * HOUR)
    assert len(await jobs_of(timed)) == 3
    one = await the_cron_job(timed)
    assert one["status"]["lastScheduleTime"] == "2026-01-01T14:10:00Z"
    assert one["status"]["lastSuccessfulTime"] == "2026-01-01T14:10:00Z"
    assert "active" not in one["status"]
    assert len((await timed.client.list(PODS, "default"))["items"]) == 3
    assert {"SuccessfulCreate", "SawCompletedJob", "SuccessfulDelete"} <= await reasons(timed)


async def test_jobs_may_overlap_unless_forbidden(timed: TimedStage) -> None:
    await timed.client.create(CRON_JOBS, cron_job())
    await timed.after(31 * MINUTE)
    assert len(await jobs_of(timed)) == 3
    assert len((await the_cron_job(timed))["status"]["active"]) == 3


async def test_forbid_starts_the_missed_one_when_the_running_one_ends(timed: TimedStage) -> None:
    await timed.client.create(CRON_JOBS, cron_job(concurrencyPolicy="Forbid"))
    await timed.after(25 * MINUTE)
    (job,) = await jobs_of(timed)
    assert "JobAlreadyActive" in await reasons(timed)
    (pod,) = (await timed.client.list(PODS, "default"))["items"]
    await timed.finish(pod)
    await timed.after(1)
    first, second = await jobs_of(timed)
    assert name_of(first) == name_of(job)
    assert annotations_of(second)["batch.kubernetes.io/cronjob-scheduled-timestamp"] == "2026-01-01T12:20:00Z"


async def test_replace_ends_the_running_one(timed: TimedStage) -> None:
    await timed.client.create(CRON_JOBS, cron_job(concurrencyPolicy="Replace"))
    await timed.after(11 * MINUTE)
    (first,) = await jobs_of(timed)
    await timed.after(10 * MINUTE)
    (second,) = await jobs_of(timed)
    assert name_of(first) != name_of(second)
    (reference,) = (await the_cron_job(timed))["status"]["active"]
    assert reference["name"] == name_of(second)


async def test_suspend_and_resume(timed: TimedStage) -> None:
    await timed.client.create(CRON_JOBS, cron_job(suspend=True, startingDeadlineSeconds=30))
    await timed.after(25 * MINUTE)
    assert await jobs_of(timed) == []
    await timed.client.patch(CRON_JOBS, "c", {"spec": {"suspend": False}}, "default")
    await timed.after(1)
    assert await jobs_of(timed) == []  # the missed ones are too old by now
    await timed.after(6 * MINUTE)
    assert len(await jobs_of(timed)) == 1


async def test_without_a_deadline_a_missed_time_is_made_up_for_once(timed: TimedStage) -> None:
    await timed.client.create(CRON_JOBS, cron_job(suspend=True))
    await timed.after(25 * MINUTE)
    await timed.client.patch(CRON_JOBS, "c", {"spec": {"suspend": False}}, "default")
    await timed.after(1)
    (job,) = await jobs_of(timed)
    assert annotations_of(job)["batch.kubernetes.io/cronjob-scheduled-timestamp"] == "2026-01-01T12:20:00Z"


async def test_the_schedule_follows_its_time_zone(timed: TimedStage) -> None:
    await timed.client.create(CRON_JOBS, cron_job("0 18 * * *", timeZone="Asia/Kolkata"))
    await timed.after(29 * MINUTE)
    assert await jobs_of(timed) == []
    await timed.after(2 * MINUTE)
    (job,) = await jobs_of(timed)
    assert annotations_of(job)["batch.kubernetes.io/cronjob-scheduled-timestamp"] == "2026-01-01T18:00:00+05:30"


async def test_failed_jobs_have_a_limit_of_their_own(timed: TimedStage) -> None:
    timed.exit_code = lambda pod: 1
    await timed.client.create(CRON_JOBS, cron_job(failedJobsHistoryLimit=2))
    await timed.after(61 * MINUTE)
    assert len(await jobs_of(timed)) == 2
    assert "lastSuccessfulTime" not in (await the_cron_job(timed))["status"]


async def test_a_job_that_somebody_deletes_is_not_active_any_more(timed: TimedStage) -> None:
    await timed.client.create(CRON_JOBS, cron_job())
    await timed.after(11 * MINUTE)
    (job,) = await jobs_of(timed)
    await timed.client.delete(JOBS, name_of(job), "default", propagation_policy="Background")
    await timed.after(1)
    assert "active" not in (await the_cron_job(timed))["status"]
    assert "MissingJob" in await reasons(timed)
    assert await jobs_of(timed) == []


async def test_a_new_schedule_counts_at_once(timed: TimedStage) -> None:
    await timed.client.create(CRON_JOBS, cron_job("0 0 1 1 *"))
    await timed.after(HOUR)
    await timed.client.patch(CRON_JOBS, "c", {"spec": {"schedule": "@hourly"}}, "default")
    await timed.after(HOUR)
    assert len(await jobs_of(timed)) >= 1
