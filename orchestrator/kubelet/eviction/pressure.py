"""What a node does about pressure: pods that have to go, images that nobody needs.

Owns no pod: the kubelet ends them. Mirrors the kubelet's eviction and image managers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object
from orchestrator.component.usage import NodeUsage
from orchestrator.kubelet.eviction.evictor import Evictor, ReadSignals
from orchestrator.kubelet.eviction.plan import Victim
from orchestrator.kubelet.images.garbage_collection import ImageCollector
from orchestrator.kubelet.node.options import NodeOptions
from orchestrator.kubelet.runtime import ContainerRuntime, Image, RuntimeFailure
from orchestrator.logs import get_logger


class NodePressure:
    """Measures one node with each heartbeat and says what follows."""

    def __init__(
        self,
        *,
        options: NodeOptions,
        runtime: ContainerRuntime,
        clock: Clock,
        read_signals: ReadSignals,
        usage: Callable[[], Awaitable[NodeUsage]],
    ) -> None:
        self._read_signals = read_signals
        self._collector: ImageCollector | None = None
        if options.image_gc_file is not None:
            self._collector = ImageCollector(
                runtime=runtime,
                clock=clock,
                policy=options.image_gc_policy,
                file=options.image_gc_file,
                node_name=options.name,
            )
        self._evictor = Evictor(
            thresholds=options.eviction_thresholds,
            read_signals=read_signals,
            usage=usage,
            free_disk=self._free_disk,
            clock=clock,
            node_name=options.name,
        )
        self._log = get_logger("kubelet", node=options.name)

    @property
    def conditions(self) -> frozenset[str]:
        """The pressure conditions that hold now."""
        return self._evictor.conditions

    def note_pulled(self, reference: str, image: Image) -> None:
        """Remember an image that came to the node for a pod."""
        if self._collector is not None:
            self._collector.note_pulled(reference, image)

    async def victims(self, pods: Sequence[Object]) -> list[Victim]:
        """Those of the running pods that have to go now."""
        try:
            return await self._evictor.check(pods)
        except OSError as error:
            self._log.warning("node.signals_unknown", error=str(error))
            return []

    async def collect_images(self) -> str:
        """Remove images when their disk is full; why that failed, or empty."""
        if self._collector is None:
            return ""
        try:
            disk = (await asyncio.to_thread(self._read_signals)).get("imagefs.available")
            return await self._collector.collect(disk)
        except (OSError, RuntimeFailure) as error:
            return str(error)

    async def _free_disk(self) -> None:
        """Remove the images that no pod needs."""
        if self._collector is None:
            return
        try:
            await self._collector.remove_unused()
        except (OSError, RuntimeFailure) as error:
            self._log.warning("image.collection_failed", error=str(error))
