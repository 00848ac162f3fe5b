"""Drivers of ResourceClaims' devices that registered with a node: which can be called, and which are gone.

Owns their connections, and that the ResourceSlices of a driver that is gone for half a minute are removed, so that
nobody is given devices that nobody can prepare. Never prepares a claim. Mirrors pkg/kubelet/cm/dra/plugin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.clock import Clock
from orchestrator.client.client import Client
from orchestrator.kubelet.devices.claim_health import SERVICE as HEALTH_SERVICE
from orchestrator.kubelet.devices.claim_health import ClaimHealth
from orchestrator.kubelet.devices.slices import remove_slices
from orchestrator.kubelet.parts import DeviceFailure, Spawn
from orchestrator.kubelet.plugins.connection import PluginConnection
from orchestrator.kubelet.plugins.presence import until_lost
from orchestrator.kubelet.plugins.watcher import Plugin, PluginRefused, choose_version
from orchestrator.logs import get_logger

SERVICES = ("v1.DRAPlugin", "v1beta1.DRAPlugin")
"""What drivers register with as versions, newest first."""
GONE_SECONDS = 30.0
"""What a driver has to come back, an update of its DaemonSet for example."""
RECONNECT_MAX_SECONDS = 120.0


class ClaimDriver:
    """One instance of a driver; there are two of one name while it is updated."""

    def __init__(self, plugin: Plugin, service: str) -> None:
        self.plugin = plugin
        self.version = service.partition(".")[0]
        self.connection = PluginConnection(plugin.endpoint)
        self.is_connected = False
        self.tasks: list[asyncio.Task[None]] = []


class ClaimDrivers:
    """The drivers of one node; takes plugins of type `DRAPlugin`."""

    def __init__(
        self,
        *,
        client: Client,
        clock: Clock,
        node_name: str,
        spawn: Spawn,
        registered: Callable[[], None],
        health: ClaimHealth,
    ) -> None:
        """`registered` is called when a driver came, for those who wait for it."""
        self.health = health
        self._client = client
        self._clock = clock
        self._node_name = node_name
        self._spawn = spawn
        self._registered = registered
        self._drivers: dict[str, list[ClaimDriver]] = {}
        """By name, the newest last."""
        self._wipes: dict[str, asyncio.Task[None] | None] = {}
        self._log = get_logger("kubelet/devices", node=node_name)

    def get(self, name: str) -> ClaimDriver:
        """The instance of a driver to call; DeviceFailure."""
        instances = self._drivers.get(name)
        if not instances:
            raise DeviceFailure(f"DRA driver {name} is not registered")
        return next((one for one in reversed(instances) if one.is_connected), instances[-1])

    def validate(self, plugin: Plugin) -> None:
        self._service_of(plugin)

    def _service_of(self, plugin: Plugin) -> str:
        service = choose_version(plugin.versions, SERVICES)
        if service is not None:
            return service
        why = "empty list of supported gRPC services (aka supported versions)"
        if plugin.versions:
            why = (
                f"none of services supported by the plugin ({_quoted(plugin.versions)}) "
                f"are supported by the kubelet ({_quoted(SERVICES)})"
            )
        raise PluginRefused(
            f"invalid supported gRPC versions of DRA driver plugin {plugin.name} at endpoint {plugin.endpoint}: {why}"
        )

    async def register(self, plugin: Plugin) -> None:
        instances = self._drivers.setdefault(plugin.name, [])
        if any(one.plugin.endpoint == plugin.endpoint for one in instances):
            raise PluginRefused(f"endpoint {plugin.endpoint} already registered for DRA driver plugin {plugin.name}")
        driver = ClaimDriver(plugin, self._service_of(plugin))
        instances.append(driver)
        self._start(driver, self._follow(driver), "presence")
        if HEALTH_SERVICE in plugin.versions:
            self._start(driver, self.health.follow(plugin.name, driver.connection), "health")
        self._look_at(plugin.name)
        self._registered()

    def deregister(self, plugin: Plugin) -> None:
        instances = self._drivers.get(plugin.name, [])
        for driver in [one for one in instances if one.plugin is plugin]:
            instances.remove(driver)
            for task in driver.tasks:
                task.cancel()
            driver.connection.close()
        if not instances:
            self._drivers.pop(plugin.name, None)
        self._look_at(plugin.name)

    def _start(self, driver: ClaimDriver, work: Coroutine[None, None, None], name: str) -> None:
        task = self._spawn(work, f"devices/{driver.plugin.name}/{name}")
        if task is not None:
            driver.tasks.append(task)

    async def _follow(self, driver: ClaimDriver) -> None:
        """Know whether an instance is there, until it is deregistered; connect again when it is not."""
        backoff = ItemBackoff(base_seconds=1.0, max_seconds=RECONNECT_MAX_SECONDS, items_max=1)

        def connected() -> None:
            backoff.forget("")
            driver.is_connected = True
            self._look_at(driver.plugin.name)

        while True:
            try:
                await until_lost(driver.plugin.endpoint, connected)
            except OSError as error:
                self._log.info("driver.not_reached", driver=driver.plugin.name, error=str(error))
            driver.is_connected = False
            self._look_at(driver.plugin.name)
            await self._clock.sleep(backoff.next_delay(""))

    def _look_at(self, name: str) -> None:
        """Remove the slices of a driver later if it cannot be reached now, or no longer if it can."""
        if any(one.is_connected for one in self._drivers.get(name, ())):
            task = self._wipes.pop(name, None)
            if task is not None:
                task.cancel()
        elif name not in self._wipes:
            self._wipes[name] = self._spawn(self._wipe_later(name), f"devices/{name}/gone")

    async def _wipe_later(self, name: str) -> None:
        await self._clock.sleep(GONE_SECONDS)
        await remove_slices(self._client, self._clock, self._node_name, name)
        self._wipes.pop(name, None)


def _quoted(texts: tuple[str, ...]) -> str:
    return "[" + " ".join(f'"{text}"' for text in texts) + "]"
