"""Secrets of service account tokens: what they hold, and whose they are."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.controllers.serviceaccounttoken import account_key_of, is_account_of, plan_secret

ACCOUNT = {"metadata": {"name": "robot", "namespace": "d", "uid": "U"}}


def secret(data: dict[str, str] | None = None, **annotations: str) -> dict[str, Any]:
    prefix = "kubernetes.io/service-account."
    return {
        "metadata": {
            "name": "s",
            "namespace": "d",
            "annotations": {prefix + key: value for key, value in {"name": "robot", **annotations}.items()},
        },
        "type": "kubernetes.io/service-account-token",
        "data": data or {},
    }


def test_a_secret_gets_what_a_client_needs_once() -> None:
    filled = plan_secret(secret({"extra": "eA=="}), ACCOUNT, "CA", lambda one, account: "token")
    assert filled is not None
    assert filled["data"] == {"extra": "eA==", "ca.crt": "Q0E=", "namespace": "ZA==", "token": "dG9rZW4="}
    assert filled["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == "U"
    assert plan_secret(filled, ACCOUNT, "CA", lambda one, account: "another") is None
    renewed = plan_secret(filled, ACCOUNT, "NEW", lambda one, account: "another")
    assert renewed is not None
    assert (renewed["data"]["ca.crt"], renewed["data"]["token"]) == ("TkVX", "dG9rZW4=")


@pytest.mark.parametrize(("uid", "expected"), [("", True), ("U", True), ("V", False)])
def test_a_uid_tells_accounts_of_one_name_apart(uid: str, expected: bool) -> None:
    assert is_account_of(secret(uid=uid), ACCOUNT) is expected


def test_other_secrets_belong_to_no_account() -> None:
    assert account_key_of(secret()) == "d/robot"
    assert account_key_of({**secret(), "type": "Opaque"}) == ""
    assert account_key_of(secret(name="")) == ""
