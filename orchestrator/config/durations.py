"""Durations in Go's notation, as options and flags of Kubernetes have them."""

from __future__ import annotations

import re

_UNITS_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)"
_DURATION = re.compile(rf"(?:{_PART})+")


def parse_duration(text: str) -> float:
    """Seconds of `1m30s`, `-5s` or `0`; ValueError that says what is wrong."""
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
    if rest == "0":
        return 0.0
    if not _DURATION.fullmatch(rest):
        raise ValueError(f'time: invalid duration "{text}"')
    return sign * sum(float(number) * _UNITS_SECONDS[unit] for number, unit in re.findall(_PART, rest))
