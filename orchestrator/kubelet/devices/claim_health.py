"""The health of claims' devices, as drivers tell that serve `DRAResourceHealth` (KEP-4680).

Owns what is known of each device, for as long as its driver says. Mirrors the health cache of pkg/kubelet/cm/dra.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from orchestrator.aiokit.clock import Clock
from orchestrator.kubelet.plugins.connection import PluginConnection, PluginError
from orchestrator.logs import get_logger

SERVICE = "v1alpha1.DRAResourceHealth"
"""What drivers register with, among their versions."""
RETRY_SECONDS = 5.0
VALID_SECONDS = 30.0
"""How long a device is as its driver said, if the driver does not say how long."""
MESSAGE_CHARACTERS_MAX = 1024
DEVICES_MAX = 10_000
_STATES = {1: "Healthy", 2: "Unhealthy"}

Device = tuple[str, str]
"""Pool and device."""


class Health(Struct, frozen=True):
    """What is known of a device."""

    state: str = "Unknown"
    message: str = ""
    valid_until: float = 0.0
    """Monotonic."""


UNKNOWN = Health()


class ClaimHealth:
    """The health of the devices of one node's drivers."""

    def __init__(self, *, clock: Clock, node_name: str, changed: Callable[[str, set[Device]], None]) -> None:
        """`changed` is called with a driver and those of its devices of which something else is known now."""
        self._clock = clock
        self._changed = changed
        self._known: dict[str, dict[Device, Health]] = {}
        self._log = get_logger("kubelet/devices", node=node_name)

    def of(self, driver: str, device: Device) -> Health:
        """What is known of a device now."""
        health = self._known.get(driver, {}).get(device, UNKNOWN)
        return health if self._clock.monotonic() < health.valid_until else UNKNOWN

    async def follow(self, driver: str, connection: PluginConnection) -> None:
        """Hear a driver until cancelled; after an error it is asked again."""
        from orchestrator.kubelet.devices.claim_driver_api import watch_health

        try:
            while True:
                try:
                    async for answer in watch_health(connection):
                        self._learn(driver, self._read(answer))
                except PluginError as error:
                    self._log.info("health.lost", driver=driver, error=str(error))
                self._learn(driver, {})
                await self._clock.sleep(RETRY_SECONDS)
        finally:
            self._learn(driver, {})

    def _read(self, answer: Any) -> dict[Device, Health]:
        now = self._clock.monotonic()
        return {
            (one.device.pool_name, one.device.device_name): Health(
                _STATES.get(one.health, "Unknown"),
                _cut(one.message),
                now + (one.health_check_timeout_seconds if one.health_check_timeout_seconds > 0 else VALID_SECONDS),
            )
            for one in answer.devices[:DEVICES_MAX]
        }

    def _learn(self, driver: str, reported: dict[Device, Health]) -> None:
        """A driver tells all that it knows; of a device that it leaves out the last word counts until it is too old."""
        before = self._known.get(driver, {})
        now = self._clock.monotonic()
        kept = {device: health for device, health in before.items() if now < health.valid_until} if reported else {}
        self._known[driver] = after = {**kept, **reported}
        other = {
            device
            for device in {*before, *after}
            if _told(before.get(device, UNKNOWN)) != _told(after.get(device, UNKNOWN))
        }
        if other:
            self._changed(driver, other)


def _told(health: Health) -> tuple[str, str]:
    return health.state, health.message


def _cut(message: str) -> str:
    return message if len(message) <= MESSAGE_CHARACTERS_MAX else message[: MESSAGE_CHARACTERS_MAX - 3] + "..."
