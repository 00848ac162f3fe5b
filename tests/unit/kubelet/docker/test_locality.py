"""Engines that are told to be on this machine, or are found not to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.engines import engine_address
from orchestrator.kubelet.docker.locality import another_kernel, require_this_machine
from orchestrator.kubelet.runtime import RuntimeUnavailable


class AskedEngine:
    """Makes volumes below a directory, or says so."""

    def __init__(self, url: str, root: Path, *, is_here: bool = True, kernel: str = "") -> None:
        self.address = engine_address(url)
        self.url = url
        self.info = {"KernelVersion": kernel, "Name": "builder"}
        self.calls: list[tuple[str, str]] = []
        self._root, self._is_here = root, is_here

    async def call(self, method: str, path: str, *, body: str = "") -> Any:
        self.calls.append((method, path))
        if method == "DELETE":
            return None
        directory = self._root / json.loads(body)["Name"]
        if self._is_here:
            directory.mkdir()
        return {"Mountpoint": str(directory)}


async def test_a_socket_is_believed(tmp_path: Path) -> None:
    engine: Any = AskedEngine("unix:///run/docker.sock", tmp_path, is_here=False, kernel="another")
    await require_this_machine(engine)
    assert engine.calls == []


async def test_an_engine_whose_directories_are_seen_here(tmp_path: Path) -> None:
    engine: Any = AskedEngine("tcp://127.0.0.1:1", tmp_path)
    await require_this_machine(engine)
    (made, removed) = engine.calls
    assert made == ("POST", "volumes/create")
    assert removed[0] == "DELETE"
    assert removed[1].startswith("volumes/orchestrator-probe-")


@pytest.mark.parametrize(
    ("known", "reason"),
    [({"is_here": False}, "which is not here"), ({"kernel": "1.0-other"}, r"builder has kernel 1\.0-other")],
)
async def test_an_engine_on_another_machine(tmp_path: Path, known: dict[str, Any], reason: str) -> None:
    engine: Any = AskedEngine("ssh://builder", tmp_path, **known)
    with pytest.raises(RuntimeUnavailable, match=f"ssh://builder runs on another machine .*{reason}"):
        await require_this_machine(engine)
    assert [method for method, _ in engine.calls] in ([], ["POST", "DELETE"])


def test_an_engine_that_does_not_tell_its_kernel() -> None:
    assert another_kernel({}, "6.1") == ""
    assert another_kernel({"KernelVersion": "6.1"}, "6.1") == ""
