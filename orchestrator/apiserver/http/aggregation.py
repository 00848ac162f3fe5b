"""Requests for the group versions of remote APIServices: authorized here, answered by the server behind them.

The user goes along in `X-Remote-*` headers, which the other server believes because of our client certificate
(its CA is in the ConfigMap `extension-apiserver-authentication`). Mirrors kube-aggregator's proxy handler.
"""

from __future__ import annotations

from aiohttp import web

from orchestrator.apiserver.aggregation.api_services import ApiServices
from orchestrator.apiserver.aggregation.plan import GroupVersion, remote_user_headers
from orchestrator.apiserver.http.plain_text import plain_error
from orchestrator.apiserver.http.request import HttpRequest
from orchestrator.apiserver.http.reverse_proxy import ReverseProxy
from orchestrator.apiserver.http.routing import Route, verb_of
from orchestrator.apiserver.http.server import HttpServer


class Aggregator:
    """Registers itself with an HTTP server; `close` it with the server."""

    def __init__(self, http: HttpServer, services: ApiServices) -> None:
        self._http = http
        self._services = services
        self._proxy = ReverseProxy(http)
        http.aggregator = self

    async def close(self) -> None:
        """Close the connections to remote servers."""
        await self._proxy.close()
        await self._services.close()

    def find(self, path: str) -> GroupVersion | None:
        """The remote group version that a path belongs to."""
        if not self._services.remote or not path.startswith("/apis/"):
            return None
        parts = path.split("/", 4)
        which = GroupVersion(parts[2], parts[3]) if len(parts) > 3 else None
        return which if which in self._services.remote else None

    async def serve(self, request: HttpRequest, which: GroupVersion, route: Route | None) -> web.StreamResponse:
        """Authorize a request as any other, and hand it on; it holds a seat unless it is there to stay."""
        verb = ""
        if route is None:
            self._http.authorize_path(request)
        else:
            verb = verb_of(request.method, route, request.query)
            self._http.authorize_unknown(request, route, verb)
        if verb == "watch" or request.header("Upgrade"):
            async with self._http.seat(request):
                pass  # it was its turn
            return await self._forward(request, which)
        async with self._http.seat(request, verb or "get"):
            return await self._forward(request, which)

    async def _forward(self, request: HttpRequest, which: GroupVersion) -> web.StreamResponse:
        service = self._services.remote.get(which)
        if service is None or not self._services.is_available(which):
            return plain_error(503, "service unavailable")
        base, server_name = await self._services.target(service)
        return await self._proxy.serve(
            request,
            base + request.raw.raw_path,
            prefix="",
            tls=self._services.context(service),
            server_name=server_name,
            without=("x-remote-",),
            extra_headers=remote_user_headers(request.user),
        )
