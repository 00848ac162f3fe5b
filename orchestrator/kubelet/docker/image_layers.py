"""Where the layers of images are on this machine, for image volumes and for the groups in an image's /etc/group.

An Engine with the overlay2 driver says so itself. One with containerd's image store does not, but from 28 on it mounts
images: a container that does nothing is started with the image mounted, and the kernel is asked what that is made of.
The directories last as long as the image does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from orchestrator.aiokit.recent import RecentMap
from orchestrator.kubelet.docker.engine import DockerEngine, EngineError
from orchestrator.kubelet.docker.translate import (
    IMAGE_TARGET,
    Inspected,
    Overlay,
    Owner,
    image_container_config,
    image_container_name,
    overlay_at,
)
from orchestrator.kubelet.runtime import Image, RuntimeFailure

IMAGE_MOUNTS_API_VERSION = (1, 48)
CONTAINERD_DRIVER = "overlayfs"
IMAGES_REMEMBERED_MAX = 256


class ImageLayers:
    """The layers of one Engine's images."""

    def __init__(
        self,
        *,
        engine: DockerEngine,
        owner: Owner,
        run: Callable[[str, dict[str, Any]], Awaitable[Inspected]],
        remove: Callable[[str], Awaitable[None]],
    ) -> None:
        """`run` creates and starts a pause container; `remove` takes its name or id."""
        self._engine = engine
        self._owner = owner
        self._run = run
        self._remove = remove
        self._known: RecentMap[str, tuple[str, ...]] = RecentMap(IMAGES_REMEMBERED_MAX)
        self._lock = asyncio.Lock()

    async def of(self, image: Image) -> tuple[str, ...]:
        """The directories of an image's layers, topmost first; empty where nobody knows. RuntimeFailure."""
        if image.layers or not self._must_look:
            return image.layers
        async with self._lock:
            known = self._known.get(image.id)
            if known is None:
                known = await self._look(image.id)
                self._known.put(image.id, known)
            return known

    @property
    def _must_look(self) -> bool:
        if os.geteuid() != 0:
            return False  # who may not mount them may not see them either
        driver = self._engine.info.get("Driver")
        return driver == CONTAINERD_DRIVER and self._engine.api_version >= IMAGE_MOUNTS_API_VERSION

    async def _look(self, image_id: str) -> tuple[str, ...]:
        name = image_container_name(self._owner)
        await self._remove(name)  # of a process that was killed
        try:
            inspected = await self._run(name, image_container_config(self._owner, image_id))
            found = overlay_of(inspected.context.pid, IMAGE_TARGET)
        except (EngineError, OSError) as error:
            raise RuntimeFailure(f"looking for the layers of image {image_id}: {error}") from error
        finally:
            await self._remove(name)
        return found.lower if found is not None else ()


def overlay_of(pid: int, point: str) -> Overlay | None:
    """The overlay that a process sees at a mount point; OSError when it has ended."""
    return overlay_at(Path(f"/proc/{pid}/mountinfo").read_text(), point)
