"""Authentication: from a client certificate or a bearer token to a User.

Mirrors kube-apiserver's x509 and token authenticators: CN is the user and O are the groups; a
request without any credentials is anonymous; one with wrong credentials is refused with 401.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from msgspec.structs import replace

from orchestrator.api import errors
from orchestrator.apiserver.user import ANONYMOUS, AUTHENTICATED_GROUP, User
from orchestrator.component.client_certificates import CREDENTIAL_ID, PeerCertificate, user_of_certificate


class TokenAuthenticator(Protocol):
    """Knows some bearer tokens."""

    async def authenticate(self, token: str) -> User | None:
        """The user whom this token stands for; None when it is not one of ours."""
        ...


class StaticTokens:
    """Bearer tokens that are known beforehand, as kube-apiserver's `--token-auth-file` has them."""

    def __init__(self, users: Mapping[str, User], *, audience: str) -> None:
        self._users = {
            token: replace(user, groups=(*user.groups, AUTHENTICATED_GROUP))
            if AUTHENTICATED_GROUP not in user.groups
            else user
            for token, user in users.items()
        }
        self._audience = audience

    async def authenticate(self, token: str) -> User | None:
        """The user whom a token stands for."""
        return self._users.get(token)

    async def review(self, token: str, audiences: tuple[str, ...]) -> tuple[User | None, list[str]]:
        """The same for a TokenReview: these tokens are for the API server itself and for nobody else."""
        user = self._users.get(token)
        if user is None or (audiences and self._audience not in audiences):
            return None, []
        return user, [self._audience]


Impersonate = Callable[[User, Mapping[str, str]], Awaitable[User]]


class Authenticator:
    """Tries the client certificate first, then bearer tokens, then falls back to anonymous."""

    def __init__(self, tokens: tuple[TokenAuthenticator, ...] = ()) -> None:
        self.tokens = tokens
        self._by_certificate: dict[bytes, User] = {}

    async def authenticate(self, peer_certificate: PeerCertificate | None, authorization: str) -> User:
        """The user of a request; raises Unauthorized for credentials that are not good."""
        if peer_certificate is not None:
            user = self._user_of_certificate(peer_certificate)
            if user is not None:
                return user
        if authorization:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() == "bearer":
                for authenticator in self.tokens:
                    user = await authenticator.authenticate(token.strip())
                    if user is not None:
                        return user
            raise errors.Unauthorized("Unauthorized")
        return ANONYMOUS

    def _user_of_certificate(self, certificate: PeerCertificate) -> User | None:
        user = self._by_certificate.get(certificate.der)
        if user is None:
            found = user_of_certificate(certificate)
            if found is None:
                return None
            groups = (*found.groups, AUTHENTICATED_GROUP)
            user = User(found.name, found.uid, groups, {CREDENTIAL_ID: (found.credential_id,)})
            if len(self._by_certificate) >= 4096:
                self._by_certificate.clear()
            self._by_certificate[certificate.der] = user
        return user
