"""Two things at once: both end before the caller goes on."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.aiokit.together import together


async def after(event: asyncio.Event, done: list[str], name: str, error: Exception | None = None) -> str:
    await event.wait()
    done.append(name)
    if error is not None:
        raise error
    return name


@pytest.mark.parametrize("is_first_early", [True, False])
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (None, None, None),
        (ValueError("first"), None, "first"),
        (None, ValueError("second"), "second"),
        (ValueError("first"), ValueError("second"), "first"),
    ],
)
async def test_both_end_whatever_happens_to_one(
    first: Exception | None, second: Exception | None, expected: str | None, is_first_early: bool
) -> None:
    events, done = {"a": asyncio.Event(), "b": asyncio.Event()}, list[str]()
    waiting = asyncio.create_task(together(after(events["a"], done, "a", first), after(events["b"], done, "b", second)))
    early, late = "ab" if is_first_early else "ba"
    events[early].set()
    asyncio.get_running_loop().call_later(0.01, events[late].set)
    if expected is None:
        assert await waiting == "a"
    else:
        with pytest.raises(ValueError, match=expected):
            await waiting
    assert done == [early, late]


@pytest.mark.parametrize("ends", ["", "a", "b"])
async def test_both_are_cancelled_with_the_caller(ends: str) -> None:
    events, cancelled = {"a": asyncio.Event(), "b": asyncio.Event()}, list[str]()

    async def wait(name: str) -> None:
        try:
            await events[name].wait()
        except asyncio.CancelledError:
            cancelled.append(name)
            raise

    waiting = asyncio.create_task(together(wait("a"), wait("b")))
    if ends:
        events[ends].set()
    for _ in range(3):
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert cancelled == [name for name in "ab" if name != ends]
