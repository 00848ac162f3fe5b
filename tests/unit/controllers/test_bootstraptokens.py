"""Tokens: which sign, with what, until when."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.controllers.bootstraptokens import (
    detached_signature,
    expiry_of,
    is_token,
    plan_signatures,
    signing_token,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def token(**fields: str) -> dict[str, Any]:
    data = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true",
            **{key.replace("_", "-"): value for key, value in fields.items()}}  # fmt: skip
    return {
        "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


@pytest.mark.parametrize(
    ("fields", "signs"),
    [
        ({}, True),
        ({"expiration": "2026-01-01T13:00:00Z"}, True),
        ({"expiration": "2026-01-01T12:00:00Z"}, False),
        ({"expiration": "soon"}, False),
        ({"usage_bootstrap_signing": "false"}, False),
        ({"token_id": "ABCDEF"}, False),
        ({"token_secret": "short"}, False),
        ({"token_id": "fedcba"}, False),
    ],
)
def test_which_tokens_sign(fields: dict[str, str], signs: bool) -> None:
    assert (signing_token(token(**fields), NOW) is not None) is signs


def test_a_signature_can_be_checked_by_whoever_knows_the_token() -> None:
    header, content, signature = detached_signature("hello", "abcdef", "0123456789abcdef").split(".")
    assert content == ""
    assert base64.urlsafe_b64decode(header + "==") == b'{"alg":"HS256","kid":"abcdef"}'
    payload = base64.urlsafe_b64encode(b"hello").rstrip(b"=").decode()
    digest = hmac.new(b"abcdef.0123456789abcdef", f"{header}.{payload}".encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(signature + "==") == digest


def test_signatures_come_and_go_with_their_tokens() -> None:
    info = {"data": {"kubeconfig": "k", "jws-kubeconfig-old": "x"}}
    data = plan_signatures(info, [token()], NOW)
    assert data is not None
    assert sorted(data) == ["jws-kubeconfig-abcdef", "kubeconfig"]
    assert plan_signatures({"data": data}, [token()], NOW) is None
    assert plan_signatures({"data": data}, [], NOW) == {"kubeconfig": "k"}
    assert plan_signatures({"data": {}}, [token()], NOW) is None


def test_tokens_are_secrets_of_one_namespace_and_type() -> None:
    assert is_token(token())
    assert not is_token({**token(), "type": "Opaque"})
    assert expiry_of(token()) is None
