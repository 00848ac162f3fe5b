"""Hands an HTTP request on to another server and its answer back: HTTP/1.1 with bodies streamed, and upgrades.

Owns what changes on the way: hop-by-hop headers, credentials, forwarded headers, redirects. Knows nothing
of pods and Services (see `proxies`). Mirrors apimachinery's `UpgradeAwareHandler`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from aiohttp import web

from orchestrator.api import errors
from orchestrator.apiserver.http.byte_connection import BackendConnection, ByteConnection, UpgradedConnection
from orchestrator.apiserver.http.server import HttpRequest, HttpServer

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS_MAX = 30.0
HEADER_BYTES_MAX = 64 * 1024
CHUNK_BYTES = 64 * 1024
HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
CREDENTIALS = ("authorization", "impersonate-")
"""Meant for the API server: a pod must not get to see them."""


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
        extra_headers: Iterable[tuple[str, str]] = (),
    ) -> web.StreamResponse:
        """Send the request to the URL `target` (still quoted); the backend's redirects come back below `prefix`.

        ServiceUnavailable when the backend cannot be reached.
        """
        import aiohttp
        from yarl import URL

        raw = request.raw
        upgrade = request.header("Upgrade") if "upgrade" in request.header("Connection").lower() else ""
        headers = [*forwarded_headers(raw, upgrade), *extra_headers]
        session = self._open_session()
        try:
            response = await session.request(
                raw.method,
                URL(target, encoded=True),
                headers=headers,
                data=None if upgrade or not raw.can_read_body else _body(raw),
                allow_redirects=False,
                ssl=tls,
                read_until_eof=not upgrade,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise errors.ServiceUnavailable(
                f"error trying to reach service: {describe_failure(target, error)}"
            ) from error
        try:
            if response.status == 101:
                return await _tunnel(raw, response, upgrade)
            return await self._answer(request, response, target, prefix)
        finally:
            response.close()

    async def _answer(
        self, request: HttpRequest, response: aiohttp.ClientResponse, target: str, prefix: str
    ) -> web.StreamResponse:
        raw = request.raw
        answer = web.StreamResponse(status=response.status, reason=response.reason)
        dropped = HOP_BY_HOP | _named_in_connection(response.headers.getall("Connection", []))
        for name, value in response.headers.items():
            if name.lower() not in dropped:
                answer.headers.add(name, rewritten_location(value, target, prefix) if name == "Location" else value)
        is_bodiless = raw.method == "HEAD" or response.status in (204, 304)
        if "Content-Length" not in answer.headers and not is_bodiless:
            answer.enable_chunked_encoding()
        await answer.prepare(raw)
        if not is_bodiless:
            await self._http.until_disconnected(raw, _copy(response, answer))
        return answer

    def _open_session(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True, use_dns_cache=False),
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=CONNECT_SECONDS_MAX, sock_connect=CONNECT_SECONDS_MAX
                ),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                max_line_size=HEADER_BYTES_MAX,
                max_field_size=HEADER_BYTES_MAX,
            )
        return self._session


def forwarded_headers(raw: web.BaseRequest, upgrade: str) -> list[tuple[str, str]]:
    """The client's headers as a backend gets them."""
    dropped = HOP_BY_HOP | _named_in_connection(raw.headers.getall("Connection", []))
    headers = [
        (name, value)
        for name, value in raw.headers.items()
        if (lower := name.lower()) not in dropped and not lower.startswith(CREDENTIALS)
    ]
    if upgrade:
        headers += [("Connection", "Upgrade"), ("Upgrade", upgrade)]
    peer = raw.transport.get_extra_info("peername") if raw.transport is not None else None
    if peer:
        earlier = raw.headers.getall("X-Forwarded-For", [])
        headers = [(name, value) for name, value in headers if name.lower() != "x-forwarded-for"]
        headers.append(("X-Forwarded-For", ", ".join([*earlier, str(peer[0])])))
    if "X-Forwarded-Uri" not in raw.headers:
        headers.append(("X-Forwarded-Uri", raw.raw_path.partition("?")[0]))
    return headers


def _named_in_connection(values: list[str]) -> frozenset[str]:
    return frozenset(name.strip().lower() for value in values for name in value.split(","))


def rewritten_location(location: str, target: str, prefix: str) -> str:
    """Where a redirect of the backend leads, seen from the client; other hosts are left alone.

    Simplified: links inside of HTML pages are not rewritten.
    """
    url, backend = urlsplit(location), urlsplit(target)
    if url.netloc and url.netloc != backend.netloc:
        return location
    if not url.netloc and not url.path.startswith("/"):
        return location  # relative to where the client is
    return urlunsplit(("", "", prefix.rstrip("/") + (url.path or "/"), url.query, url.fragment))


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


async def _body(raw: web.BaseRequest) -> AsyncIterator[bytes]:
    async for chunk in raw.content.iter_chunked(CHUNK_BYTES):
        yield chunk


async def _copy(response: aiohttp.ClientResponse, answer: web.StreamResponse) -> None:
    import aiohttp

    try:
        async for chunk in response.content.iter_any():
            await answer.write(chunk)
    except aiohttp.ClientError as error:
        # The status is already sent: all that is left is to break off, so that the client knows.
        raise ConnectionResetError(f"the backend broke off: {error}") from error


async def _tunnel(raw: web.BaseRequest, response: aiohttp.ClientResponse, upgrade: str) -> web.StreamResponse:
    """Pass bytes on in both directions until either end closes."""
    backend = BackendConnection(response)
    kept = {name: value for name, value in response.headers.items() if name.lower() not in HOP_BY_HOP}
    try:
        client = await UpgradedConnection.accept(raw, response.headers.get("Upgrade", upgrade), kept)
    except ConnectionError:
        await backend.close()
        raise
    ways = [
        asyncio.create_task(_pass_on(client, backend), name="proxy/to-backend"),
        asyncio.create_task(_pass_on(backend, client), name="proxy/to-client"),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        await backend.close()
        await client.close()
    return client.response


async def _pass_on(source: ByteConnection, sink: ByteConnection) -> None:
    try:
        while data := await source.read():
            await sink.write(data)
    except ConnectionError:
        return  # the other end is gone, which ends this way as well
