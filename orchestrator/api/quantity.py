"""Quantities: `500m` CPU, `1Gi` memory, `1e3` of anything; exact arithmetic, canonical text.

Owns parsing, comparison, addition and the canonical form that the API server stores. Never rounds
except as `resource.Quantity` does: below one nano up, above 2^63-1 down. Mirrors
k8s.io/apimachinery/pkg/api/resource. A quantity is held as a whole number of nanos.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from msgspec import Struct

DECIMAL_SI: Final = "DecimalSI"
BINARY_SI: Final = "BinarySI"
DECIMAL_EXPONENT: Final = "DecimalExponent"

_NANO = 10**9
_NANOS_MAX = (2**63 - 1) * _NANO
_EXPONENT_MAX = 64
"""Exponents beyond this only ever mean "more than the maximum" or "less than a nano"."""
_TEXT_MAX = 256

_PATTERN = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")
_DECIMAL_EXPONENTS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIXES = {exponent: suffix for suffix, exponent in _DECIMAL_EXPONENTS.items()}
_BINARY_EXPONENTS = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_BINARY_SUFFIXES = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
_POWER_SUFFIX = re.compile(r"[eE]([-+]?[0-9]+)")

_FORMAT_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_SUFFIX_WRONG = "unable to parse quantity's suffix"


class QuantityError(ValueError):
    """The text is not a quantity; the message is the API server's."""


class Quantity(Struct, frozen=True, eq=False):
    """An exact amount and the notation it was written in; equal when the amounts are equal."""

    nanos: int
    format: str = DECIMAL_SI

    def value(self) -> int:
        """The amount in whole units, rounded away from zero."""
        return _scaled(self.nanos, _NANO)

    def milli(self) -> int:
        """The amount in thousandths, rounded away from zero: CPU as the scheduler counts it."""
        return _scaled(self.nanos, _NANO // 1000)

    def is_zero(self) -> bool:
        return self.nanos == 0

    def sign(self) -> int:
        """-1, 0 or 1."""
        return (self.nanos > 0) - (self.nanos < 0)

    def is_integer(self) -> bool:
        """Whether the amount is a whole number of units."""
        return self.nanos % _NANO == 0

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.nanos + other.nanos, other.format if self.nanos == 0 else self.format)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nanos - other.nanos, other.format if self.nanos == 0 else self.format)

    def __neg__(self) -> Quantity:
        return Quantity(-self.nanos, self.format)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nanos == other.nanos

    def __lt__(self, other: Quantity) -> bool:
        return self.nanos < other.nanos

    def __le__(self, other: Quantity) -> bool:
        return self.nanos <= other.nanos

    def __gt__(self, other: Quantity) -> bool:
        return self.nanos > other.nanos

    def __ge__(self, other: Quantity) -> bool:
        return self.nanos >= other.nanos

    def __hash__(self) -> int:
        return hash(self.nanos)

    def __str__(self) -> str:
        """The canonical text: no fraction, the largest suffix that keeps every digit."""
        if self.nanos == 0:
            return "0"
        if self.format == BINARY_SI and abs(self.nanos) >= 1024 * _NANO and self.is_integer():
            amount, steps = self.nanos // _NANO, 0
            while amount % 1024 == 0 and steps < len(_BINARY_SUFFIXES) - 1:
                amount //= 1024
                steps += 1
            return f"{amount}{_BINARY_SUFFIXES[steps]}"
        amount, exponent = self.nanos, -9
        while amount % 1000 == 0 and exponent < 18:
            amount //= 1000
            exponent += 3
        if self.format == DECIMAL_EXPONENT:
            return f"{amount}e{exponent}" if exponent else str(amount)
        return f"{amount}{_DECIMAL_SUFFIXES[exponent]}"


ZERO: Final = Quantity(0)


def _scaled(nanos: int, unit: int) -> int:
    return -(-nanos // unit) if nanos >= 0 else nanos // unit


@lru_cache(maxsize=65536)
def _parse(text: str) -> Quantity:
    if len(text) > _TEXT_MAX:
        raise QuantityError(_FORMAT_WRONG)
    match = _PATTERN.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise QuantityError(_FORMAT_WRONG)
    sign, whole, fraction, suffix = match[1], match[2], match[3] or "", match[4]
    digits = int(whole + fraction)
    if suffix in _DECIMAL_EXPONENTS:
        numerator, exponent, notation = digits, _DECIMAL_EXPONENTS[suffix], DECIMAL_SI
    elif suffix in _BINARY_EXPONENTS:
        numerator, exponent, notation = digits << _BINARY_EXPONENTS[suffix], 0, BINARY_SI
    else:
        power = _POWER_SUFFIX.fullmatch(suffix)
        if power is None:
            raise QuantityError(_SUFFIX_WRONG)
        bound = _EXPONENT_MAX + len(whole) + len(fraction)
        numerator, exponent, notation = digits, max(-bound, min(bound, int(power[1]))), DECIMAL_EXPONENT
    exponent += 9 - len(fraction)
    if exponent >= 0:
        nanos = numerator * 10**exponent
    else:
        nanos = -(-numerator // 10**-exponent)  # a non-zero amount never becomes nothing
    nanos = min(nanos, _NANOS_MAX)
    return Quantity(-nanos if sign == "-" else nanos, notation)


def parse_quantity(text: str | int | float) -> Quantity:
    """The quantity that a JSON string or number stands for; QuantityError (a ValueError) otherwise."""
    if isinstance(text, str):
        return _parse(text.strip())
    return _parse(repr(text))


def canonical(text: str | int | float) -> str:
    """The text that the API server stores: `0.5` is `500m`, `1024Ki` is `1Mi`, `1000` is `1k`."""
    return str(parse_quantity(text))


def canonical_amount(text: str | int | float) -> str:
    """`canonical`, of an amount of a resource: what is finer than a thousandth is rounded up."""
    quantity = parse_quantity(text)
    return str(Quantity(quantity.milli() * (_NANO // 1000), quantity.format))


@lru_cache(maxsize=65536)
def milli_value(text: str | int | float) -> int:
    """Thousandths of a unit, rounded up; cached, for the scheduler's inner loops."""
    return parse_quantity(text).milli()


@lru_cache(maxsize=65536)
def int_value(text: str | int | float) -> int:
    """Whole units, rounded up; cached, for the scheduler's inner loops."""
    return parse_quantity(text).value()
