"""A log in memory that can be held, failed and read back: the test double behind the store's Log seam."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from orchestrator.store import Key, StoreFailed
from orchestrator.store.log import Row


class FakeLog:
    def __init__(self) -> None:
        self.groups: list[list[Row]] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = asyncio.Event()
        """Set once an append has begun."""
        self.compactions: list[int] = []
        self.closed = False

    @property
    def compacted_revision(self) -> int:
        return self.compactions[-1] if self.compactions else 0

    async def replay(self) -> AsyncGenerator[Sequence[Row], None]:
        for group in self.groups:
            yield group

    async def append(self, rows: Sequence[Row]) -> None:
        self.started.set()
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.groups.append(list(rows))

    async def compact(self, revision: int) -> None:
        if self.failure is not None:
            raise StoreFailed(str(self.failure))
        self.compactions.append(revision)

    async def close(self) -> None:
        self.closed = True


def pod(name: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": name}, **fields}


def pod_key(name: str, namespace: str = "default") -> Key:
    return Key("pods", namespace, name)


def node_name(obj: dict[str, Any]) -> str:
    """A field reader as the API server registers it for `spec.nodeName`."""
    return str(obj.get("spec", {}).get("nodeName", ""))


POD_FIELDS = {"pods": {"spec.nodeName": node_name}}
