"""CronJobs: what starts when, what the status says, what goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.aiokit.clock import format_time
from orchestrator.controllers.cronjob.plan import new_job, plan_history, plan_review, plan_start

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def cron_job(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": {"template": {}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "c", "namespace": "d", "uid": "C", "creationTimestamp": "2026-01-01T11:00:00Z"},
        "spec": {"schedule": "0 * * * *", "jobTemplate": template, **spec},
        "status": status or {},
    }


@pytest.mark.parametrize(
    ("spec", "status", "now", "due", "wait", "reasons"),
    [
        ({}, {}, "11:30", None, 1800, []),
        ({}, {}, "12:00", "12:00", 3600, []),
        ({}, {"lastScheduleTime": "2026-01-01T12:00:00Z"}, "12:30", None, 1800, []),
        ({}, {"lastScheduleTime": "2026-01-01T12:00:00Z"}, "13:00", "13:00", 3600, []),
        ({}, {}, "15:10", "15:00", 3000, []),
        ({"suspend": True}, {}, "12:00", None, None, []),
        ({"startingDeadlineSeconds": 60}, {}, "12:01", None, 3540, []),
        ({"startingDeadlineSeconds": 600}, {}, "12:01", "12:00", 3540, []),
        ({"schedule": "* * * * *"}, {}, "13:30", "13:30", 60, ["TooManyMissedTimes"]),
        ({"schedule": "nonsense"}, {}, "12:00", None, None, ["UnparseableSchedule"]),
        ({"schedule": "TZ=UTC 0 * * * *"}, {}, "11:30", None, 1800, ["UnsupportedSchedule"]),
        ({"timeZone": "Nowhere/At_All"}, {}, "12:00", None, None, ["UnknownTimeZone"]),
        ({"schedule": "0 18 * * *", "timeZone": "Asia/Kolkata"}, {}, "12:30", "12:30", 86400, []),
    ],
)
def test_start(
    spec: dict[str, Any], status: dict[str, Any], now: str, due: str | None, wait: float | None, reasons: list[str]
) -> None:
    hours, minutes = map(int, now.split(":"))
    start = plan_start(cron_job(status, **spec), NOON.replace(hour=hours, minute=minutes))
    assert (start.at.strftime("%H:%M") if start.at else None) == due
    assert start.again_seconds == (None if wait is None else wait + 0.1)
    assert [reason for _, reason, _ in start.events] == reasons


def test_a_job_is_named_after_its_minute_and_knows_its_time() -> None:
    job = new_job(cron_job(timeZone="Asia/Kolkata"), NOON)
    assert job["metadata"]["name"] == f"c-{int(NOON.timestamp()) // 60}"
    assert job["metadata"]["annotations"] == {
        "c": "d", "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-01-01T17:30:00+05:30"}  # fmt: skip
    assert job["metadata"]["labels"] == {"a": "b"}
    assert job["metadata"]["ownerReferences"][0]["uid"] == "C"
    plain = new_job(cron_job(), NOON)
    assert plain["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"] == "2026-01-01T12:00:00Z"


def job(name: str, outcome: str = "", minutes: int = 0) -> dict[str, Any]:
    moment = format_time(NOON + timedelta(minutes=minutes))
    status: dict[str, Any] = {"startTime": moment}
    if outcome:
        status["conditions"] = [{"type": outcome, "status": "True"}]
    if outcome == "Complete":
        status["completionTime"] = moment
    return {"metadata": {"name": name, "namespace": "d", "uid": name}, "status": status}


def test_review() -> None:
    status = {"active": [{"uid": "a", "name": "a"}, {"uid": "b", "name": "b"}, {"uid": "x", "name": "x"}]}
    jobs = {one["metadata"]["uid"]: one for one in (job("a", "Complete", 5), job("b"), job("c"), job("d", "Failed"))}
    review = plan_review(cron_job(status), jobs, ["x"])
    assert review.status == {
        "active": [{"uid": "b", "name": "b"}], "lastSuccessfulTime": "2026-01-01T12:05:00Z"}  # fmt: skip
    assert review.events == [
        ("Normal", "SawCompletedJob", "Saw completed job: a, condition: Complete"),
        ("Normal", "MissingJob", "Active job went missing: x"),
        ("Warning", "UnexpectedJob", "Saw a job that the controller did not create or forgot: c"),
    ]


def run_of(at: datetime, outcome: str = "") -> dict[str, Any]:
    """The Job that the controller itself makes for a time."""
    made, seen = new_job(cron_job(), at), job("run", outcome)
    return {**made, "metadata": {**made["metadata"], "uid": "run"}, "status": seen["status"]}


def test_a_run_that_the_status_does_not_name_is_taken_up() -> None:
    run = run_of(NOON)
    review = plan_review(cron_job(), {"run": run})
    assert [one["uid"] for one in review.status["active"]] == ["run"]
    assert review.status["lastScheduleTime"] == "2026-01-01T12:00:00Z"
    assert plan_start(cron_job(review.status), NOON).at is None
    assert [reason for _, reason, _ in review.events] == ["UnexpectedJob"]
    assert plan_review(cron_job(review.status), {"run": run}).status == review.status


def test_a_run_that_ended_unseen_is_not_started_again() -> None:
    review = plan_review(cron_job(), {"run": run_of(NOON, "Failed")})
    assert review.status == {"lastScheduleTime": "2026-01-01T12:00:00Z"}


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": "by-hand"},
        {"annotations": {"cronjob.kubernetes.io/instantiate": "manual"}},
        {"annotations": {"batch.kubernetes.io/cronjob-scheduled-timestamp": "no time"}},
        {"deletionTimestamp": "2026-01-01T12:00:10Z"},
    ],
)
def test_what_is_no_run_of_the_schedule_or_is_going_is_not_taken_up(metadata: dict[str, Any]) -> None:
    run = run_of(NOON)
    status = plan_review(cron_job(), {"run": {**run, "metadata": {**run["metadata"], **metadata}}}).status
    assert "active" not in status


@pytest.mark.parametrize(
    ("successful", "failed", "expected"),
    [(3, 1, []), (1, 1, ["a", "b"]), (0, 0, ["a", "b", "c", "f"]), (None, None, []), (2, 0, ["a", "f"])],
)
def test_history(successful: int | None, failed: int | None, expected: list[str]) -> None:
    jobs = [job("c", "Complete", 3), job("a", "Complete", 1), job("b", "Complete", 2), job("f", "Failed"), job("r")]
    one = cron_job(successfulJobsHistoryLimit=successful, failedJobsHistoryLimit=failed)
    assert [old["metadata"]["name"] for old in plan_history(one, jobs)] == expected
