"""Schedules of CronJobs: `minute hour day-of-month month day-of-week`, `@hourly`, `@every 90m`.

Owns parsing and its error messages. Never computes times: that needs a zone and a clock. Mirrors the
grammar of github.com/robfig/cron/v3 (ParseStandard), which CronJobs are specified by.
"""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct


class ScheduleError(ValueError):
    """The text is not a schedule; the message is the API server's."""


class CronSchedule(Struct, frozen=True):
    """The values that each field allows; `star` tells that a field was `*` (for the two kinds of days)."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days_of_month: frozenset[int]
    months: frozenset[int]
    days_of_week: frozenset[int]
    """0 is Sunday."""
    day_of_month_star: bool = False
    day_of_week_star: bool = False
    every_seconds: float = 0.0
    """Above zero for `@every`: a fixed delay instead of the fields."""
    time_zone: str = ""
    """The zone of a `TZ=` prefix, or empty."""


_MONTHS = {name: number for number, name in enumerate(
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)}  # fmt: skip
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_BOUNDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}), (0, 23, {}), (1, 31, {}), (1, 12, _MONTHS), (0, 6, _DAYS),
)  # fmt: skip
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@lru_cache(maxsize=1024)  # a CronJob is looked at again and again
def parse_schedule(text: str) -> CronSchedule:
    """The schedule that a text stands for; ScheduleError when it is malformed."""
    if not text:
        raise ScheduleError("empty spec string")
    zone = ""
    if text.startswith(("TZ=", "CRON_TZ=")):
        head, _, rest = text.partition(" ")
        zone, text = head.partition("=")[2], rest.strip()
    if text.startswith("@"):
        return _parse_descriptor(text, zone)
    parts = text.split()
    if len(parts) != 5:
        raise ScheduleError(f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]")
    sets, stars = [], []
    for part, (low, high, words) in zip(parts, _BOUNDS, strict=True):
        values, star = _parse_field(part, low, high, words)
        sets.append(values)
        stars.append(star)
    minutes, hours, days, months, weekdays = sets
    return CronSchedule(
        minutes,
        hours,
        days,
        months,
        weekdays,
        day_of_month_star=stars[2],
        day_of_week_star=stars[4],
        time_zone=zone,
    )


def _parse_descriptor(text: str, zone: str) -> CronSchedule:
    if text in _DESCRIPTORS:
        expanded = parse_schedule(_DESCRIPTORS[text])
        return CronSchedule(
            expanded.minutes, expanded.hours, expanded.days_of_month, expanded.months, expanded.days_of_week,
            expanded.day_of_month_star, expanded.day_of_week_star, time_zone=zone,
        )  # fmt: skip
    if text.startswith("@every "):
        given = text.removeprefix("@every ")
        matches = list(_DURATION.finditer(given))
        if not matches or "".join(match[0] for match in matches) != given:
            raise ScheduleError(f'failed to parse duration {text}: time: invalid duration "{given}"')
        seconds = sum(float(match[1]) * _UNITS[match[2]] for match in matches)
        empty: frozenset[int] = frozenset()
        return CronSchedule(
            empty, empty, empty, empty, empty, every_seconds=max(1.0, float(int(seconds))), time_zone=zone
        )
    raise ScheduleError(f"unrecognized descriptor: {text}")


def _parse_field(text: str, low: int, high: int, words: dict[str, int]) -> tuple[frozenset[int], bool]:
    values: set[int] = set()
    star = False
    for part in (piece for piece in text.split(",") if piece):
        found, is_star = _parse_range(part, low, high, words)
        values |= found
        star = star or is_star
    return frozenset(values), star


def _parse_range(text: str, low: int, high: int, words: dict[str, int]) -> tuple[set[int], bool]:
    range_and_step = text.split("/")
    low_and_high = range_and_step[0].split("-")
    single = len(low_and_high) == 1
    star = False
    if low_and_high[0] in ("*", "?"):
        start, end, star = low, high, True
    else:
        start = _parse_number(low_and_high[0], words)
        if single:
            end = start
        elif len(low_and_high) == 2:
            end = _parse_number(low_and_high[1], words)
        else:
            raise ScheduleError(f"too many hyphens: {text}")
    step = 1
    if len(range_and_step) == 2:
        step = _parse_number(range_and_step[1], {})
        if single:
            end = high
        if step > 1:
            star = False
    elif len(range_and_step) > 2:
        raise ScheduleError(f"too many slashes: {text}")
    if start < low:
        raise ScheduleError(f"beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise ScheduleError(f"end of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise ScheduleError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ScheduleError(f"step of range should be a positive number: {text}")
    return set(range(start, end + 1, step)), star


def _parse_number(text: str, words: dict[str, int]) -> int:
    if text.lower() in words:
        return words[text.lower()]
    if re.fullmatch(r"[+-]?[0-9]+", text) is None:
        raise ScheduleError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number < 0:
        raise ScheduleError(f"negative number ({number}) not allowed: {text}")
    return number
