"""Plain scalars of YAML bodies, as Go's decoder reads them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.errors import BadRequest
from orchestrator.apiserver.http.yaml_bodies import decode_yaml


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


def aliases(*, levels: int, width: int) -> bytes:
    """A document that stands for `width` ** `levels` scalars."""
    lines = ["l0: &l0 [" + ",".join(["x"] * width) + "]"]
    lines += [f"l{n}: &l{n} [" + ",".join([f"*l{n - 1}"] * width) + "]" for n in range(1, levels)]
    return "\n".join(lines).encode()


def test_aliases_stand_for_what_they_name() -> None:
    assert decode_yaml(b"a: &a [1]\nb: [*a, *a]\nc: {<<: {d: *a}}") == {"a": [1], "b": [[1], [1]], "c": {"d": [1]}}
    assert len(decode_yaml(aliases(levels=4, width=4))["l3"]) == 4


@pytest.mark.parametrize("document", [aliases(levels=9, width=9), aliases(levels=4, width=100), b"a: &a [*a]"])
def test_aliases_cannot_make_a_small_body_huge(document: bytes) -> None:
    with pytest.raises(BadRequest, match="error converting YAML to JSON"):
        decode_yaml(document)


@pytest.mark.parametrize("document", [b"a: " + b"[" * 5000 + b"]" * 5000, b"a: 1\nb: [", b"a: " + b"9" * 5000])
def test_what_cannot_be_read_is_refused(document: bytes) -> None:
    with pytest.raises(BadRequest, match="error converting YAML to JSON"):
        decode_yaml(document)
