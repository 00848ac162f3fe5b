"""The last lines of each component, for those who ask for its log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.component.component_log import BYTES_MAX, LINES_MAX, ComponentLog, ComponentLogs

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def log_of(lines: int) -> ComponentLog:
    log = ComponentLog()
    for number in range(lines):
        log.append(at(number), f"line {number}".encode())
    return log


async def collect(lines: AsyncIterator[bytes]) -> list[str]:
    return [line.decode().rstrip("\n") async for line in lines]


@pytest.mark.parametrize(
    ("since", "until", "tail", "expected"),
    [
        (None, None, None, [0, 1, 2, 3]),
        (2, None, None, [2, 3]),
        (None, 2, None, [0, 1]),
        (None, None, 1, [3]),
        (None, None, 0, []),
        (None, None, 9, [0, 1, 2, 3]),
        (1, 3, 1, [2]),
    ],
)
async def test_what_is_asked_for(
    since: int | None, until: int | None, tail: int | None, expected: list[int]
) -> None:  # fmt: skip
    lines = log_of(4).read(
        since=None if since is None else at(since), until=None if until is None else at(until), tail_lines=tail
    )
    assert await collect(lines) == [f"line {number}" for number in expected]


async def test_timestamps_are_those_of_a_kubelet() -> None:
    assert await collect(log_of(1).read(timestamps=True)) == ["2026-01-01T00:00:00.000000000Z line 0"]


async def test_the_oldest_lines_make_room() -> None:
    assert len(await collect(log_of(LINES_MAX + 3).read())) == LINES_MAX
    log = ComponentLog()
    for _ in range(5):
        log.append(START, b"x" * (BYTES_MAX // 2))
    assert len(await collect(log.read())) == 2
    log.append(START, b"y" * (BYTES_MAX * 2))
    assert await collect(log.read()) == ["y" * BYTES_MAX]


async def test_who_follows_sees_what_comes_from_any_thread_until_the_end() -> None:
    log, is_running = log_of(2), True
    lines = log.read(tail_lines=1, follow=lambda: is_running)
    assert await anext(lines) == b"line 1\n"
    waiting = asyncio.ensure_future(anext(lines))
    await asyncio.to_thread(log.append, at(5), b"more")
    assert await waiting == b"more\n"
    ending = asyncio.ensure_future(anext(lines, None))
    is_running = False
    log.wake()
    assert await ending is None


def test_lines_belong_to_the_component_of_their_logger() -> None:
    logs = ComponentLogs({"apiserver": "kube-apiserver", "dns": "coredns"}, now=lambda: START)
    logs.take("apiserver/http", "\x1b[1mcolored\x1b[0m")
    logs.take("kubelet", "nobody's")
    assert [line for _, line, _ in logs.of("kube-apiserver").lines(None, None)] == [b"colored"]
    assert not logs.of("coredns").lines(None, None)
