"""Fill Secrets of type `kubernetes.io/service-account-token`, and delete those whose account is gone.

Whoever needs a token that does not end makes such a Secret by hand. Never makes a Secret itself. Mirrors
serviceaccount-token-controller.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import ClassVar, Unpack

from orchestrator.api import errors
from orchestrator.api.objects import Object, annotations_of, copy_object, key_of, name_of, namespace_of, uid_of
from orchestrator.api.resources import SECRETS, SERVICE_ACCOUNTS
from orchestrator.component.controller import Controller, Dependencies

TOKEN_TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"

_INDEX = "account"

TokenFor = Callable[[Object, Object], str]
"""(Secret, account) to the signed token."""


def account_key_of(secret: Object) -> str:
    """The key of the account that a token Secret is for; empty for every other Secret."""
    name = annotations_of(secret).get(ACCOUNT_NAME, "")
    return f"{namespace_of(secret)}/{name}" if name and secret.get("type") == TOKEN_TYPE else ""


def is_account_of(secret: Object, account: Object) -> bool:
    """Whether an account is the one that a token Secret means; a uid tells it from others of its name."""
    uid = annotations_of(secret).get(ACCOUNT_UID, "")
    return not uid or uid == uid_of(account)


def plan_secret(secret: Object, account: Object, ca_pem: str, token_for: TokenFor) -> Object | None:
    """The Secret with everything that a client needs; None when it has it."""
    data = secret.get("data") or {}
    wanted = {"ca.crt": _encode(ca_pem), "namespace": data.get("namespace") or _encode(namespace_of(secret))}
    if data.get("token") and wanted.items() <= data.items():
        return None
    changed = copy_object(secret)
    token = data.get("token") or _encode(token_for(secret, account))
    changed["data"] = {**data, **wanted, "token": token}
    changed["metadata"]["annotations"] = {
        **annotations_of(secret),
        ACCOUNT_NAME: name_of(account),
        ACCOUNT_UID: uid_of(account),
    }
    return changed


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class ServiceAccountTokenController(Controller):
    """Keys are token Secrets."""

    name: ClassVar[str] = "serviceaccount-token"

    def __init__(self, *, ca_pem: str, token_for: TokenFor, **dependencies: Unpack[Dependencies]) -> None:
        self._ca_pem = ca_pem
        self._token_for = token_for
        super().__init__(**dependencies)

    def setup(self) -> None:
        """Token Secrets by key; an account that goes leads to its Secrets."""
        self._secrets = self.informer(SECRETS)
        self._accounts = self.informer(SERVICE_ACCOUNTS)
        self._secrets.add_index(_INDEX, lambda secret: [key] if (key := account_key_of(secret)) else [])
        self._secrets.add_handler(self._on_secret)
        self._accounts.add_handler(self._on_account)

    def _on_secret(self, old: Object | None, new: Object | None) -> None:
        if new is not None and account_key_of(new):
            self.enqueue_object(old, new)

    def _on_account(self, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or uid_of(new) != uid_of(old)):
            for secret in self._secrets.by_index(_INDEX, key_of(old)):
                self.queue.add(key_of(secret))

    async def reconcile(self, key: str) -> float | None:
        """Fill one Secret, or delete it."""
        secret = self._secrets.get(key)
        account_key = account_key_of(secret) if secret is not None else ""
        if secret is None or not account_key:
            return None
        account = self._accounts.get(account_key)
        if account is None or not is_account_of(secret, account):
            account = await self._live_account(account_key)
        try:
            if account is None or not is_account_of(secret, account):
                await self.client.delete(SECRETS, name_of(secret), namespace_of(secret), uid=uid_of(secret))
            elif (wanted := plan_secret(secret, account, self._ca_pem, self._token_for)) is not None:
                await self.client.update(SECRETS, wanted)
        except errors.NotFound:
            return None
        return None

    async def _live_account(self, key: str) -> Object | None:
        """The cache may be behind, and a Secret that is deleted cannot be had back."""
        namespace, _, name = key.partition("/")
        try:
            return await self.client.get(SERVICE_ACCOUNTS, name, namespace)
        except errors.NotFound:
            return None
