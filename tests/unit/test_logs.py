"""What a log line looks like, where it goes, and what it costs."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from orchestrator import logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    logs.unconfigure()
    root.setLevel(level)


def new_year() -> datetime:
    return datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def test_json_when_the_stream_is_no_terminal() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream, now=new_year)
    logs.get_logger("kubelet").bind(node="node-1").info("pod started", pod="default/web", seconds=0.5)
    assert json.loads(stream.getvalue()) == {
        "timestamp": "2026-01-02T03:04:05.678Z",
        "level": "info",
        "component": "kubelet",
        "event": "pod started",
        "node": "node-1",
        "pod": "default/web",
        "seconds": 0.5,
    }


def test_console_on_a_terminal() -> None:
    stream = Terminal()
    logs.configure(stream=stream)
    logs.get_logger("scheduler").info("bound", pod="default/web")
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(stream.getvalue())
    assert "bound" in stream.getvalue()
    assert "\x1b[" in stream.getvalue()


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    logs.configure(stream=stream)
    logs.get_logger("scheduler").info("bound", pod="default/web")
    assert "\x1b[" not in stream.getvalue()


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error", "critical"]),
        ("info", ["info", "warning", "error", "critical"]),
        ("warning", ["warning", "error", "critical"]),
        ("error", ["error", "critical"]),
        ("critical", ["critical"]),
    ],
)
def test_level_filters(level: str, expected: list[str]) -> None:
    stream = io.StringIO()
    logs.configure(level=level, stream=stream)
    log = logs.get_logger("test")
    for each in (log.debug, log.info, log.warning, log.error, log.critical):
        each("something")
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == expected


@pytest.mark.parametrize(("option", "value"), [("level", "loud"), ("format", "xml")])
def test_unknown_option_is_refused(option: str, value: str) -> None:
    with pytest.raises(ValueError, match=value):
        logs.configure(**{option: value})  # type: ignore[arg-type]


def test_logger_made_earlier_follows_a_later_configuration() -> None:
    log = logs.get_logger("early")
    stream = io.StringIO()
    logs.configure(stream=stream)
    log.info("first")
    second = io.StringIO()
    logs.configure(stream=second, level="warning")
    log.info("dropped")
    log.warning("kept")
    assert json.loads(stream.getvalue())["event"] == "first"
    assert json.loads(second.getvalue())["event"] == "kept"


def test_bind_leaves_the_original_alone() -> None:
    log = logs.get_logger("test")
    with logs.capture() as events:
        log.bind(pod="a").info("bound")
        log.info("plain")
    assert events == [
        {"level": "info", "event": "bound", "component": "test", "pod": "a"},
        {"level": "info", "event": "plain", "component": "test"},
    ]


def test_context_reaches_events_inside_the_block_only() -> None:
    log = logs.get_logger("test")
    with logs.capture() as events:
        with logs.bound_context(request="42"):
            log.info("inside")
        log.info("outside")
    assert [event.get("request") for event in events] == ["42", None]


def test_exception_carries_the_traceback() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    try:
        raise RuntimeError("the disk is full")
    except RuntimeError:
        logs.get_logger("store").exception("append failed")
    event = json.loads(stream.getvalue())
    assert event["level"] == "error"
    assert "RuntimeError: the disk is full" in event["exception"]


def test_standard_logging_takes_the_same_road() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logging.getLogger("aiohttp.server").warning("odd request from %s", "127.0.0.1")
    event = json.loads(stream.getvalue())
    assert (event["component"], event["event"]) == ("aiohttp.server", "odd request from 127.0.0.1")


def test_events_go_to_standard_logging_until_configured(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="orchestrator"):
        logs.get_logger("kubelet").info("pod started", pod="default/web")
        logs.get_logger("kubelet").debug("not wanted")
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("orchestrator.kubelet", "pod started pod='default/web'")
    ]


def test_values_that_json_does_not_know_are_written_anyway() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logs.get_logger("test").info("odd", value={1: object}, when=new_year())
    event = json.loads(stream.getvalue())
    assert event["value"] == {"1": "<class 'object'>"}
    assert event["when"].startswith("2026-01-02T03:04:05.678")


def test_a_vanished_reader_does_not_raise() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    stream.close()
    log = logs.get_logger("test")
    log.info("into the void")
    log.info("and again")


def test_import_leaves_rich_out_and_importable() -> None:
    program = "import sys, orchestrator.logs; assert 'rich' not in sys.modules; import rich; print(rich.__name__)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("rich\n", "")


def test_stdout_stays_clean() -> None:
    program = """from orchestrator import logs
log = logs.get_logger('a')
log.warning('b')
logs.configure()
log.info('c')
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stdout == ""
    assert [line for line in result.stderr.splitlines() if '"event":"c"' in line]


@pytest.mark.parametrize("is_configured", [True, False])
def test_a_copy_of_each_line_goes_to_who_asked_until_they_ask_no_more(is_configured: bool) -> None:
    copies: list[tuple[str, str]] = []

    def copy(logger: str, line: str) -> None:
        copies.append((logger, line))

    if is_configured:
        logs.configure(stream=io.StringIO())
    logs.add_copy(copy)
    logs.get_logger("kube-proxy").warning("rules.late", seconds=3)
    logs.get_logger("supervisor").warning("component.failed", failed="dns")
    logs.remove_copy(copy)
    logs.get_logger("kube-proxy").warning("rules.late", seconds=4)
    assert [logger for logger, _ in copies] == ["kube-proxy", "dns"]
    assert json.loads(copies[0][1])["seconds"] == 3


def test_a_log_that_nobody_reads_any_more_costs_nothing_and_its_copies_go_on(
    capfd: pytest.CaptureFixture[str],
) -> None:
    copies: list[str] = []

    def copy(_: str, line: str) -> None:
        copies.append(line)

    stream = io.StringIO()
    logs.configure(stream=stream)
    stream.close()
    logs.add_copy(copy)
    log = logs.get_logger("kube-proxy")
    log.info("first")
    log.info("second")
    logs.remove_copy(copy)
    log.info("third")
    assert [json.loads(line)["event"] for line in copies] == ["first", "second"]
    assert capfd.readouterr() == ("", "")
