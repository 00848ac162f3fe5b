"""Plain scalars of YAML bodies, as Go's decoder reads them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.apiserver.http.bodies import decode_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y", True),
        ("n", False),
        ("yes", True),
        ("Off", False),
        ("22:22", "22:22"),
        ("2001-12-14", "2001-12-14"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("0777", 511),
        ("0x1f", 31),
        ("1_000", 1000),
        ("08", 8),
        ("1e3", 1000),
        ("0.5", 0.5),
        ("1.2.3", "1.2.3"),
        ("null", None),
        ("~", None),
        ("'y'", "y"),
    ],
)
def test_plain_scalars(text: str, value: Any) -> None:
    assert decode_yaml(f"a: {text}".encode()) == {"a": value}
