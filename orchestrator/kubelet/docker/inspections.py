"""What is known of a node's containers: the Engine's inspections, remembered until an event says otherwise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from orchestrator.kubelet.docker.engine import DockerEngine, EngineError
from orchestrator.kubelet.docker.translate import Inspected, Owner, from_inspect, process_user

INSPECTIONS_AT_ONCE_MAX = 16

_Items = list[dict[str, Any]]
_Inspections = list[Inspected]


class Inspections:
    """The containers of one node, dead ones included."""

    def __init__(self, *, engine: DockerEngine, owner: Owner) -> None:
        self._engine = engine
        self._owner = owner
        self._known: dict[str, Inspected] = {}
        self._generation = 0
        self._starting: set[str] = set()

    def keep_only(self, present: Iterable[str]) -> None:
        """Containers that are no longer there need not be remembered."""
        for container_id in self._known.keys() - set(present):
            del self._known[container_id]

    def forget(self, container_id: str) -> None:
        """Something happened to a container: it is looked at anew."""
        self._generation += 1
        self._known.pop(container_id, None)

    @contextmanager
    def starting(self, container_id: str) -> Iterator[None]:
        """While inside, the container is started and looked at afterwards."""
        self._starting.add(container_id)
        try:
            yield
        finally:
            self._starting.discard(container_id)

    def heard(self, container_id: str, action: str) -> bool:
        """An event about a container: whether it is news, and not the start of one that was or will be seen running."""
        known = self._known.get(container_id)
        if action == "start" and (container_id in self._starting or (known is not None and known.is_running)):
            return False
        self.forget(container_id)
        return True

    def forget_all(self) -> None:
        """Events may have been missed."""
        self._generation += 1
        self._known.clear()

    async def inspect(self, reference: str) -> Inspected | None:
        """A fresh look at one container, by id or name; None when there is none."""
        generation = self._generation
        try:
            data = await self._engine.call("GET", f"containers/{reference}/json")
        except EngineError as error:
            if error.status == 404:
                return None
            raise
        inspected = _with_user(from_inspect(data))
        # An event in the meantime may be about this very container: then do not remember.
        if generation == self._generation and inspected.is_settled:
            self._known[inspected.id] = inspected
        return inspected

    async def lookup(self, container_id: str) -> Inspected | None:
        """What is remembered of a container, or a fresh look; only for what never changes (labels, joins)."""
        return self._known.get(container_id) or await self.inspect(container_id)

    async def list(self, **labels: str) -> _Items:
        """What the Engine lists of this node's containers, with these labels."""
        filters = json.dumps({"label": self._owner.label_filter(**labels)})
        items: _Items = await self._engine.call("GET", "containers/json", params={"all": "1", "filters": filters})
        return items

    async def listed(self, items: Sequence[Mapping[str, Any]]) -> _Inspections:
        """Inspections of what a list named; those that are remembered in the same state are not asked for again."""
        fresh: list[str] = []
        found: dict[str, Inspected] = {}
        for item in items:
            known = self._known.get(item["Id"])
            if known is not None and known.status == item.get("State"):
                found[known.id] = known
            else:
                fresh.append(item["Id"])
        for start in range(0, len(fresh), INSPECTIONS_AT_ONCE_MAX):
            chunk = fresh[start : start + INSPECTIONS_AT_ONCE_MAX]
            for inspected in await asyncio.gather(*(self.inspect(container_id) for container_id in chunk)):
                if inspected is not None:
                    found[inspected.id] = inspected
        return [found[item["Id"]] for item in items if item["Id"] in found]


def _with_user(inspected: Inspected) -> Inspected:
    """Add what only the kernel knows: who a running process is."""
    container = inspected.container
    if container is None or not inspected.is_running:
        return inspected
    try:
        user = process_user(Path(f"/proc/{container.pid}/status").read_text())
    except OSError:
        return inspected  # it has just ended, or runs on another machine
    return replace(inspected, container=replace(container, user=user))
