"""Authentication and authorization that a component leaves to the API server: who is asking, and may they.

A client certificate of the cluster's CA says by itself who it is; a bearer token is what a TokenReview says of it, and
what somebody may is what a SubjectAccessReview says. There is nobody anonymous. Mirrors k8s.io/apiserver's delegating
authenticator and authorizer, as kubelet, scheduler and controller manager use them.
"""

from __future__ import annotations

from orchestrator.api.objects import Object
from orchestrator.api.resources import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS
from orchestrator.client.client import Client
from orchestrator.component.client_certificates import CREDENTIAL_ID, PeerCertificate, user_of_certificate

AUTHENTICATED_GROUP = "system:authenticated"
TOKEN_BYTES_MAX = 64 << 10


class DelegatedAuth:
    """Asks the API server in the name of one component."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def authenticate(self, certificate: PeerCertificate | None, authorization: str) -> Object | None:
        """The UserInfo of who shows these; None when it is nobody known. ApiError when the API server cannot tell."""
        if certificate is not None and (found := user_of_certificate(certificate)) is not None:
            extra = {CREDENTIAL_ID: [found.credential_id]}
            return {
                "username": found.name,
                "uid": found.uid,
                "groups": [*found.groups, AUTHENTICATED_GROUP],
                "extra": extra,
            }
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > TOKEN_BYTES_MAX:
            return None
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        status = (await self._client.create(TOKEN_REVIEWS, {**review, "metadata": {}})).get("status") or {}
        user: Object = status.get("user") or {}
        return user if status.get("authenticated") else None

    async def is_allowed(self, user: Object, attributes: Object) -> bool:
        """Whether a user may do this: `resourceAttributes` or `nonResourceAttributes` of a review. ApiError."""
        spec: Object = {"user": user.get("username", ""), **attributes}
        for name in ("uid", "groups", "extra"):
            if user.get(name):
                spec[name] = user[name]
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}, "spec": spec}
        answer = await self._client.create(SUBJECT_ACCESS_REVIEWS, review)
        return bool((answer.get("status") or {}).get("allowed"))
