"""Runs a program to its end, with a time limit."""

from __future__ import annotations

import asyncio
import os
from typing import NamedTuple


class Outcome(NamedTuple):
    """How a program ended."""

    code: int
    output: str
    errors: str


async def run_command(*command: str, text: str = "", seconds_max: float) -> Outcome:
    """Run a program that reads `text` as its standard input; TimeoutError (it was killed), OSError (not started)."""
    # A file, not a pipe: the program may end without having read it, and nobody has to feed it.
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(text.encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=descriptor, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    finally:
        os.close(descriptor)
    try:
        async with asyncio.timeout(seconds_max):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Outcome(process.returncode, output.decode(errors="replace"), errors.decode(errors="replace"))
