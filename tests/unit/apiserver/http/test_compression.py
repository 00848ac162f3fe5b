"""Large answers are compressed for clients that take it."""

from __future__ import annotations

import zlib

import pytest

from orchestrator.apiserver.http.compression import accepts_gzip, gzip


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("deflate, GZIP;q=0.5", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
    ],
)
def test_accept_encoding(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


def test_any_gzip_reader_understands_it() -> None:
    body = b'{"items":[' + b",".join(b'{"n":%d}' % n for n in range(50_000)) + b"]}"
    compressed = gzip(body)
    assert zlib.decompress(compressed, 31) == body
    assert len(compressed) < len(body) / 4
