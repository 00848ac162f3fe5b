"""Times of schedules, clock changes included."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.kinds.batch.cron_schedule import parse_schedule
from orchestrator.controllers.cronjob.schedule import most_recent_time, next_time


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("* * * * *", "2026-01-01T00:00:00", "2026-01-01T00:01:00"),
        ("* * * * *", "2026-01-01T00:00:59", "2026-01-01T00:01:00"),
        ("*/15 * * * *", "2026-01-01T00:50:00", "2026-01-01T01:00:00"),
        ("5/20 * * * *", "2026-01-01T00:26:00", "2026-01-01T00:45:00"),
        ("0 0 * * *", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        ("30 4 1 * *", "2026-01-31T00:00:00", "2026-02-01T04:30:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 31 12 *", "2026-12-31T00:00:00", "2027-12-31T00:00:00"),
        ("0 0 * * mon", "2026-01-01T00:00:00", "2026-01-05T00:00:00"),
        ("0 0 * * 0", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("0 0 13 * fri", "2026-01-03T00:00:00", "2026-01-09T00:00:00"),  # either of the two days
        ("0 0 ? * fri", "2026-01-03T00:00:00", "2026-01-09T00:00:00"),
        ("0 9-17/4 * * 1-5", "2026-01-02T17:00:00", "2026-01-05T09:00:00"),
        ("@hourly", "2026-01-01T00:30:00", "2026-01-01T01:00:00"),
        ("@weekly", "2026-01-01T00:30:00", "2026-01-04T00:00:00"),
        ("@every 1h30m", "2026-01-01T00:30:00", "2026-01-01T02:00:00"),
    ],
)
def test_next_time(schedule: str, after: str, expected: str) -> None:
    assert next_time(parse_schedule(schedule), utc(after), UTC) == utc(expected)


def test_a_day_that_never_comes_has_no_time() -> None:
    assert next_time(parse_schedule("0 0 30 2 *"), utc("2026-01-01T00:00:00"), UTC) is None


def times(schedule: str, start: str, zone: str, count: int) -> list[str]:
    moment, found = utc(start), []
    for _ in range(count):
        following = next_time(parse_schedule(schedule), moment, ZoneInfo(zone))
        assert following is not None
        moment = following
        found.append(moment.astimezone(ZoneInfo(zone)).strftime("%d %H:%M%z"))
    return found


def test_a_skipped_hour_has_no_times_and_a_repeated_one_has_them_twice() -> None:
    assert times("30 2 * * *", "2026-03-28T00:00:00", "Europe/Berlin", 2) == ["28 02:30+0100", "30 02:30+0200"]
    assert times("30 * * * *", "2026-03-29T00:00:00", "Europe/Berlin", 3) == [
        "29 01:30+0100", "29 03:30+0200", "29 04:30+0200"]  # fmt: skip
    assert times("30 2 * * *", "2026-10-24T12:00:00", "Europe/Berlin", 3) == [
        "25 02:30+0200", "25 02:30+0100", "26 02:30+0100"]  # fmt: skip
    assert times("0 0 * * *", "2026-01-01T12:00:00", "Asia/Kathmandu", 1) == ["02 00:00+0545"]
    assert times("15 12 * * *", "2026-01-01T12:00:00", "Asia/Kathmandu", 1) == ["02 12:15+0545"]


@pytest.mark.parametrize(
    ("schedule", "since", "now", "expected", "missed"),
    [
        ("*/5 * * * *", "2026-01-01T00:00:00", "2026-01-01T00:04:59", None, 0),
        ("*/5 * * * *", "2026-01-01T00:00:00", "2026-01-01T00:05:00", "2026-01-01T00:05:00", 1),
        ("*/5 * * * *", "2026-01-01T00:00:00", "2026-01-01T10:02:00", "2026-01-01T10:00:00", 120),
        ("30 6-16/4 * * 1-5", "2026-01-01T00:00:00", "2026-01-05T12:00:00", "2026-01-05T10:30:00", 27),
        ("@every 7m", "2026-01-01T00:00:00", "2026-01-01T01:00:00", "2026-01-01T00:56:00", 8),
        ("0 0 1 * *", "2025-01-15T00:00:00", "2026-01-15T00:00:00", "2026-01-01T00:00:00", 13),
    ],
)
def test_most_recent_time(schedule: str, since: str, now: str, expected: str | None, missed: int) -> None:
    recent, count = most_recent_time(parse_schedule(schedule), utc(since), utc(now), UTC)
    assert recent == (utc(expected) if expected else None)
    assert abs(count - missed) <= 1


FIELDS = st.sampled_from(["*", "*/7", "1", "3-5", "2,4", "5/2"])


@given(FIELDS, FIELDS, FIELDS, FIELDS, st.integers(0, 400 * 24 * 60), st.sampled_from(["UTC", "America/New_York"]))
def test_a_time_matches_its_fields_and_comes_later(
    minute: str, hour: str, month: str, weekday: str, offset: int, zone: str
) -> None:
    schedule = parse_schedule(f"{minute} {hour} * {month} {weekday}")
    after = datetime.fromtimestamp(1_767_225_600 + offset * 60, tz=UTC)
    moment = next_time(schedule, after, ZoneInfo(zone))
    assert moment is not None
    assert moment > after
    local = moment.astimezone(ZoneInfo(zone))
    assert local.minute in schedule.minutes
    assert local.hour in schedule.hours
    assert local.month in schedule.months
    assert local.isoweekday() % 7 in schedule.days_of_week
