"""Events of the runtime on their way to the kubelet: keys, each waiting once, at most so many."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator

from orchestrator.kubelet.runtime import RuntimeEvent

EVENTS_PENDING_MAX = 10_000


class EventQueue:
    """Events as keys: what waits twice is delivered once, and too much becomes one gap."""

    def __init__(self) -> None:
        self._pending: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._wake = asyncio.Event()

    def put(self, event: RuntimeEvent) -> None:
        if not event.pod_uid or len(self._pending) >= EVENTS_PENDING_MAX:
            self._pending.clear()  # everything is looked up anyway
            self._pending["", ""] = "gap"
        elif ("", "") not in self._pending:
            self._pending[event.pod_uid, event.container_id] = event.kind
        self._wake.set()

    def __aiter__(self) -> AsyncIterator[RuntimeEvent]:
        return self

    async def __anext__(self) -> RuntimeEvent:
        while not self._pending:
            self._wake.clear()
            await self._wake.wait()
        (pod_uid, container_id), kind = self._pending.popitem(last=False)
        return RuntimeEvent(pod_uid=pod_uid, container_id=container_id, kind=kind)
