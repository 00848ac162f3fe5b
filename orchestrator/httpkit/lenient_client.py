"""A connector for answers that are not quite HTTP, as Go's client takes them too.

Apart from `forwarding` because it needs the whole HTTP client, which is imported when it is first used.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler


class _LenientHandler(ResponseHandler):
    def set_response_params(self, *, skip_payload: bool = False, **params: Any) -> None:
        """Read on behind the headers of an answer to HEAD.

        Told that there is no body, the parser takes one for the next answer, and fails.
        """
        super().set_response_params(skip_payload=False, **params)


class LenientConnector(aiohttp.TCPConnector):
    """Understands servers that answer HEAD with a body."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        handler: type[ResponseHandler] = _LenientHandler
        self._factory = functools.partial(handler, loop=asyncio.get_running_loop())
