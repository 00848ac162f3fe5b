"""The last that each component logged, kept in memory for those who ask a component for its log.

Owns the limits. Lines are the same as on stderr; what is older than the limits is only there. Mirrors the log files
that a kubelet keeps of containers.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime

LINES_MAX = 200
BYTES_MAX = 64 << 10
_COLORS = re.compile(rb"\x1b\[[0-9;]*m")


class ComponentLog:
    """A bounded tail of lines; written from any thread, read on the event loop."""

    def __init__(self) -> None:
        self._lines: deque[tuple[int, datetime, bytes]] = deque()
        self._bytes = 0
        self._next = 0
        self._lock = threading.Lock()
        self._followers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def append(self, at: datetime, line: bytes) -> None:
        """Keep a line, which has no end of line; the oldest ones make room."""
        line = line[:BYTES_MAX]
        with self._lock:
            self._lines.append((self._next, at, line))
            self._next += 1
            self._bytes += len(line)
            while len(self._lines) > LINES_MAX or self._bytes > BYTES_MAX:
                self._bytes -= len(self._lines.popleft()[2])
        self.wake()

    def wake(self) -> None:
        """Have those who follow look whether there is more, or an end."""
        for event, loop in [*self._followers.items()]:
            loop.call_soon_threadsafe(event.set)

    def lines(self, since: datetime | None, until: datetime | None, *, after: int = -1) -> list[tuple[int, bytes, str]]:
        """(number, line, time) of what is kept and was logged in that time, the end excluded."""
        with self._lock:
            kept = [*self._lines]
        return [
            (number, line, _stamp(at))
            for number, at, line in kept
            if number > after and (since is None or at >= since) and (until is None or at < until)
        ]

    async def read(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        tail_lines: int | None = None,
        timestamps: bool = False,
        follow: Callable[[], bool] | None = None,
    ) -> AsyncIterator[bytes]:
        """What is kept, line by line, and with `follow` what comes, as long as that says so."""
        found = self.lines(since, until)
        last = found[-1][0] if found else -1
        if tail_lines is not None:
            found = found[len(found) - tail_lines :] if tail_lines < len(found) else found
        event = asyncio.Event()
        if follow is not None:
            self._followers[event] = asyncio.get_running_loop()
        try:
            while True:
                for number, line, stamp in found:
                    last = max(last, number)
                    yield (f"{stamp} ".encode() if timestamps else b"") + line + b"\n"
                if follow is None or not follow():
                    return
                await event.wait()
                event.clear()
                found = self.lines(since, until, after=last)
        finally:
            self._followers.pop(event, None)


class ComponentLogs:
    """Divides what the process logs among its components."""

    def __init__(self, loggers: Mapping[str, str], now: Callable[[], datetime]) -> None:
        """`loggers`: the component that a logger belongs to, with all loggers below it (`apiserver/http`)."""
        self._now = now
        self._loggers = dict(loggers)
        self._logs: dict[str, ComponentLog] = {component: ComponentLog() for component in loggers.values()}

    def of(self, component: str) -> ComponentLog:
        """The log of a component."""
        return self._logs[component]

    def owner(self, logger: str) -> str | None:
        """The component that a logger belongs to; None for one that is no component's."""
        return self._loggers.get(logger.partition("/")[0])

    def take(self, logger: str, line: str) -> None:
        """Keep a line that this logger has written."""
        owner = self.owner(logger)
        if owner is not None:
            self._logs[owner].append(self._now(), _COLORS.sub(b"", line.encode(errors="replace")))


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"
