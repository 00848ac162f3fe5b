"""Times, durations, quantities: their text and their bytes."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.protobuf import values
from orchestrator.api.protobuf.values import OMIT
from orchestrator.api.protobuf.wire import Malformed, varint


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (20_000_000, "20ms"),
        (1_500_000_000, "1.5s"),
        (90_000_000_000, "1m30s"),
        (3_600_000_000_000, "1h0m0s"),
        (-300_000_000_000, "-5m0s"),
    ],
)
def test_durations_read_as_go_prints_them(nanoseconds: int, text: str) -> None:
    payload = values.write_duration(text)
    assert payload == b"\x08" + varint(nanoseconds)
    assert values.read_duration(payload) == text


def test_durations_may_mix_units_and_fractions() -> None:
    assert values.read_duration(values.write_duration("1.5h")) == "1h30m0s"
    assert values.read_duration(values.write_duration("1h1ms")) == "1h0m0.001s"


@pytest.mark.parametrize("text", ["", "1", "1x", "s", "1h x", "-"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        values.write_duration(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-02T03:04:05Z", 1767323045),
        ("2026-01-02T05:04:05+02:00", 1767323045),
        ("1969-12-31T23:59:59Z", -1),
    ],
)
def test_times_are_seconds_since_the_epoch(text: str, seconds: int) -> None:
    assert values.write_time(text) == b"\x08" + varint(seconds) + b"\x10\x00"


def test_times_have_no_fractions_and_micro_times_have_six_digits() -> None:
    assert values.read_time(values.write_time("2026-01-02T03:04:05.9Z")) == "2026-01-02T03:04:05Z"
    assert values.read_micro_time(values.write_micro_time("2026-01-02T03:04:05.5Z")) == "2026-01-02T03:04:05.500000Z"
    assert values.read_micro_time(values.write_micro_time("2026-01-02T03:04:05Z")) == "2026-01-02T03:04:05.000000Z"


def test_the_zero_time_is_left_out_and_the_epoch_is_not() -> None:
    assert values.read_time(b"") is OMIT
    assert values.read_micro_time(b"") is OMIT
    assert values.read_time(b"\x08\x00\x10\x00") == "1970-01-01T00:00:00Z"


def test_times_out_of_range_are_malformed() -> None:
    with pytest.raises(Malformed):
        values.read_time(b"\x08" + varint(2**62))


@pytest.mark.parametrize(("value", "text"), [("1Gi", "1Gi"), (2, "2"), (0.5, "0.5")])
def test_quantities_are_texts(value: Any, text: str) -> None:
    assert values.read_quantity(values.write_quantity(value)) == text


def test_an_empty_quantity_is_zero() -> None:
    assert values.read_quantity(b"") == "0"


@pytest.mark.parametrize("value", [0, 80, -1, 2**31 - 1, "http", ""])
def test_int_or_string(value: Any) -> None:
    assert values.read_int_or_string(values.write_int_or_string(value)) == value


def test_a_left_out_int_or_string_is_zero() -> None:
    assert values.read_int_or_string_value(values.write_int_or_string(0)) is OMIT
    assert values.read_int_or_string_value(values.write_int_or_string(8080)) == 8080


def test_an_unknown_int_or_string_is_malformed() -> None:
    with pytest.raises(Malformed):
        values.read_int_or_string(b"\x08\x02")
