"""OpenID discovery of the service-account issuer: how others check our tokens (KEP-1393)."""

from __future__ import annotations

from aiohttp import web

from orchestrator.apiserver.http.encoding import encode_value
from orchestrator.apiserver.http.negotiation import Negotiated
from orchestrator.apiserver.http.request import HttpRequest
from orchestrator.apiserver.http.server import HttpServer
from orchestrator.apiserver.service_account_tokens import ALGORITHM, ServiceAccountTokens


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
        return web.Response(body=encode_value(document, Negotiated()), content_type="application/json")

    async def keys(self, request: HttpRequest) -> web.StreamResponse:
        """The public keys."""
        body = encode_value(self._tokens.key_set(), Negotiated())
        return web.Response(body=body, content_type="application/jwk-set+json")
