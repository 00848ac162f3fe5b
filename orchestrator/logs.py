"""Structured logs: one event a line, console on a terminal and JSON otherwise, always to stderr.

Owns how a log event is filtered, enriched and rendered, and routes the standard library's logging
(aiohttp, asyncio, warnings) the same way. Never writes to stdout, which belongs to answers, and
never configures structlog globally: in a program that only embeds `orchestrator` (the test
harness), events go to the standard `logging` until `configure` is called. Mirrors the klog
and component-base/logs set-up of the Kubernetes binaries.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self, TextIO

# structlog.dev imports rich for pretty tracebacks, which is three quarters of structlog's import
# time and never used here. A None in sys.modules makes that optional import fail at once.
if "rich" in sys.modules or "structlog" in sys.modules:
    import structlog
else:
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog
    finally:
        del sys.modules["rich"]

LogFormat = Literal["auto", "console", "json"]
LEVELS: Final = ("debug", "info", "warning", "error", "critical")
FORMATS: Final = ("auto", "console", "json")

Event = dict[str, Any]
Renderer = Callable[[Event], str]
Copy = Callable[[str, str], None]
"""Gets the logger of an event and the line that it became."""

_LIBRARY = logging.getLogger("orchestrator")


@contextmanager
def bound_context(**fields: object) -> Iterator[None]:
    """Add fields to every event inside the `with` block."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


class _Output:
    """Where events end: the standard `logging` until configured, then rendered lines on one stream."""

    def __init__(self) -> None:
        self.level: int | None = None
        self.stream: TextIO | None = None
        self.render: Renderer | None = None
        self.now: Callable[[], datetime] = _wall_time
        self.captured: list[Event] | None = None
        self.copies: list[Copy] = []

    def is_enabled(self, level: int) -> bool:
        if self.captured is not None:
            return True
        return level >= (_LIBRARY.getEffectiveLevel() if self.level is None else self.level)

    def emit(self, level: int, event: Event) -> None:
        if self.captured is not None:
            self.captured.append(event)
            return
        # What the supervisor says of a component belongs to that component.
        logger = str(event.get("failed") or event.get("component", "")) if self.copies else ""
        if self.render is None:
            if self.copies:
                self._copy(logger, _json_renderer()({**event, "timestamp": self._timestamp()}))
            _emit_to_logging(level, event)
            return
        if self.stream is None and not self.copies:
            return
        event.setdefault("timestamp", self._timestamp())
        line = self.render(event)
        self._copy(logger, line)
        if self.stream is None:
            return
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except (OSError, ValueError):
            # The reader of our stderr is gone (closed pipe, closed file). There is nowhere left to
            # say so, and the cluster must outlive its log.
            self.stream = None

    def _copy(self, logger: str, line: str) -> None:
        for copy in self.copies:
            copy(logger, line)

    def _timestamp(self) -> str:
        return self.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _wall_time() -> datetime:
    return datetime.now(UTC)


class Logger(structlog.BoundLoggerBase):
    """An event logger with bound fields; `bind` returns a new one and never changes this one."""

    def bind(self, **new_values: Any) -> Self:
        """A logger that adds these fields to each event."""
        return super().bind(**new_values)

    def is_enabled_for(self, level: int) -> bool:
        """Whether an event of this level (a `logging` constant) would be written; guards costly fields."""
        return _output.is_enabled(level)

    def debug(self, event: str, **fields: Any) -> None:
        """For somebody who is reading the code at the same time."""
        if _output.is_enabled(logging.DEBUG):
            self._emit(logging.DEBUG, "debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """A step that somebody running a cluster wants to see."""
        if _output.is_enabled(logging.INFO):
            self._emit(logging.INFO, "info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Something is off, and the cluster goes on by itself."""
        if _output.is_enabled(logging.WARNING):
            self._emit(logging.WARNING, "warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Something failed and somebody should look."""
        if _output.is_enabled(logging.ERROR):
            self._emit(logging.ERROR, "error", event, fields)

    def critical(self, event: str, **fields: Any) -> None:
        """The process cannot go on."""
        if _output.is_enabled(logging.CRITICAL):
            self._emit(logging.CRITICAL, "critical", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error with the traceback of the exception that is being handled."""
        fields.setdefault("exc_info", True)
        self.error(event, **fields)

    def _emit(self, level: int, level_name: str, event: str, fields: Event) -> None:
        merged = {
            "level": level_name,
            "event": event,
            **structlog.contextvars.get_contextvars(),
            **self._context,
            **fields,
        }
        _output.emit(level, merged)


_output = _Output()


def can_write() -> bool:
    """Whether events still go anywhere: False once the reader of our stderr was found to be gone."""
    return _output.render is None or _output.stream is not None


def get_logger(component: str, **fields: object) -> Logger:
    """The logger of a component; cheap enough for module level, and follows a later `configure`."""
    return Logger(_output, [], {"component": component, **fields})


def configure(
    *,
    level: str = "info",
    format: LogFormat = "auto",
    stream: TextIO | None = None,
    now: Callable[[], datetime] = _wall_time,
) -> None:
    """Take over logging of this process; call once at start-up (a later call replaces the earlier).

    `level` is one of `LEVELS`, `format` one of `FORMATS` (`auto`: console when the stream is a
    terminal), `stream` stderr by default, `now` the wall time of the injected clock. Raises
    ValueError for another level or format.
    """
    if level not in LEVELS:
        raise ValueError(f"log level must be one of {', '.join(LEVELS)}, not {level!r}")
    if format not in FORMATS:
        raise ValueError(f"log format must be one of {', '.join(FORMATS)}, not {format!r}")
    stream = sys.stderr if stream is None else stream
    as_console = format == "console" or (format == "auto" and stream.isatty())
    _output.level = logging.getLevelNamesMapping()[level.upper()]
    _output.stream = stream
    _output.render = _console_renderer(colors=_wants_colors(stream)) if as_console else _json_renderer()
    _output.now = now
    _route_standard_logging(_output.level)


def unconfigure() -> None:
    """Hand events to the standard `logging` again, as before `configure`."""
    _output.level = _output.stream = _output.render = None
    _output.now = _wall_time
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _StandardHandler)]:
        root.removeHandler(handler)
    logging.captureWarnings(False)


def add_copy(copy: Copy) -> None:
    """Hand a copy of every line to this from now on, in whichever thread it was logged."""
    _output.copies.append(copy)


def remove_copy(copy: Copy) -> None:
    """Hand it no more."""
    _output.copies.remove(copy)


@contextmanager
def capture() -> Iterator[list[Event]]:
    """Collect events of every level as dicts instead of writing them; for tests."""
    before, _output.captured = _output.captured, []
    try:
        yield _output.captured
    finally:
        _output.captured = before


def _wants_colors(stream: TextIO) -> bool:
    """Colour on a terminal, unless https://no-color.org says otherwise."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def _console_renderer(*, colors: bool) -> Renderer:
    console = structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback, pad_event_to=40
    )
    return lambda event: str(console(None, str(event["level"]), event))


def _json_renderer() -> Renderer:
    import orjson

    def render(event: Event) -> str:
        event = dict(structlog.processors.format_exc_info(None, "", event))
        ordered = {key: event.pop(key) for key in ("timestamp", "level", "component", "event") if key in event}
        options = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
        return orjson.dumps({**ordered, **event}, default=repr, option=options).decode()

    return render


def _emit_to_logging(level: int, event: Event) -> None:
    """One event as a `logging` record: `text key=value ...` from the logger `orchestrator.<component>`."""
    name = f"orchestrator.{event.get('component', '')}".rstrip(".")
    exc_info = event.get("exc_info")
    if isinstance(exc_info, BaseException):
        exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
    elif exc_info is True:
        exc_info = sys.exc_info()
    hidden = {"level", "event", "component", "exc_info", "timestamp"}
    text = " ".join([str(event["event"]), *(f"{key}={value!r}" for key, value in event.items() if key not in hidden)])
    logging.getLogger(name).log(level, "%s", text, exc_info=exc_info or None)


class _StandardHandler(logging.Handler):
    """Renders records of the standard library's logging like our own events."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event: Event = {
                "level": record.levelname.lower(),
                "event": record.getMessage(),
                **structlog.contextvars.get_contextvars(),
                "component": record.name,
            }
            if record.exc_info:
                event["exc_info"] = record.exc_info
            _output.emit(record.levelno, event)
        except Exception:
            # What `logging` prescribes: a broken record must never break the code that logged it.
            self.handleError(record)


def _route_standard_logging(level: int) -> None:
    root = logging.getLogger()
    if not any(isinstance(handler, _StandardHandler) for handler in root.handlers):
        root.addHandler(_StandardHandler())
    root.setLevel(level)
    logging.captureWarnings(True)
    for chatty in ("asyncio", "aiosqlite"):
        # Their debug output is a line for every callback and statement.
        logging.getLogger(chatty).setLevel(max(level, logging.INFO))
