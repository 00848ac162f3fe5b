"""Hands an HTTP request on to another server and its answer back: HTTP/1.1 with bodies streamed, and upgrades.

Owns what changes on the way: hop-by-hop headers, credentials, forwarded headers, redirects, links of pages. Knows
nothing of pods and Services (see `proxies`). Mirrors apimachinery's `UpgradeAwareHandler`.
"""

from __future__ import annotations

import posixpath
import ssl
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from aiohttp import web

from orchestrator.api import errors
from orchestrator.apiserver.http.html_links import page_rewriter
from orchestrator.apiserver.http.request import HttpRequest
from orchestrator.apiserver.http.server import HttpServer
from orchestrator.httpkit.connections import ClientGone
from orchestrator.httpkit.forwarding import (
    body_of,
    copy_body,
    end_to_end_headers,
    forwarded_headers,
    open_session,
    tunnel,
)

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS_MAX = 30.0
CREDENTIALS = ("authorization", "impersonate-")
"""Meant for the API server: a pod must not get to see them."""
CORS = frozenset(f"access-control-allow-{what}" for what in ("credentials", "headers", "methods", "origin"))
"""Which origins may read an answer is for the API server to say, below whose name it comes."""


class ReverseProxy:
    """One per server; its connections are not shared between requests."""

    def __init__(self, http: HttpServer) -> None:
        self._http = http
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close what is left of the connections to backends."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def serve(
        self,
        request: HttpRequest,
        target: str,
        *,
        prefix: str,
        tls: ssl.SSLContext | bool = True,
        server_name: str = "",
        without: tuple[str, ...] = (),
        extra_headers: Iterable[tuple[str, str]] = (),
    ) -> web.StreamResponse:
        """Send the request to the URL `target` (still quoted); the backend's redirects come back below `prefix`.

        `server_name` is what the backend's certificate must be for, where that is not the URL's host; `without` are
        beginnings of more headers that must not get there. ServiceUnavailable when the backend cannot be reached.
        """
        import aiohttp
        from yarl import URL

        raw = request.raw
        upgrade = request.header("Upgrade") if "upgrade" in request.header("Connection").lower() else ""
        headers = [*forwarded_headers(raw, upgrade, without=(*CREDENTIALS, *without)), *extra_headers]
        if "X-Forwarded-Uri" not in raw.headers:
            headers.append(("X-Forwarded-Uri", raw.raw_path.partition("?")[0]))
        session = self._open_session()

        async def ask() -> aiohttp.ClientResponse:
            return await session.request(
                raw.method,
                URL(target, encoded=True),
                headers=headers,
                data=None if upgrade or not raw.can_read_body else body_of(raw),
                allow_redirects=False,
                ssl=tls,
                server_hostname=server_name or None,
                read_until_eof=not upgrade,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )

        try:
            response = await self._http.until_disconnected(raw, ask())
        except ClientGone:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise errors.ServiceUnavailable(
                f"error trying to reach service: {describe_failure(target, error)}"
            ) from error
        try:
            if response.status == 101:
                return await tunnel(raw, response, upgrade)
            return await self._answer(request, response, target, prefix)
        finally:
            response.close()

    async def _answer(
        self, request: HttpRequest, response: aiohttp.ClientResponse, target: str, prefix: str
    ) -> web.StreamResponse:
        raw = request.raw
        answer = web.StreamResponse(status=response.status, reason=response.reason)
        rewrite = partial(rewritten_url, target=target, prefix=prefix, host=request.header("Host"))
        for name, value in end_to_end_headers(response.headers):
            if prefix and name.lower() in CORS:
                continue
            answer.headers.add(name, rewrite(value) if name == "Location" else value)
        is_bodiless = raw.method == "HEAD" or response.status in (204, 304)
        page = None
        if prefix and not is_bodiless and "Location" not in answer.headers:
            encoding = response.headers.get("Content-Encoding", "")
            page = page_rewriter(response.headers.get("Content-Type", ""), encoding, rewrite)
        if page is not None:
            answer.headers.pop("Content-Length", None)
        if "Content-Length" not in answer.headers and not is_bodiless:
            answer.enable_chunked_encoding()
        await answer.prepare(raw)
        if not is_bodiless:
            await self._http.until_disconnected(raw, copy_body(response, answer, page))
        return answer

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = open_session(connect_seconds=CONNECT_SECONDS_MAX)
        return self._session


def rewritten_url(url: str, *, target: str, prefix: str, host: str) -> str:
    """Where a redirect or link of the backend leads, seen from the client.

    Absolute paths on the backend itself, or on the `host` that the client asked, come below `prefix`; other hosts and
    relative paths are left alone (`rewriteURL` in apimachinery's proxy).
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if parts.netloc and parts.netloc not in (urlsplit(target).netloc, host):
        return url
    if not parts.path.startswith("/"):
        return url
    scheme, netloc = (parts.scheme, parts.netloc) if parts.netloc == host else ("", "")
    path = parts.path
    if not path.startswith(prefix):
        path = posixpath.normpath(f"{prefix}/{path}") + ("/" if path.endswith("/") else "")
    return urlunsplit((scheme, netloc, path, parts.query, parts.fragment))


def describe_failure(target: str, error: BaseException) -> str:
    """Why a backend was not reached, in the words of Go's network package where there are such."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    number = getattr(cause, "errno", None) or getattr(getattr(error, "os_error", None), "errno", None)
    import errno

    words = {
        errno.ECONNREFUSED: "connect: connection refused",
        errno.EHOSTUNREACH: "connect: no route to host",
        errno.ENETUNREACH: "connect: network is unreachable",
        errno.ETIMEDOUT: "connect: connection timed out",
        errno.ECONNRESET: "read: connection reset by peer",
    }.get(number or 0)
    host = urlsplit(target)
    address = host.netloc if host.port else f"{host.netloc}:{443 if host.scheme == 'https' else 80}"
    if words:
        return f"dial tcp {address}: {words}"
    if isinstance(error, TimeoutError):
        return f"dial tcp {address}: i/o timeout"
    return str(error) or type(error).__name__
