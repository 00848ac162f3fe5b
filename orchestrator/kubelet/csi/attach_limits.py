"""How many volumes a driver can attach may change while it runs; the CSIDriver says how often it is asked (KEP-4876).

Owns the timers, one for each driver that wants it. Mirrors pkg/volume/csi/csi_node_updater.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.resources import CSI_DRIVERS
from orchestrator.client.client import Client
from orchestrator.kubelet.parts import Spawn
from orchestrator.kubelet.sources import Sources
from orchestrator.logs import get_logger


class AttachLimits:
    """Asks drivers of one node anew."""

    def __init__(
        self,
        *,
        client: Client,
        clock: Clock,
        sources: Sources,
        spawn: Spawn,
        ask: Callable[[str], Awaitable[None]],
        node_name: str,
    ) -> None:
        """`ask` writes what a driver says now."""
        self._client = client
        self._clock = clock
        self._sources = sources
        self._spawn = spawn
        self._ask = ask
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._log = get_logger("kubelet/csi", node=node_name)

    def follow(self, driver: str) -> None:
        """The driver has registered."""
        self._sources.refer(self._described_anew, driver, [(CSI_DRIVERS, driver)])
        self._described_anew(driver)

    def forget(self, driver: str) -> None:
        """The driver is gone; idempotent."""
        self._sources.refer(self._described_anew, driver, ())
        if (timer := self._timers.pop(driver, None)) is not None:
            timer.cancel()

    def _described_anew(self, driver: str) -> None:
        """Its CSIDriver may be there now, or have another period."""
        if (before := self._timers.pop(driver, None)) is not None:
            before.cancel()
        timer = self._spawn(self._ask_now_and_then(driver), f"csi/{driver}/attach-limit")
        if timer is not None:
            self._timers[driver] = timer

    async def _ask_now_and_then(self, driver: str) -> None:
        try:
            described = await self._client.get(CSI_DRIVERS, driver)
        except errors.NotFound:
            return
        except errors.ApiError as error:
            self._log.info("csi.driver_unknown", driver=driver, error=error.message)
            return
        period_seconds = (described.get("spec") or {}).get("nodeAllocatableUpdatePeriodSeconds")
        while period_seconds:
            await self._clock.sleep(float(period_seconds))
            await self._ask(driver)
