"""Versions, channels, statuses and terminal sizes of exec and attach."""

from __future__ import annotations

import pytest

from orchestrator.apiserver.http.remote_command import (
    SPDY_PROTOCOLS,
    Wanted,
    decode_message,
    encode_status,
    exit_status,
    expected_streams,
    negotiate_protocol,
    terminal_size,
)


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        (["v4.channel.k8s.io", "v3.channel.k8s.io"], "v4.channel.k8s.io"),
        (["v9.channel.k8s.io", "v2.channel.k8s.io"], "v2.channel.k8s.io"),
        ([], ""),
        (["v9.channel.k8s.io"], None),
    ],
)
def test_the_clients_first_known_version_is_taken(offered: list[str], expected: str | None) -> None:
    assert negotiate_protocol(offered, SPDY_PROTOCOLS) == expected


@pytest.mark.parametrize(
    ("wanted", "protocol", "expected"),
    [
        (Wanted(stdin=True, stdout=True, stderr=True, tty=False), "v4.channel.k8s.io", "error stdin stdout stderr"),
        (Wanted(stdin=False, stdout=True, stderr=False, tty=False), "v4.channel.k8s.io", "error stdout"),
        (Wanted(stdin=True, stdout=True, stderr=False, tty=True), "v4.channel.k8s.io", "error stdin stdout resize"),
        (Wanted(stdin=True, stdout=True, stderr=False, tty=True), "v2.channel.k8s.io", "error stdin stdout"),
    ],
)
def test_the_streams_that_a_client_opens(wanted: Wanted, protocol: str, expected: str) -> None:
    assert expected_streams(wanted, protocol) == frozenset(expected.split())


@pytest.mark.parametrize(
    ("message", "is_base64", "expected"),
    [
        (b"\0abc", False, (0, b"abc")),
        ("\0abc", False, (0, b"abc")),
        (b"\4", False, (4, b"")),
        (b"\xff\0", False, (255, b"\0")),
        ("0YWJj", True, (0, b"abc")),
        (b"1", True, (1, b"")),
        ("0!!", True, (-1, b"")),
    ],
)
def test_messages_name_their_channel(message: bytes | str, is_base64: bool, expected: tuple[int, bytes]) -> None:
    assert decode_message(message, is_base64=is_base64) == expected


def test_the_exit_code_is_an_object_from_v4_on_and_a_message_before() -> None:
    status = encode_status(exit_status(7), "v4.channel.k8s.io")
    assert b'"reason":"NonZeroExitCode"' in status
    assert b'{"reason":"ExitCode","message":"7"}' in status
    assert encode_status(exit_status(0), "v5.channel.k8s.io") == b'{"metadata":{},"status":"Success"}'
    assert encode_status(exit_status(0), "v4.base64.channel.k8s.io") == b'{"metadata":{},"status":"Success"}'
    assert encode_status(exit_status(0), "v3.channel.k8s.io") == b""
    assert encode_status(exit_status(7), "").endswith(b"exit code 7")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"Width":80,"Height":24}', (80, 24)),
        (b'{"Width":0,"Height":24}', None),
        (b'{"Width":80}', None),
        (b"[]", None),
        (b"80x24", None),
        (b'{"Width":"x","Height":1}', None),
    ],
)
def test_terminal_sizes(payload: bytes, expected: tuple[int, int] | None) -> None:
    assert terminal_size(payload) == expected
