"""Hands requests on to the pods behind an Ingress: HTTP/1.1 with streamed bodies, WebSocket and other upgrades.

A backend that cannot be connected to is left for another one; what was sent is never sent twice, unless repeating it
is harmless.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from orchestrator.httpkit.forwarding import (
    HEADER_BYTES_MAX,
    body_of,
    copy_body,
    end_to_end_headers,
    forwarded_headers,
    open_session,
    tunnel,
)
from orchestrator.logs import get_logger

if TYPE_CHECKING:
    import ssl

    import aiohttp

CONNECT_SECONDS_MAX = 5.0
BACKENDS_TRIED_MAX = 3
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
GOODBYE_SECONDS = 1.0

Address = tuple[str, int]
FindBackends = Callable[[str, str], Sequence[Address] | None]
"""(host, path) → endpoints of the backend; None when no rule matches."""


class IngressServer:
    """Listens for HTTP and HTTPS; use `listen`, then `close`."""

    def __init__(self, find: FindBackends) -> None:
        self._find = find
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.ServerRunner | None = None
        self._log = get_logger("ingress")

    async def listen(self, address: str, *, port: int = 0, tls: ssl.SSLContext | None = None) -> int:
        """Accept connections there; returns the port. OSError when another program has it."""
        if self._runner is None:
            self._session = open_session(connect_seconds=CONNECT_SECONDS_MAX)
            server = web.Server(
                self._serve, access_log=None, max_line_size=HEADER_BYTES_MAX, max_field_size=HEADER_BYTES_MAX
            )
            self._runner = web.ServerRunner(server, shutdown_timeout=GOODBYE_SECONDS)
            await self._runner.setup()
        site = web.TCPSite(self._runner, address, port, ssl_context=tls, reuse_address=True)
        await site.start()
        return int(self._runner.addresses[-1][1])

    async def close(self) -> None:
        """End all connections."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _serve(self, raw: web.BaseRequest) -> web.StreamResponse:
        path = raw.raw_path.partition("?")[0]
        host = raw.host.rpartition(":")[0] if raw.host.rpartition(":")[2].isdigit() else raw.host
        backends = self._find(host, path)
        if backends is None:
            return _refusal(HTTPStatus.NOT_FOUND)
        if not backends:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE)
        upgrade = raw.headers.get("Upgrade", "") if "upgrade" in raw.headers.get("Connection", "").lower() else ""
        response = await self._ask(raw, backends, upgrade)
        if response is None:
            return _refusal(HTTPStatus.BAD_GATEWAY)
        try:
            if response.status == HTTPStatus.SWITCHING_PROTOCOLS:
                return await tunnel(raw, response, upgrade)
            return await _answer(raw, response)
        finally:
            response.close()

    async def _ask(
        self, raw: web.BaseRequest, backends: Sequence[Address], upgrade: str
    ) -> aiohttp.ClientResponse | None:
        """The answer of the first backend that can be reached; None when none of those tried can."""
        import aiohttp
        from yarl import URL

        assert self._session is not None
        has_body = raw.can_read_body and not upgrade
        tried = random.sample(backends, min(len(backends), BACKENDS_TRIED_MAX))
        if len(tried) == 1:
            tried *= 2  # it may have been replaced meanwhile
        for address, port in tried:
            try:
                return await self._session.request(
                    raw.method,
                    URL(f"http://{address}:{port}{raw.raw_path}", encoded=True),
                    headers=_headers(raw, upgrade),
                    data=body_of(raw) if has_body else None,
                    allow_redirects=False,
                    read_until_eof=not upgrade,
                    skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                )
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                self._log.debug("backend.unreachable", address=address, port=port, error=str(error))
            except (aiohttp.ClientError, OSError, ValueError) as error:
                self._log.debug("backend.failed", address=address, port=port, error=str(error))
                if has_body or raw.method not in SAFE_METHODS:
                    return None
        return None


def _headers(raw: web.BaseRequest, upgrade: str) -> list[tuple[str, str]]:
    client = raw.remote or ""
    own = {
        "X-Real-IP": client,
        "X-Forwarded-Host": raw.host,
        "X-Forwarded-Proto": "https" if raw.secure else "http",
        "X-Forwarded-Port": "443" if raw.secure else "80",
    }
    dropped = tuple(name.lower() for name in own)
    return [*forwarded_headers(raw, upgrade, without=dropped), *((name, value) for name, value in own.items() if value)]


async def _answer(raw: web.BaseRequest, response: aiohttp.ClientResponse) -> web.StreamResponse:
    answer = web.StreamResponse(status=response.status, reason=response.reason)
    for name, value in end_to_end_headers(response.headers):
        answer.headers.add(name, value)
    is_bodiless = raw.method == "HEAD" or response.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
    if "Content-Length" not in answer.headers and not is_bodiless:
        answer.enable_chunked_encoding()
    await answer.prepare(raw)
    if not is_bodiless:
        await copy_body(response, answer)
    return answer


def _refusal(status: HTTPStatus) -> web.Response:
    return web.Response(status=status, text=f"{status.value} {status.phrase}\n")
