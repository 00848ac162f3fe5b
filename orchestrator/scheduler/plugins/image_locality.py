"""ImageLocality: prefers nodes that have the pod's images already, by size.

An image that only few nodes have counts less, so that not every replica goes where the first one went.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, Final

from orchestrator.scheduler.cache import Cache, Change
from orchestrator.scheduler.framework import MAX_NODE_SCORE, Cycle, TrackedPlugin, Verdict
from orchestrator.scheduler.node_info import NodeInfo
from orchestrator.scheduler.pod_info import PodInfo

MIB: Final = 1024 * 1024
THRESHOLD_MIN: Final = 23 * MIB
THRESHOLD_MAX_PER_CONTAINER: Final = 1000 * MIB


def normalized_image_name(name: str) -> str:
    """The name with its tag: `:latest` when it has none."""
    if name.rfind(":") <= name.rfind("/"):
        return name + ":latest"
    return name


def image_names(pod: PodInfo) -> tuple[str, ...]:
    """The pod's images, one for every container."""
    names: tuple[str, ...] | None = pod.fragments.get(ImageLocality.name)
    if names is None:
        spec = pod.spec
        names = pod.fragments[ImageLocality.name] = tuple(
            normalized_image_name(container.get("image") or "")
            for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
        )
    return names


def priority_of(sum_bytes: int, containers: int) -> int:
    """Points for this many (weighted) bytes being there already."""
    largest = THRESHOLD_MAX_PER_CONTAINER * containers
    clamped = min(max(sum_bytes, THRESHOLD_MIN), largest)
    return MAX_NODE_SCORE * (clamped - THRESHOLD_MIN) // (largest - THRESHOLD_MIN) if largest > THRESHOLD_MIN else 0


class ImageLocality(TrackedPlugin):
    """Scores the bytes that need no pull."""

    name: ClassVar[str] = "ImageLocality"
    argument_fields: ClassVar[Mapping[str, type] | None] = {}

    def sign(self, cycle: Cycle) -> Hashable:
        known, names = cycle.cache.image_nodes, image_names(cycle.pod)
        return names if known and any(name in known for name in names) else None

    @classmethod
    def filters(cls) -> bool:
        return False

    def tracker(self, cycle: Cycle) -> _ImageTracker | None:
        known, names = cycle.cache.image_nodes, image_names(cycle.pod)
        if not known or not any(name in known for name in names):
            return None
        return _ImageTracker(cycle.cache, names)


def _score(cache: Cache, names: tuple[str, ...], present: tuple[tuple[str, int], ...]) -> int:
    total = max(len(cache.nodes), 1)
    weighted = sum(int(size * (cache.image_nodes[name] / total)) for name, size in present)
    return priority_of(weighted, len(names))


class _ImageTracker:
    """Tells nodes apart by which of the images they have."""

    def __init__(self, cache: Cache, names: tuple[str, ...]) -> None:
        self._cache = cache
        self._names = names

    def factor(self, node: NodeInfo) -> Hashable:
        images = node.images
        if not images:
            return ()
        return tuple((name, images[name]) for name in self._names if name in images)

    def observe(self, change: Change) -> None:
        pass

    def verdict(self, factor: Hashable) -> Verdict | None:
        return None

    @property
    def refuses(self) -> bool:
        return False

    @property
    def is_stale(self) -> bool:
        return False

    def scores(self, factors: Mapping[Any, int]) -> Mapping[Any, int]:
        return {factor: _score(self._cache, self._names, factor) for factor in factors}
