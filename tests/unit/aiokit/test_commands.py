"""Programs that are run to their end."""

from __future__ import annotations

import sys

import pytest

from orchestrator.aiokit.commands import run_command


async def test_a_program_reads_the_text_and_both_its_outputs_come_back() -> None:
    outcome = await run_command("sh", "-c", "cat; echo seen >&2; exit 3", text="größer", seconds_max=10)
    assert outcome == (3, "größer", "seen\n")


async def test_a_program_may_end_without_reading_a_long_text() -> None:
    assert (await run_command("true", text="x" * 1_000_000, seconds_max=10)).code == 0


async def test_a_program_that_takes_too_long_is_ended() -> None:
    with pytest.raises(TimeoutError):
        await run_command(sys.executable, "-c", "import signal; signal.pause()", seconds_max=0.2)


async def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        await run_command("no-such-program-anywhere", seconds_max=10)
