"""Tokens of service accounts that stand in Secrets of type `kubernetes.io/service-account-token`. Pure.

They name their Secret, never end, and are good for as long as the Secret holds them and the account is the one they
were made for (https://kubernetes.io/docs/concepts/security/service-accounts/, "manually created Secrets").
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from orchestrator.api.objects import Object, is_terminating, name_of, namespace_of, uid_of

ISSUER: Final = "kubernetes/serviceaccount"
_CLAIM: Final = "kubernetes.io/serviceaccount/"
_SUBJECT: Final = "system:serviceaccount:"


def claims_for(secret: Object, account: Object) -> dict[str, Any]:
    """The claims of the token for a Secret of this account."""
    namespace, name = namespace_of(account), name_of(account)
    return {
        "iss": ISSUER,
        f"{_CLAIM}namespace": namespace,
        f"{_CLAIM}secret.name": name_of(secret),
        f"{_CLAIM}service-account.name": name,
        f"{_CLAIM}service-account.uid": uid_of(account),
        "sub": f"{_SUBJECT}{namespace}:{name}",
    }


def names_in(claims: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """(namespace, Secret, account) of a token; None when something is missing, or the subject is somebody else."""
    found = [claims.get(f"{_CLAIM}{part}") for part in ("namespace", "secret.name", "service-account.name")]
    if not all(isinstance(text, str) and text for text in found):
        return None
    namespace, secret, account = map(str, found)
    return (namespace, secret, account) if claims.get("sub") == f"{_SUBJECT}{namespace}:{account}" else None


def is_good(token: str, claims: Mapping[str, Any], secret: Object | None, account: Object | None) -> bool:
    """Whether a token (its signature is checked) is still what its Secret holds, and about this account."""
    if secret is None or account is None or is_terminating(secret) or is_terminating(account):
        return False
    held = base64.b64decode((secret.get("data") or {}).get("token") or "")
    return held == token.encode() and claims.get(f"{_CLAIM}service-account.uid") == uid_of(account)
