"""When a schedule is due, in a time zone. Pure.

Hours that a clock change skips have no times, hours that it repeats have them twice, as in
robfig/cron, which CronJobs are specified by.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from orchestrator.api.kinds.batch.cron_schedule import CronSchedule

YEARS_MAX = 5
"""A schedule without a time for so long (30 February) has none."""


def next_time(schedule: CronSchedule, after: datetime, zone: tzinfo) -> datetime | None:
    """The first time of a schedule after a moment, in UTC; None when there is none."""
    if schedule.every_seconds:
        return after.replace(microsecond=0) + timedelta(seconds=schedule.every_seconds)
    # Steps are made in UTC and judged in the zone: only there is time without gaps and repetitions.
    moment = after.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    limit = moment + timedelta(days=366 * YEARS_MAX)
    while moment < limit:
        local = moment.astimezone(zone)
        if local.month not in schedule.months:
            first = datetime(local.year + local.month // 12, local.month % 12 + 1, 1, tzinfo=zone)
            moment = max(moment + timedelta(minutes=1), first.astimezone(UTC))
        elif not _is_day(schedule, local):
            following = datetime(local.year, local.month, local.day, tzinfo=zone) + timedelta(days=1)
            moment = max(moment + timedelta(minutes=1), following.astimezone(UTC))
        elif local.hour not in schedule.hours:
            moment += timedelta(minutes=60 - local.minute)
        elif local.minute not in schedule.minutes:
            later = [minute for minute in schedule.minutes if minute > local.minute]
            moment += timedelta(minutes=min(later, default=60) - local.minute)
        else:
            return moment
    return None


def _is_day(schedule: CronSchedule, local: datetime) -> bool:
    """Both kinds of days must match when one of them is `*`; otherwise one is enough."""
    in_month = local.day in schedule.days_of_month
    in_week = local.isoweekday() % 7 in schedule.days_of_week
    if schedule.day_of_month_star or schedule.day_of_week_star:
        return in_month and in_week
    return in_month or in_week


def most_recent_time(
    schedule: CronSchedule, since: datetime, now: datetime, zone: tzinfo
) -> tuple[datetime | None, int]:
    """(the last time after `since` that is not in the future, about how many there were)."""
    first = next_time(schedule, since, zone)
    if first is None or first > now:
        return None, 0
    second = next_time(schedule, first, zone)
    if second is None or second > now:
        return first, 1
    interval = (second - first).total_seconds()
    missed = int((now - first).total_seconds() // interval) + 1
    # Close to the end at once; irregular schedules may need some more steps from there.
    recent = first
    moment: datetime | None = first + timedelta(seconds=interval * max(0, missed - 2))
    if moment is not None and not schedule.every_seconds:
        moment = next_time(schedule, moment - timedelta(minutes=1), zone)
    while moment is not None and moment <= now:
        recent = moment
        moment = next_time(schedule, moment, zone)
    return recent, missed
