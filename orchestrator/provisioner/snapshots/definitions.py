"""Whether the kinds of volume snapshots are served: their definitions are applied by whoever wants snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from orchestrator.api.objects import Object, condition_of
from orchestrator.api.resources import (
    CUSTOM_RESOURCE_DEFINITIONS,
    VOLUME_SNAPSHOT_CLASSES,
    VOLUME_SNAPSHOT_CONTENTS,
    VOLUME_SNAPSHOTS,
)
from orchestrator.client.informer import Informers

KINDS = (VOLUME_SNAPSHOTS, VOLUME_SNAPSHOT_CLASSES, VOLUME_SNAPSHOT_CONTENTS)


class SnapshotDefinitions:
    """Follows the three definitions, and no other."""

    def __init__(self, informers: Informers) -> None:
        self._served = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._missing = {kind.group_resource for kind in KINDS}
        for kind in KINDS:
            selector = f"metadata.name={kind.group_resource}"
            informer = informers.informer(CUSTOM_RESOURCE_DEFINITIONS, field_selector=selector)
            informer.add_handler(self._on_definition)

    def when_served(self, callback: Callable[[], None]) -> None:
        """Call this once, as soon as all kinds are served."""
        if self._served.is_set():
            callback()
        else:
            self._callbacks.append(callback)

    async def wait_served(self) -> None:
        """Return as soon as all kinds are served; ever after, also when a definition goes again."""
        await self._served.wait()

    def _on_definition(self, old: Object | None, new: Object | None) -> None:
        if new is None or not is_served(new) or self._served.is_set():
            return
        self._missing.discard(new["metadata"]["name"])
        if not self._missing:
            self._served.set()
            for callback in self._callbacks:
                callback()
            self._callbacks.clear()


def is_served(definition: Object) -> bool:
    """Whether objects of a definition can be read and written at version v1."""
    established = condition_of(definition, "Established")
    versions = definition["spec"].get("versions") or ()
    has_version = any(version.get("name") == "v1" and version.get("served") for version in versions)
    return has_version and established is not None and established["status"] == "True"
