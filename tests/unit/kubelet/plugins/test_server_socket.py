"""A socket of the kubelet's own, which waits for its first caller."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from orchestrator.kubelet.parts import DeviceFailure
from orchestrator.kubelet.plugins.connection import PluginConnection, PluginError
from orchestrator.kubelet.plugins.messages import declare
from orchestrator.kubelet.plugins.server_socket import Methods, ServerSocket

TEXT = declare("test.server_socket", {"Text": {"text": "1 string"}})["Text"]


async def answer(request: Any) -> Any:
    if request.text == "bad":
        raise DeviceFailure("no such thing")
    return TEXT(text=request.text.upper())


def methods() -> Methods:
    return {"/test.Test/Shout": (answer, TEXT, TEXT)}


class Spawned:
    """The tasks of a kubelet."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def __call__(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(work, name=name))
        return self.tasks[-1]

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)
        assert all(task.cancelled() for task in self.tasks)


@pytest.mark.parametrize("calls", [0, 2])
async def test_it_serves_and_ends_cleanly_with_the_kubelet(tmp_path: Path, calls: int) -> None:
    spawned = Spawned()
    path = tmp_path / "kubelet.sock"
    ServerSocket(path, methods=methods, spawn=spawned).listen()
    await asyncio.sleep(0)
    for number in range(calls):
        connection = PluginConnection(path)
        assert (await connection.call("/test.Test/Shout", TEXT(text=f"a{number}"), TEXT)).text == f"A{number}"
        with pytest.raises(PluginError, match="no such thing"):
            await connection.call("/test.Test/Shout", TEXT(text="bad"), TEXT)
        connection.close()
    await spawned.stop()
    with pytest.raises(PluginError, match="connection refused"):
        await PluginConnection(path).call("/test.Test/Shout", TEXT(), TEXT)
