"""The network namespace of a node itself, which its hostNetwork pods share.

Held by a pause container of its own, made with the node's first hostNetwork pod: ports that such pods open on two
nodes do not clash, although both nodes are on one machine. Knows how to find, make and replace the container; the
interface in it is the pod network's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import Struct

from orchestrator.kubelet.docker.translate import Inspected, Owner, node_container_config, node_container_name


class Held(Struct, frozen=True):
    """The container that holds the namespace, and its process."""

    container_id: str
    pid: int


class NodeNamespace:
    """The namespace of one node."""

    def __init__(
        self,
        *,
        owner: Owner,
        inspect: Callable[[str], Awaitable[Inspected | None]],
        run: Callable[[str, dict[str, Any]], Awaitable[Inspected]],
        remove: Callable[[str], Awaitable[None]],
        connect: Callable[[Held | None], Awaitable[None]],
        settings: Callable[[], Mapping[str, Any] | None],
    ) -> None:
        """`run` creates and starts a pause container that has left the machine's network when it returns.

        `settings` make it a helper; None: it only holds the namespace.
        """
        self._owner = owner
        self._inspect = inspect
        self._run = run
        self._remove = remove
        self._connect = connect
        self._settings = settings
        self._held: Held | None = None
        self._lock = asyncio.Lock()

    def is_current(self, container_id: str) -> bool:
        """Whether a sandbox that joined this container's network is in the node's namespace."""
        return self._held is not None and self._held.container_id == container_id

    async def find(self) -> None:
        """At a start: go on with the namespace that an earlier process made, or with none."""
        async with self._lock:
            self._held = await self._look()
            await self._connect(self._held)

    async def ensure(self) -> str:
        """The id of the running container that holds the namespace; made if need be."""
        async with self._lock:
            found = await self._look()
            if found is None:
                name = node_container_name(self._owner)
                await self._remove(name)
                inspected = await self._run(name, node_container_config(self._owner, self._settings()))
                found = Held(inspected.id, inspected.context.pid)
            if found != self._held:
                self._held = None
                await self._connect(found)
                self._held = found
            return found.container_id

    def lost(self, container_id: str) -> None:
        """A container has died: if it was this one, sandboxes that joined it are not ready any more."""
        if self.is_current(container_id):
            self._held = None

    async def _look(self) -> Held | None:
        inspected = await self._inspect(node_container_name(self._owner))
        if inspected is None or not inspected.is_running:
            return None
        return Held(inspected.id, inspected.context.pid)
