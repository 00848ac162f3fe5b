"""The devices of one node, as the kubelet asks for them: for a pod before and after it runs, and for a container.

Owns the parts and puts their answers together. Mirrors the device side of pkg/kubelet/cm's ContainerManager.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object, uid_of
from orchestrator.client.client import Client
from orchestrator.kubelet.devices import cdi
from orchestrator.kubelet.devices.claim_drivers import ClaimDrivers, Spawn
from orchestrator.kubelet.devices.claims import PreparedClaims
from orchestrator.kubelet.devices.injection import Injection, inject_beneath, inject_over
from orchestrator.kubelet.devices.plugins import DevicePlugins
from orchestrator.kubelet.node_paths import CDI, NodePaths
from orchestrator.kubelet.parts import DeviceCounts, DeviceFailure
from orchestrator.kubelet.plugins.watcher import PluginHandler
from orchestrator.kubelet.runtime import ContainerSpec
from orchestrator.logs import get_logger


class NodeDevices:
    """Implements `parts.Devices` for one node."""

    def __init__(
        self,
        *,
        client: Client,
        clock: Clock,
        paths: NodePaths,
        node_name: str,
        spawn: Spawn,
        known_pods: Callable[[], Awaitable[Collection[str]]],
        driver_came: Callable[[], None],
        changed: Callable[[Iterable[str]], None],
    ) -> None:
        """`known_pods` are the uids of all pods of the node; `driver_came` wakes those that wait for one.

        `changed` is called when what the node offers is another, with the uids of pods whose devices have changed.
        """
        self._paths = paths
        self._spawn = spawn
        self._known_pods = known_pods
        self._driver_came = driver_came
        self._log = get_logger("kubelet/devices", node=node_name)
        self._drivers = ClaimDrivers(
            client=client, clock=clock, node_name=node_name, spawn=spawn, registered=self._claim_driver_came
        )
        self._claims = PreparedClaims(
            client=client, drivers=self._drivers, folder=paths.kubelet_dir, node_name=node_name
        )
        self._plugins = DevicePlugins(clock=clock, paths=paths, node_name=node_name, spawn=spawn, changed=changed)

    @property
    def handlers(self) -> Mapping[str, PluginHandler]:
        """Who takes which plugins."""
        return {"DRAPlugin": self._drivers, "DevicePlugin": self._plugins}

    def counts(self) -> Mapping[str, DeviceCounts]:
        """The extended resources that device plugins offer."""
        return self._plugins.counts()

    def start(self) -> None:
        """Wait for device plugins."""
        try:
            self._plugins.start()
        except OSError as error:
            self._log.warning("device_plugins.not_served", error=str(error))
        self._spawn(self._take_back(), "devices/unknown")

    async def before_registration(self) -> None:
        """Until drivers come back nobody can prepare their devices: what they published goes before the node shows."""
        if not await self._drivers.try_to_remove_slices():
            self._spawn(self._drivers.remove_slices(), "devices/slices")

    async def _take_back(self) -> None:
        """Take back what pods had that went while no kubelet ran."""
        known = await self._known_pods()
        try:
            self._plugins.release_unknown(known)
        except DeviceFailure as error:
            self._log.warning("devices.not_released", error=str(error))

    def _claim_driver_came(self) -> None:
        self._driver_came()
        self._spawn(self._release_unknown(), "devices/unknown-claims")

    async def _release_unknown(self) -> None:
        await self._claims.release_unknown(await self._known_pods())

    async def allocate(self, pod: Object) -> None:
        await self._plugins.allocate(pod)

    async def prepare(self, pod: Object) -> None:
        await self._claims.prepare(pod)

    async def inject(self, pod: Object, container: Object, spec: ContainerSpec) -> ContainerSpec:
        injection, names = await self._plugins.start_with(pod, container)
        spec = inject_beneath(spec, injection)
        if names := (*names, *self._claims.cdi_ids(pod, container)):
            spec = inject_over(spec, await asyncio.to_thread(self._resolve, names))
        return spec

    def _resolve(self, names: Sequence[str]) -> Injection:
        known = cdi.read_descriptions((self._paths.kubelet_dir / CDI, *cdi.MACHINE_DIRS))
        return cdi.plan_injection(names, known, self._paths)

    def statuses(self, pod: Object) -> Mapping[str, list[Object]]:
        plugins, claims = self._plugins.statuses(uid_of(pod)), self._claims.statuses(pod)
        return {name: [*plugins.get(name, ()), *claims.get(name, ())] for name in {**plugins, **claims}}

    async def release(self, pod_uid: str) -> None:
        self._plugins.release(pod_uid)
        await self._claims.release(pod_uid)
