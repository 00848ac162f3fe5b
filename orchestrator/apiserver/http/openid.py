"""OpenID discovery of the service-account issuer: how others check our tokens (KEP-1393)."""

from __future__ import annotations

from aiohttp import web

from orchestrator.apiserver.authentication.service_account_tokens import ALGORITHM, ServiceAccountTokens
from orchestrator.apiserver.http.encoding import encode_value
from orchestrator.apiserver.http.negotiation import JSON, Negotiated
from orchestrator.apiserver.http.request import HttpRequest
from orchestrator.apiserver.http.server import HttpServer

CACHE_CONTROL = "public, max-age=3600"
"""Who checks tokens elsewhere need not ask each time: keys change rarely."""


class OpenIdDocuments:
    """Serves the issuer's configuration and its key set."""

    def __init__(self, http: HttpServer, tokens: ServiceAccountTokens) -> None:
        self._tokens = tokens
        http.paths["/.well-known/openid-configuration"] = self.configuration
        http.paths["/openid/v1/jwks"] = self.keys

    async def configuration(self, request: HttpRequest) -> web.StreamResponse:
        """The issuer, and where its keys are."""
        document = {
            "issuer": self._tokens.issuer,
            "jwks_uri": f"https://{request.raw.host}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }
        return _may_be_kept(encode_value(document, Negotiated()), JSON)

    async def keys(self, request: HttpRequest) -> web.StreamResponse:
        """The public keys."""
        body = encode_value(self._tokens.key_set(), Negotiated())
        return _may_be_kept(body, "application/jwk-set+json")


def _may_be_kept(body: bytes, content_type: str) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": content_type, "Cache-Control": CACHE_CONTROL})
