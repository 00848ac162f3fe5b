"""Bootstrap tokens: sign the cluster's address for those who know one, delete them when they expire.

Owns the signatures in the ConfigMap `kube-public/cluster-info` and the end of tokens. Never
authenticates anybody. Mirrors bootstrap-signer-controller and token-cleaner-controller
(https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

import orjson

from orchestrator.aiokit.clock import parse_time
from orchestrator.api import errors
from orchestrator.api.objects import Object, copy_object, is_terminating, key_of, name_of, namespace_of, uid_of
from orchestrator.api.resources import CONFIG_MAPS, SECRETS
from orchestrator.component.controller import Controller

TOKEN_TYPE = "bootstrap.kubernetes.io/token"
TOKEN_NAMESPACE = "kube-system"
CLUSTER_INFO = "kube-public/cluster-info"
SIGNATURE_PREFIX = "jws-kubeconfig-"

_ID, _SECRET = re.compile(r"[a-z0-9]{6}"), re.compile(r"[a-z0-9]{16}")


def is_token(secret: Object) -> bool:
    """Whether a Secret is a bootstrap token."""
    return namespace_of(secret) == TOKEN_NAMESPACE and secret.get("type") == TOKEN_TYPE


def field_of(secret: Object, name: str) -> str:
    """One field of a Secret as text; empty when it is absent or no text."""
    try:
        return base64.b64decode((secret.get("data") or {}).get(name) or "").decode()
    except ValueError:
        return ""


def expiry_of(secret: Object) -> datetime | None:
    """When a token ends; None for one that does not. A text that is no time has ended long ago."""
    text = field_of(secret, "expiration")
    if not text:
        return None
    try:
        return parse_time(text)
    except ValueError:
        return datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def signing_token(secret: Object, now: datetime) -> tuple[str, str] | None:
    """(id, secret) of a token that may sign now."""
    token_id, token_secret = field_of(secret, "token-id"), field_of(secret, "token-secret")
    if not _ID.fullmatch(token_id) or not _SECRET.fullmatch(token_secret):
        return None
    if name_of(secret) != f"bootstrap-token-{token_id}" or field_of(secret, "usage-bootstrap-signing") != "true":
        return None
    end = expiry_of(secret)
    return None if end is not None and end <= now else (token_id, token_secret)


def detached_signature(content: str, token_id: str, token_secret: str) -> str:
    """A JWS (HS256) of a text without the text itself: `header..signature`."""
    header = _base64url(orjson.dumps({"alg": "HS256", "kid": token_id}))
    message = f"{header}.{_base64url(content.encode())}".encode()
    digest = hmac.new(f"{token_id}.{token_secret}".encode(), message, hashlib.sha256).digest()
    return f"{header}..{_base64url(digest)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def plan_signatures(cluster_info: Object, tokens: Iterable[Object], now: datetime) -> dict[str, str] | None:
    """The data of `cluster-info` with a signature for each token; None when it is right already."""
    data: dict[str, str] = cluster_info.get("data") or {}
    wanted = {key: value for key, value in data.items() if not key.startswith(SIGNATURE_PREFIX)}
    if content := data.get("kubeconfig"):
        for secret in tokens:
            if not is_terminating(secret) and (token := signing_token(secret, now)) is not None:
                wanted[SIGNATURE_PREFIX + token[0]] = detached_signature(content, *token)
    return None if wanted == data else wanted


class BootstrapSigner(Controller):
    """One key: the ConfigMap."""

    name: ClassVar[str] = "bootstrapsigner"
    workers: ClassVar[int] = 1

    def setup(self) -> None:
        """Tokens and the ConfigMap lead to it."""
        self._secrets = self.informer(SECRETS)
        self._config_maps = self.informer(CONFIG_MAPS)
        self._secrets.add_index("bootstrap-token", lambda secret: ["yes"] if is_token(secret) else [])
        self._secrets.add_handler(self._on_secret)
        self._config_maps.add_handler(self._on_config_map)

    def _on_secret(self, old: Object | None, new: Object | None) -> None:
        if any(one is not None and is_token(one) for one in (old, new)):
            self.queue.add(CLUSTER_INFO)

    def _on_config_map(self, old: Object | None, new: Object | None) -> None:
        if new is not None and key_of(new) == CLUSTER_INFO:
            self.queue.add(CLUSTER_INFO)

    async def reconcile(self, key: str) -> float | None:
        """Bring the signatures in line with the tokens."""
        cluster_info = self._config_maps.get(key)
        if cluster_info is None:
            return None
        now = self.clock.now()
        tokens = self._secrets.by_index("bootstrap-token", "yes")
        data = plan_signatures(cluster_info, tokens, now)
        if data is not None:
            changed = copy_object(cluster_info)
            changed["data"] = data
            await self.client.update(CONFIG_MAPS, changed)
        ends = [end for token in tokens if (end := expiry_of(token)) is not None and end > now]
        return (min(ends) - now).total_seconds() if ends else None


class TokenCleaner(Controller):
    """Each token that expires has one timer."""

    name: ClassVar[str] = "tokencleaner"

    def setup(self) -> None:
        """Tokens by key."""
        self._secrets = self.informer(SECRETS)
        self._secrets.add_handler(self._on_secret)

    def _on_secret(self, old: Object | None, new: Object | None) -> None:
        if new is not None and is_token(new) and expiry_of(new) is not None:
            self.enqueue_object(old, new)

    async def reconcile(self, key: str) -> float | None:
        """Delete the token when it has expired."""
        secret = self._secrets.get(key)
        end = expiry_of(secret) if secret is not None and is_token(secret) else None
        if secret is None or end is None:
            return None
        left = (end - self.clock.now()).total_seconds()
        if left > 0:
            return left
        try:
            await self.client.delete(SECRETS, name_of(secret), namespace_of(secret), uid=uid_of(secret))
        except errors.NotFound:
            return None
        return None
