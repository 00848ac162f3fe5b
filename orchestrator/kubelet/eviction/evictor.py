"""Carries out node-pressure eviction: measures, asks the plans of `eviction`, says which pods have to go.

Owns no pod: the kubelet ends them. Mirrors the loop of pkg/kubelet/eviction's `synchronize`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object, uid_of
from orchestrator.component.usage import NodeUsage, PodUsage
from orchestrator.kubelet.eviction.plan import (
    RESOURCE_OF,
    PressureMonitor,
    Signal,
    Threshold,
    Victim,
    limits_local_storage,
    plan_eviction,
    plan_local_storage_eviction,
)
from orchestrator.kubelet.runtime import RuntimeFailure
from orchestrator.logs import get_logger

ReadSignals = Callable[[], Mapping[str, Signal]]
"""Measures the machine; blocking."""


class Evictor:
    """Watches one node for pressure."""

    def __init__(
        self,
        *,
        thresholds: Sequence[Threshold],
        read_signals: ReadSignals,
        usage: Callable[[], Awaitable[NodeUsage]],
        free_disk: Callable[[], Awaitable[None]],
        clock: Clock,
        node_name: str,
    ) -> None:
        """`free_disk` removes what nobody needs (images); it is tried before a pod has to go for its disk."""
        self._monitor = PressureMonitor(thresholds)
        self._read_signals = read_signals
        self._usage = usage
        self._free_disk = free_disk
        self._clock = clock
        self._log = get_logger("kubelet", node=node_name)

    @property
    def conditions(self) -> frozenset[str]:
        """The pressure conditions that hold now."""
        return self._monitor.conditions(self._clock.monotonic())

    async def check(self, pods: Sequence[Object]) -> list[Victim]:
        """The pods that have to go now: what breaks its own limits, else at most one for the node's sake."""
        over_limit = await self._over_limit([pod for pod in pods if limits_local_storage(pod)])
        if over_limit:
            return over_limit
        signals, due = await self._observe()
        if not due:
            return []
        self._log.warning("node.pressure", signals=[threshold.signal for threshold in due])
        if any(RESOURCE_OF[threshold.signal] in ("ephemeral-storage", "inodes") for threshold in due):
            await self._free_disk()
            signals, due = await self._observe()
        usage_of = await self._usages()
        for threshold in due:
            victim = plan_eviction(threshold, signals[threshold.signal], pods, usage_of)
            if victim is not None:
                return [victim]
        return []

    async def _observe(self) -> tuple[Mapping[str, Signal], list[Threshold]]:
        if not self._monitor.thresholds:
            return {}, []
        signals = await asyncio.to_thread(self._read_signals)
        return signals, self._monitor.observe(signals, self._clock.monotonic())

    async def _over_limit(self, pods: Sequence[Object]) -> list[Victim]:
        if not pods:
            return []
        usage_of = await self._usages()
        found = []
        for pod in pods:
            usage = usage_of(pod)
            if usage is not None and (message := plan_local_storage_eviction(pod, usage)):
                found.append(Victim(pod, message, "ephemeral-storage"))
        return found

    async def _usages(self) -> Callable[[Object], PodUsage | None]:
        try:
            usages = {pod.uid: pod for pod in (await self._usage()).pods}
        except RuntimeFailure as error:
            self._log.info("node.usage_unknown", error=str(error))
            usages = {}
        return lambda pod: usages.get(uid_of(pod))
