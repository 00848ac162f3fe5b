"""Hands requests on to another server: which headers go along, bodies as streams, upgraded connections.

Mirrors Go's `httputil.ReverseProxy` (RFC 9110, section 7.6).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from orchestrator.httpkit.byte_connection import BackendConnection, ByteConnection, UpgradedConnection
from orchestrator.httpkit.expectation import invite_body

if TYPE_CHECKING:
    import aiohttp
    from multidict import CIMultiDictProxy

HEADER_BYTES_MAX = 64 * 1024
CHUNK_BYTES = 64 * 1024
HOP_BY_HOP = frozenset(
    (
        "connection",
        "expect",  # answered here, see `body_of`
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


def open_session(*, connect_seconds: float) -> aiohttp.ClientSession:
    """A client that passes on what it gets: no decoding, no cookies, a connection for each request.

    It takes the answer to a HEAD for one with a body, which nobody may read: there is none, or one that a server sent
    by mistake and that ends with its connection.
    """
    import aiohttp

    from orchestrator.httpkit.lenient_client import LenientConnector

    return aiohttp.ClientSession(
        connector=LenientConnector(limit=0, force_close=True, use_dns_cache=False),
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_seconds, sock_connect=connect_seconds),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
    )


def end_to_end_headers(headers: CIMultiDictProxy[str]) -> list[tuple[str, str]]:
    """Those that are not about one connection alone."""
    dropped = HOP_BY_HOP | _named_in_connection(headers.getall("Connection", []))
    return [(name, value) for name, value in headers.items() if name.lower() not in dropped]


def forwarded_headers(raw: web.BaseRequest, upgrade: str, *, without: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """The client's headers as a backend gets them, except those that begin with one of `without`."""
    headers = [(name, value) for name, value in end_to_end_headers(raw.headers) if not name.lower().startswith(without)]
    if upgrade:
        headers += [("Connection", "Upgrade"), ("Upgrade", upgrade)]
    peer = raw.transport.get_extra_info("peername") if raw.transport is not None else None
    if peer:
        earlier = raw.headers.getall("X-Forwarded-For", [])
        headers = [(name, value) for name, value in headers if name.lower() != "x-forwarded-for"]
        headers.append(("X-Forwarded-For", ", ".join([*earlier, str(peer[0])])))
    return headers


def _named_in_connection(values: list[str]) -> frozenset[str]:
    return frozenset(name.strip().lower() for value in values for name in value.split(","))


async def body_of(raw: web.BaseRequest) -> AsyncIterator[bytes]:
    """The body of a request as it comes in, or as it is sent when we ask for it."""
    invite_body(raw)
    async for chunk in raw.content.iter_chunked(CHUNK_BYTES):
        yield chunk


class Rewriter(Protocol):
    """Something that a body passes through on its way."""

    def feed(self, data: bytes) -> bytes:
        """As much of the new body as is known after these bytes; ValueError when it cannot be read."""
        ...

    def finish(self) -> bytes:
        """The rest, at the end of the body."""
        ...


async def copy_body(
    response: aiohttp.ClientResponse, answer: web.StreamResponse, rewriter: Rewriter | None = None
) -> None:
    """Pass the body of an answer on as it comes in; ConnectionResetError when it breaks off."""
    import aiohttp

    try:
        async for chunk in response.content.iter_any():
            await answer.write(rewriter.feed(chunk) if rewriter is not None else chunk)
        if rewriter is not None:
            await answer.write(rewriter.finish())
    except (aiohttp.ClientError, ValueError) as error:
        # The status is already sent: all that is left is to break off, so that the client knows.
        raise ConnectionResetError(f"the backend broke off: {error}") from error


async def tunnel(raw: web.BaseRequest, response: aiohttp.ClientResponse, upgrade: str) -> web.StreamResponse:
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
