"""The `format`s of strings that a schema may demand.

Owns which texts fit a format. Formats that are not known here are ignored, as structural schemas demand.
Mirrors k8s.io/kube-openapi/pkg/validation/strfmt and the list of supported formats of
k8s.io/apiextensions-apiserver/pkg/apiserver/validation.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

_UNITS_NANOSECONDS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000,
    "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000,
}  # fmt: skip
_LONG_UNITS_SECONDS = {
    "nanosecond": 1e-9, "microsecond": 1e-6, "millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0,
    "day": 86400.0, "week": 604800.0, "d": 86400.0, "w": 604800.0, "wk": 604800.0, "hr": 3600.0, "min": 60.0,
    "sec": 1.0,
}  # fmt: skip
_DURATION = re.compile(r"([+-]?)((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_LONG_DURATION = re.compile(r"([0-9]+)\s*([A-Za-zµ]+)")
_DATE_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?([Zz]|[+-][0-9]{2}:?[0-9]{2})"
)
_HOSTNAME = re.compile(
    r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,62}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,62}[a-zA-Z0-9])?)*\.?"
)
_EMAIL = re.compile(r"[^@\s<>(),;:\\\"\[\]]+@[^@\s<>(),;:\\\"\[\]]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")
_CARD = re.compile(
    r"4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}"
    r"|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11}"
)
_CHANNEL = r"\s*(?:0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*"
_RGB = re.compile(rf"rgb\({_CHANNEL},{_CHANNEL},{_CHANNEL}\)")


def parse_date_time(text: str) -> datetime | None:
    """The moment of an RFC 3339 text, in UTC and to the microsecond, or None."""
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    if zone in ("Z", "z"):
        zone = "+00:00"
    elif ":" not in zone:
        zone = f"{zone[:3]}:{zone[3:]}"
    micro = (fraction or ".0")[1:7].ljust(6, "0")
    try:
        return datetime.fromisoformat(f"{day}T{clock}.{micro}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_date(text: str) -> date | None:
    """The day of an RFC 3339 full-date, or None."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def parse_duration(text: str) -> timedelta | None:
    """A duration as Go writes it (`1h30m`), or in words (`3 days`); None when it is neither."""
    if text in ("0", "+0", "-0"):
        return timedelta()
    match = _DURATION.fullmatch(text)
    if match is not None:
        nanoseconds = sum(float(number) * _UNITS_NANOSECONDS[unit] for number, unit in _DURATION_PART.findall(text))
        try:
            return timedelta(microseconds=(-nanoseconds if match[1] == "-" else nanoseconds) / 1000)
        except OverflowError:
            return None
    rest, total = text.strip(), 0.0
    if not rest:
        return None
    while rest:
        part = _LONG_DURATION.match(rest)
        if part is None:
            return None
        unit = part[2].lower()
        seconds = _LONG_UNITS_SECONDS.get(unit, _LONG_UNITS_SECONDS.get(unit.removesuffix("s")))
        if seconds is None:
            if unit not in _UNITS_NANOSECONDS:
                return None
            seconds = _UNITS_NANOSECONDS[unit] / 1e9
        total += int(part[1]) * seconds
        rest = rest[part.end() :].strip()
    return timedelta(seconds=total)


def _is_ip(version: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            return ipaddress.ip_address(text).version == version and "%" not in text
        except ValueError:
            return False

    return check


def _is_cidr(text: str) -> bool:
    if "/" not in text:
        return False
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return text.rpartition("/")[2].isdigit()


def _is_mac(text: str) -> bool:
    for separator, width in ((":", 2), ("-", 2), (".", 4)):
        parts = text.split(separator)
        if len(parts) > 1:
            digits = len(parts) * width // 2
            return digits in (6, 8, 20) and all(re.fullmatch(f"[0-9a-fA-F]{{{width}}}", part) for part in parts)
    return False


def _is_uri(text: str) -> bool:
    # Go's url.ParseRequestURI: absolute, or a rooted path.
    if not text or any(ord(char) <= 0x20 or char == "\x7f" for char in text):
        return False
    return text.startswith("/") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:.", text) is not None


def _is_uuid(version: str) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        if _UUID.fullmatch(text) is None:
            return False
        digits = text.replace("-", "").lower()
        return not version or (digits[12] == version and (version == "3" or digits[16] in "89ab"))

    return check


def _is_isbn10(text: str) -> bool:
    digits = text.replace("-", "").replace(" ", "")
    if not re.fullmatch(r"\d{9}[\dX]", digits):
        return False
    total = sum((position + 1) * int(digit) for position, digit in enumerate(digits[:9]))
    total += 100 if digits[9] == "X" else 10 * int(digits[9])
    return total % 11 == 0


def _is_isbn13(text: str) -> bool:
    digits = text.replace("-", "").replace(" ", "")
    if not re.fullmatch(r"\d{13}", digits):
        return False
    total = sum(int(digit) * (3 if position % 2 else 1) for position, digit in enumerate(digits[:12]))
    return int(digits[12]) == (10 - total % 10) % 10


def _is_credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]+", "", text)
    if not _CARD.fullmatch(digits):
        return False
    total = 0
    for position, char in enumerate(reversed(digits)):
        number = int(char) * (2 if position % 2 else 1)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return bool(text)


def _is_short_name(text: str) -> bool:
    return len(text) <= 63 and re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", text) is not None


def _is_long_name(text: str) -> bool:
    part = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    return len(text) <= 253 and re.fullmatch(rf"{part}(\.{part})*", text) is not None


_CHECKS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": lambda text: re.fullmatch(r"[0-9a-fA-F]{24}", text) is not None,
    "uri": _is_uri,
    "email": lambda text: _EMAIL.fullmatch(text) is not None,
    "hostname": lambda text: len(text) <= 255 and _HOSTNAME.fullmatch(text) is not None,
    "ipv4": _is_ip(4),
    "ipv6": _is_ip(6),
    "cidr": _is_cidr,
    "mac": _is_mac,
    "uuid": _is_uuid(""),
    "uuid3": _is_uuid("3"),
    "uuid4": _is_uuid("4"),
    "uuid5": _is_uuid("5"),
    "isbn": lambda text: _is_isbn10(text) or _is_isbn13(text),
    "isbn10": _is_isbn10,
    "isbn13": _is_isbn13,
    "creditcard": _is_credit_card,
    "ssn": lambda text: re.fullmatch(r"\d{3}[- ]?\d{2}[- ]?\d{4}", text) is not None,
    "hexcolor": lambda text: re.fullmatch(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", text) is not None,
    "rgbcolor": lambda text: _RGB.fullmatch(text) is not None,
    "byte": _is_base64,
    "password": lambda text: True,
    "date": lambda text: parse_date(text) is not None,
    "duration": lambda text: parse_duration(text) is not None,
    "date-time": lambda text: parse_date_time(text) is not None,
    "datetime": lambda text: parse_date_time(text) is not None,
    "k8s-short-name": _is_short_name,
    "k8s-long-name": _is_long_name,
}


@lru_cache(maxsize=256)
def check_of(format_name: str) -> Callable[[str], bool] | None:
    """The check of a format, or None when texts of that format are not looked at."""
    return _CHECKS.get(format_name) or _CHECKS.get(format_name.replace("-", ""))
