"""Clients that ask before they send a body (`Expect: 100-continue`; RFC 9110, section 10.1.1).

libcurl does so with large bodies, and waits a second for the answer. Go's servers tell such a client to go on when
the body is first read; aiohttp leaves it to whoever handles a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def invite_body(raw: web.BaseRequest) -> None:
    """Tell the client that its body will be read, if it waits for that."""
    waits = raw.headers.get("Expect", "").lower() == "100-continue" and not raw.content.is_eof()
    if waits and raw.version >= (1, 1) and raw.transport is not None:
        raw.transport.write(CONTINUE)
