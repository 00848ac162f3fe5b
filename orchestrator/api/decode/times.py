"""Times as Go's decoder takes them: RFC 3339, and what is wrong with a text that is none."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from orchestrator.api.decode.scalars import Refused, json_kind, unmarshal_error
from orchestrator.api.fields import quote

_DAY = (
    r"[0-9]{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
)
"""Every day that each year has; the 29th of February takes the slower way. Not `\\d`, which is any script's digits."""
CANONICAL_TIME = re.compile(_DAY + "Z")
_CANONICAL_MICRO_TIME = re.compile(_DAY + r"\.[0-9]{6}Z")


def is_canonical_time(value: Any) -> bool:
    """Whether a value is a `metav1.Time` as the API writes it."""
    return type(value) is str and CANONICAL_TIME.fullmatch(value) is not None


def is_canonical_micro_time(value: Any) -> bool:
    """Whether a value is a `metav1.MicroTime` as the API writes it."""
    return type(value) is str and _CANONICAL_MICRO_TIME.fullmatch(value) is not None


_RFC3339 = "2006-01-02T15:04:05Z07:00"
_RFC3339_MICRO = "2006-01-02T15:04:05.000000Z07:00"
_TIME_PARTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("2006", re.compile(r"[0-9]{4}")), ("-", re.compile("-")), ("01", re.compile(r"[0-9]{2}")), ("-", re.compile("-")),
    ("02", re.compile(r"[0-9]{2}")), ("T", re.compile("T")), ("15", re.compile(r"[0-9]{1,2}")), (":", re.compile(":")),
    ("04", re.compile(r"[0-9]{2}")), (":", re.compile(":")), ("05", re.compile(r"[0-9]{2}")),
)  # fmt: skip
_FRACTION = re.compile(r"[.,]([0-9]+)")
_MICROS = re.compile(r"\.([0-9]{6})(?![0-9])")
_ZONE = re.compile(r"Z|([+-])([0-9]{2}):([0-9]{2})")


def canonical_time(value: Any, *, micro: bool) -> str:
    """A `metav1.Time` (`micro`: a MicroTime) in UTC, as the API writes it; Refused."""
    if type(value) is not str:
        raise unmarshal_error(json_kind(value), "string", "", "")
    if (is_canonical_micro_time if micro else is_canonical_time)(value):
        return value
    layout = _RFC3339_MICRO if micro else _RFC3339

    def fail(position: int, element: str) -> Refused:
        where = f"cannot parse {quote(value[position:])} as {quote(element)}"
        return Refused(f"parsing time {quote(value)} as {quote(layout)}: {where}")

    position = 0
    texts: list[str] = []
    for element, pattern in _TIME_PARTS:
        match = pattern.match(value, position)
        if match is None:
            raise fail(position, element)
        texts.append(match[0])
        position = match.end()
    fraction = "0"
    if micro:
        match = _MICROS.match(value, position)
        if match is None:
            raise fail(position, ".000000")
        fraction, position = match[1], match.end()
    elif match := _FRACTION.match(value, position):
        fraction, position = match[1], match.end()
    zone = _ZONE.match(value, position)
    if zone is None:
        raise fail(position, "Z07:00")
    if zone.end() != len(value):
        raise Refused(f"parsing time {quote(value)}: extra text: {quote(value[zone.end() :])}")
    year, month, day = int(texts[0]), int(texts[2]), int(texts[4])
    hour, minute, second = int(texts[6]), int(texts[8]), int(texts[10])
    for wrong, name in (
        (not 1 <= month <= 12, "month"),
        (hour > 23, "hour"),
        (minute > 59, "minute"),
        (second > 59, "second"),
    ):
        if wrong:
            raise Refused(f"parsing time {quote(value)}: {name} out of range")
    offset = timedelta(0)
    if zone[1]:
        offset = timedelta(hours=int(zone[2]), minutes=int(zone[3])) * (1 if zone[1] == "+" else -1)
    try:
        moment = datetime(
            year, month, day, hour, minute, second, int(fraction[:6].ljust(6, "0")), tzinfo=timezone(offset)
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(f"parsing time {quote(value)}: day out of range") from None
    text = f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}T{moment:%H:%M:%S}"
    return f"{text}.{moment.microsecond:06d}Z" if micro else f"{text}Z"
