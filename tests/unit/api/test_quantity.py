"""Quantities: canonical texts as the API server stores them, exact arithmetic, messages."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.api.quantity import (
    QuantityError,
    canonical,
    int_value,
    milli_value,
    parse_quantity,
)

_SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E-2", "e+6"]
_texts = st.builds(
    lambda sign, whole, fraction, suffix: f"{sign}{whole}{fraction}{suffix}",
    st.sampled_from(["", "+", "-"]),
    st.integers(0, 10**6).map(str),
    st.one_of(st.just(""), st.integers(0, 999999).map(lambda n: f".{n}")),
    st.sampled_from(_SUFFIXES),
)


@pytest.mark.parametrize(
    ("text", "stored", "milli", "value"),
    [
        ("0.5", "500m", 500, 1),
        ("4000m", "4", 4000, 4),
        ("1000", "1k", 1000000, 1000),
        ("1500", "1500", 1500000, 1500),
        ("1024Ki", "1Mi", 1048576000, 1048576),
        ("2048Mi", "2Gi", 2147483648000, 2147483648),
        ("1.5Gi", "1536Mi", 1610612736000, 1610612736),
        ("0.5Ki", "512", 512000, 512),
        ("1023Ki", "1023Ki", 1047552000, 1047552),
        ("1e3", "1e3", 1000000, 1000),
        ("1E", "1E", 10**21, 10**18),
        ("-1.5", "-1500m", -1500, -2),
        (".5", "500m", 500, 1),
        ("5.", "5", 5000, 5),
        ("0Mi", "0", 0, 0),
        ("1n", "1n", 1, 1),
        ("0.1n", "1n", 1, 1),
        ("100u", "100u", 1, 1),
        (5, "5", 5000, 5),
        (0.25, "250m", 250, 1),
        ("9e30", "9223372036854775807", (2**63 - 1) * 1000, 2**63 - 1),
        ("1e999999999999", "9223372036854775807", (2**63 - 1) * 1000, 2**63 - 1),
    ],
)
def test_canonical_text_and_values(text: str | int | float, stored: str, milli: int, value: int) -> None:
    assert canonical(text) == stored
    assert milli_value(text) == milli
    assert int_value(text) == value


@pytest.mark.parametrize("text", ["", "x", "1x", "1.2.3", "e3", "1 Gi", "Mi", "0x10", "--1", "١"])
def test_wrong_format(text: str) -> None:
    with pytest.raises(QuantityError, match="quantities must match the regular expression"):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["1KK", "1e", "1K", "1mi", "1Mm"])
def test_wrong_suffix(text: str) -> None:
    with pytest.raises(QuantityError, match="unable to parse quantity's suffix"):
        parse_quantity(text)


@given(_texts)
@example(text="1109.375Ki")
def test_canonical_text_means_the_same_and_is_stable(text: str) -> None:
    quantity = parse_quantity(text)
    assert parse_quantity(str(quantity)) == quantity
    stored = str(quantity)
    if stored.lstrip("-").isdigit() and text.endswith("i"):
        # No whole number of Ki: plain digits, which read again are a decimal quantity, as with Kubernetes.
        stored = canonical(stored)
    assert canonical(stored) == stored


@given(_texts, _texts)
def test_sum_and_difference_are_inverse(left: str, right: str) -> None:
    a, b = parse_quantity(left), parse_quantity(right)
    assert a + b - b == a
    assert (a < b) == ((a - b).sign() < 0)


@given(_texts)
def test_rounding_is_away_from_zero(text: str) -> None:
    quantity = parse_quantity(text)
    assert abs(quantity.value()) * 10**9 >= abs(quantity.nanos)
    assert abs(quantity.value()) * 10**9 - abs(quantity.nanos) < 10**9


@pytest.mark.parametrize(("smaller", "larger"), [("1", "1001m"), ("999Ki", "1Mi"), ("-1", "0"), ("1e3", "1Ki")])
def test_quantities_are_ordered_by_their_amount(smaller: str, larger: str) -> None:
    low, high = parse_quantity(smaller), parse_quantity(larger)
    assert low < high
    assert low <= high
    assert high > low
    assert high >= low
    assert high <= parse_quantity(larger) <= high
    assert not high <= low
