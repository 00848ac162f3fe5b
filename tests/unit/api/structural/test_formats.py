"""Formats of strings."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.api.structural.formats import check_of, parse_date_time, parse_duration


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", "2020-02-29T10:00:00.5+02:00", "2021-02-29T10:00:00Z"),
        ("date", "2020-02-29", "2020-2-9"),
        ("duration", "1h30m", "1x"),
        ("duration", "3 days", "days"),
        ("ipv4", "10.0.0.1", "10.0.0"),
        ("ipv6", "::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("mac", "01:23:45:67:89:ab", "01:23:45:67:89"),
        ("uuid", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "f47ac10b"),
        ("uuid4", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "f47ac10b-58cc-1372-a567-0e02b2c3d479"),
        ("uri", "https://example.com/a", "no uri"),
        ("email", "a@example.com", "a.example.com"),
        ("hostname", "a.example.com", "-a"),
        ("byte", "YWJj", "YWJ"),
        ("isbn10", "0-306-40615-2", "0-306-40615-3"),
        ("isbn13", "978-0-306-40615-7", "978-0-306-40615-8"),
        ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
        ("ssn", "111-22-3333", "1112-3333"),
        ("hexcolor", "#ff00AA", "#ff00A"),
        ("rgbcolor", "rgb(1,22,255)", "rgb(1,22,256)"),
        ("bsonobjectid", "507f1f77bcf86cd799439011", "507f1f77"),
        ("k8s-short-name", "a-b", "a.b"),
        ("k8s-long-name", "a.b", "A.b"),
    ],
)
def test_formats(name: str, good: str, bad: str) -> None:
    check = check_of(name)
    assert check is not None
    assert check(good)
    assert not check(bad)


def test_an_unknown_format_is_not_looked_at() -> None:
    assert check_of("phone-number") is None


def test_moments_and_lengths() -> None:
    moment = parse_date_time("2020-01-01T00:00:00+01:00")
    assert moment is not None
    assert moment.isoformat() == "2019-12-31T23:00:00+00:00"
    assert parse_duration("-1.5h") == timedelta(minutes=-90)
    assert parse_duration("2 hours 3 min") == timedelta(hours=2, minutes=3)
    assert parse_duration("0") == timedelta()
