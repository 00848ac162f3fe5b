"""The devices of one node, as the kubelet asks for them: for a pod before and after it runs, and for a container.

Owns the parts and puts their answers together. Mirrors the device side of pkg/kubelet/cm's ContainerManager.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object
from orchestrator.client.client import Client
from orchestrator.kubelet.devices import cdi
from orchestrator.kubelet.devices.claim_drivers import ClaimDrivers, Spawn
from orchestrator.kubelet.devices.claims import PreparedClaims
from orchestrator.kubelet.devices.injection import Injection, inject_over
from orchestrator.kubelet.node_paths import CDI, NodePaths
from orchestrator.kubelet.plugins.watcher import PluginHandler
from orchestrator.kubelet.runtime import ContainerSpec


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
    ) -> None:
        """`known_pods` are the uids of all pods of the node; `driver_came` wakes those that wait for one."""
        self._paths = paths
        self._spawn = spawn
        self._known_pods = known_pods
        self._driver_came = driver_came
        self._drivers = ClaimDrivers(
            client=client, clock=clock, node_name=node_name, spawn=spawn, registered=self._claim_driver_came
        )
        self._claims = PreparedClaims(
            client=client, drivers=self._drivers, folder=paths.kubelet_dir, node_name=node_name
        )

    @property
    def handlers(self) -> Mapping[str, PluginHandler]:
        """Who takes which plugins."""
        return {"DRAPlugin": self._drivers}

    async def start(self) -> None:
        """Until drivers come back nobody can prepare their devices: what they published goes before the node shows."""
        if not await self._drivers.try_to_remove_slices():
            self._spawn(self._drivers.remove_slices(), "devices/slices")

    def _claim_driver_came(self) -> None:
        self._driver_came()
        self._spawn(self._release_unknown(), "devices/unknown")

    async def _release_unknown(self) -> None:
        await self._claims.release_unknown(await self._known_pods())

    async def prepare(self, pod: Object) -> None:
        """Make the devices of a pod ready; DeviceFailure."""
        await self._claims.prepare(pod)

    async def inject(self, pod: Object, container: Object, spec: ContainerSpec) -> ContainerSpec:
        """The container with its devices; DeviceFailure."""
        if names := self._claims.cdi_ids(pod, container):
            spec = inject_over(spec, await asyncio.to_thread(self._resolve, names))
        return spec

    def _resolve(self, names: list[str]) -> Injection:
        known = cdi.read_descriptions((self._paths.kubelet_dir / CDI, *cdi.MACHINE_DIRS))
        return cdi.plan_injection(names, known, self._paths)

    async def release(self, pod_uid: str) -> None:
        """The pod's containers have ended; DeviceFailure."""
        await self._claims.release(pod_uid)
