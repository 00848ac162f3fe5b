"""How long a request may take when its client says so: the parameter `timeout`, which client-go sends for its own.

Mirrors kube-apiserver's request deadline filter. What is there to stay (watches, logs, exec, proxies) has none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TypeVar

from orchestrator.aiokit.clock import Clock
from orchestrator.aiokit.time_limit import time_limit
from orchestrator.api import errors
from orchestrator.config.durations import parse_duration

REQUEST_SECONDS_MAX = 60.0
"""As kube-apiserver's `--request-timeout`: nobody may ask for more."""
_STAYING = frozenset(("attach", "exec", "log", "portforward", "proxy"))
T = TypeVar("T")


def deadline_seconds(query: Mapping[str, str], verb: str, subresource: str) -> float | None:
    """What a client allows its request; None where it says nothing, or as much as the server allows; BadRequest."""
    text = query.get("timeout")
    if not text or verb == "watch" or subresource in _STAYING:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise errors.BadRequest(f"invalid timeout specified in the request URL - {error}") from None
    return seconds if 0 < seconds < REQUEST_SECONDS_MAX else None


async def within(clock: Clock, seconds: float, work: Awaitable[T]) -> T:
    """Do the work of a request, but not for longer; 504 says that it may have been done all the same."""
    try:
        async with time_limit(clock, seconds) as scope:
            return await work
    except TimeoutError:
        if not scope.expired():
            raise
        why = "request did not complete within requested timeout - context deadline exceeded"
        raise errors.Timeout(f"Timeout: {why}") from None
