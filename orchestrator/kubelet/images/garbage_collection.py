"""Image garbage collection: which of the images that this node pulled go when their disk fills up.

Owns the memory of what was pulled and when it was last used, in one small file. Images that somebody else brought to
the Engine, or gave names of their own, are never touched: the Engine is not ours alone. Mirrors
pkg/kubelet/images' image GC manager.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from msgspec import Struct

from orchestrator.aiokit.clock import Clock, format_time, parse_time
from orchestrator.kubelet.eviction.plan import Signal
from orchestrator.kubelet.runtime import ContainerRuntime, Image, RuntimeFailure, RuntimeUnavailable
from orchestrator.logs import get_logger

COLLECT_SECONDS = 300.0
AGE_MIN = timedelta(minutes=2)
"""A younger image may be about to be used (imageMinimumGCAge)."""
PULLED_MAX = 10_000


class ImageGcPolicy(Struct, frozen=True):
    """Percentages of the image file system: above `high` images are removed until `low` is reached."""

    high: int = 85
    low: int = 80


class Pulled(Struct):
    """An image that this node pulled."""

    names: list[str]
    last_used: datetime


def bytes_to_free(disk: Signal, policy: ImageGcPolicy) -> int:
    """How much has to go; 0 while the disk is not too full."""
    if not disk.capacity:
        return 0
    used = disk.capacity - disk.available
    if used * 100 < policy.high * disk.capacity:
        return 0
    return max(0, used - policy.low * disk.capacity // 100)


def plan_image_removals(
    wanted_bytes: int | None,
    images: Sequence[Image],
    pulled: Mapping[str, Pulled],
    used: Collection[str],
    now: datetime,
) -> list[Image]:
    """The images to remove, those first that were not used for longest; all that can go when `wanted_bytes` is None."""
    candidates = [
        image
        for image in images
        if image.id in pulled
        and image.id not in used
        and now - pulled[image.id].last_used >= AGE_MIN
        and {*image.tags} <= {*pulled[image.id].names}
    ]
    candidates.sort(key=lambda image: (pulled[image.id].last_used, image.id))
    chosen: list[Image] = []
    freed = 0
    for image in candidates:
        if wanted_bytes is not None and freed >= wanted_bytes:
            break
        chosen.append(image)
        freed += image.size_bytes
    return chosen


class ImageCollector:
    """Collects the images of one node."""

    def __init__(
        self, *, runtime: ContainerRuntime, clock: Clock, policy: ImageGcPolicy, file: Path, node_name: str
    ) -> None:
        self._runtime = runtime
        self._clock = clock
        self._policy = policy
        self._file = file
        self._pulled: dict[str, Pulled] | None = None
        self._next_at = 0.0
        self._log = get_logger("kubelet", node=node_name)

    def note_pulled(self, reference: str, image: Image) -> None:
        """A pull brought this image, which was not there before, by this name."""
        pulled = self._load()
        known = pulled.get(image.id)
        names = {*(known.names if known is not None else ()), reference, *image.tags}
        if known is None and len(pulled) >= PULLED_MAX:
            return
        pulled[image.id] = Pulled(sorted(names), self._clock.now())
        self._save()

    async def collect(self, disk: Signal | None) -> str:
        """The regular look, every five minutes; why it could not free enough, or an empty text."""
        now = self._clock.monotonic()
        if disk is None or now < self._next_at:
            return ""
        self._next_at = now + COLLECT_SECONDS
        wanted = bytes_to_free(disk, self._policy)
        freed = await self._remove(wanted) if wanted else await self._look()
        if freed >= wanted:
            return ""
        return (
            "Failed to garbage collect required amount of images. "
            f"Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
        )

    async def remove_unused(self) -> None:
        """Everything that can go: the node is under disk pressure."""
        await self._remove(None)

    async def _look(self) -> int:
        """Note which images are in use, and forget those that are gone."""
        if self._load():
            await self._used(await self._runtime.list_images())
        return 0

    async def _remove(self, wanted_bytes: int | None) -> int:
        images = await self._runtime.list_images()
        used = await self._used(images)
        freed = 0
        for image in plan_image_removals(wanted_bytes, images, self._load(), used, self._clock.now()):
            try:
                await self._runtime.remove_image(image.id)
            except RuntimeUnavailable:
                raise
            except RuntimeFailure as error:
                self._log.info("image.kept", image=image.id, reason=str(error))  # another node's pods use it
                continue
            freed += image.size_bytes
            self._load().pop(image.id, None)
            self._log.info("image.removed", image=image.id, names=image.tags, size_bytes=image.size_bytes)
        self._save()
        return freed

    async def _used(self, images: Sequence[Image]) -> set[str]:
        used = {container.image_id for pod in await self._runtime.list_pods() for container in pod.containers}
        present = {image.id for image in images}
        pulled, now = self._load(), self._clock.now()
        for image_id in [*pulled]:
            if image_id not in present:
                del pulled[image_id]
            elif image_id in used:
                pulled[image_id].last_used = now
        self._save()
        return used

    def _load(self) -> dict[str, Pulled]:
        if self._pulled is None:
            self._pulled = {}
            try:
                content = json.loads(self._file.read_bytes())
                for image_id, entry in content.items():
                    self._pulled[image_id] = Pulled([*entry["names"]], parse_time(entry["lastUsed"]))
            except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
                pass  # what is not known to be ours stays
        return self._pulled

    def _save(self) -> None:
        content = {
            image_id: {"names": entry.names, "lastUsed": format_time(entry.last_used)}
            for image_id, entry in self._load().items()
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps(content))
        os.replace(temporary, self._file)
