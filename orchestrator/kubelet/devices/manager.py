"""The devices of one node, as the kubelet asks for them: for a pod before and after it runs, and for a container.

Owns the parts and puts their answers together; most nodes never need them, so each is loaded with its first driver.
Mirrors the device side of pkg/kubelet/cm's ContainerManager.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object, uid_of
from orchestrator.api.resource_claims import references_of
from orchestrator.client.client import Client
from orchestrator.kubelet.devices.registration_socket import SOCKET, STATE_FILE, RegistrationSocket
from orchestrator.kubelet.devices.slices import remove_slices, try_to_remove_slices
from orchestrator.kubelet.node_paths import CDI, DEVICE_PLUGINS, POD_RESOURCES, NodePaths
from orchestrator.kubelet.parts import DeviceCounts, DeviceFailure, Spawn
from orchestrator.kubelet.plugins.server_socket import Methods, ServerSocket
from orchestrator.kubelet.plugins.watcher import PluginHandler
from orchestrator.kubelet.runtime import ContainerSpec
from orchestrator.logs import get_logger

if TYPE_CHECKING:
    from orchestrator.kubelet.devices.claims import PreparedClaims
    from orchestrator.kubelet.devices.plugins import DevicePlugins
    from orchestrator.kubelet.devices.pod_resources import ClaimedDevices

CLAIMS_FILE = "dra_manager_state"


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
        active_pods: Callable[[], Iterable[Object]],
    ) -> None:
        """`known_pods` are the uids of all pods of the node; `driver_came` wakes those that wait for one.

        `changed` is called when what the node offers is another, with the uids of pods whose devices have changed.
        `active_pods` are those that are not over.
        """
        self._client = client
        self._clock = clock
        self._paths = paths
        self._node_name = node_name
        self._spawn = spawn
        self._known_pods = known_pods
        self._driver_came = driver_came
        self._changed = changed
        self._log = get_logger("kubelet/devices", node=node_name)
        self._socket = RegistrationSocket(
            paths.kubelet_dir / DEVICE_PLUGINS, register=self._register_plugin, spawn=spawn
        )
        self._active_pods = active_pods
        self._pod_resources = ServerSocket(
            paths.kubelet_dir / POD_RESOURCES / SOCKET, methods=self._pod_resources_methods, spawn=spawn
        )
        self._plugins: DevicePlugins | None = None
        self._claims: PreparedClaims | None = None

    @property
    def handlers(self) -> Mapping[str, Callable[[], PluginHandler]]:
        """Who takes which plugins."""
        return {"DRAPlugin": lambda: self._with_claims().drivers, "DevicePlugin": self._with_plugins}

    def _with_plugins(self) -> DevicePlugins:
        if self._plugins is None:
            from orchestrator.kubelet.devices.plugins import DevicePlugins

            self._plugins = DevicePlugins(
                clock=self._clock,
                paths=self._paths,
                node_name=self._node_name,
                spawn=self._spawn,
                changed=self._changed,
            )
            self._plugins.restore()
        return self._plugins

    def _with_claims(self) -> PreparedClaims:
        if self._claims is None:
            from orchestrator.kubelet.devices.claim_drivers import ClaimDrivers
            from orchestrator.kubelet.devices.claim_health import ClaimHealth
            from orchestrator.kubelet.devices.claims import PreparedClaims

            drivers = ClaimDrivers(
                client=self._client,
                clock=self._clock,
                node_name=self._node_name,
                spawn=self._spawn,
                registered=self._claim_driver_came,
                health=ClaimHealth(clock=self._clock, node_name=self._node_name, changed=self._health_changed),
            )
            self._claims = PreparedClaims(
                client=self._client,
                drivers=drivers,
                file=self._paths.kubelet_dir / CLAIMS_FILE,
                node_name=self._node_name,
            )
        return self._claims

    def counts(self) -> Mapping[str, DeviceCounts]:
        """The extended resources that device plugins offer."""
        return self._plugins.counts() if self._plugins is not None else {}

    def start(self) -> None:
        """Find again what an earlier process noted, and wait for device plugins."""
        if (self._paths.kubelet_dir / CLAIMS_FILE).exists():
            self._with_claims()
        if (self._paths.kubelet_dir / DEVICE_PLUGINS / STATE_FILE).exists():
            self._spawn(self._take_back(self._with_plugins()), "devices/unknown")
        for socket in (self._socket, self._pod_resources):
            try:
                socket.listen()
            except OSError as error:
                self._log.warning("socket.not_served", error=str(error))

    def _pod_resources_methods(self) -> Methods:
        from orchestrator.kubelet.devices.pod_resources import PodResources

        return PodResources(devices=self, pods=self._active_pods).methods()

    def plugin_devices(self, pod_uid: str) -> Mapping[str, Mapping[str, Sequence[str]]]:
        """The devices of plugins that a pod has, by container and resource."""
        return self._plugins.devices_of(pod_uid) if self._plugins is not None else {}

    def claimed_devices(self, pod: Object, container: Object) -> ClaimedDevices:
        """The devices of claims that a container has."""
        return self._claims.devices_of(pod, container) if self._claims is not None else ()

    def healthy_devices(self) -> Mapping[str, Sequence[str]]:
        """The devices of plugins that can be used, by resource."""
        return self._plugins.healthy() if self._plugins is not None else {}

    async def before_registration(self) -> None:
        """Until drivers come back nobody can prepare their devices: what they published goes before the node shows."""
        if not await try_to_remove_slices(self._client, self._node_name):
            self._spawn(remove_slices(self._client, self._clock, self._node_name), "devices/slices")

    async def _register_plugin(self, version: str, endpoint: str, resource: str) -> None:
        await self._with_plugins().register_at(version, endpoint, resource)

    async def _take_back(self, plugins: DevicePlugins) -> None:
        """Take back what pods had that went while no kubelet ran."""
        known = await self._known_pods()
        try:
            plugins.release_unknown(known)
        except DeviceFailure as error:
            self._log.warning("devices.not_released", error=str(error))

    def _health_changed(self, driver: str, devices: Collection[tuple[str, str]]) -> None:
        self._changed(self._with_claims().users_of(driver, devices))

    def _claim_driver_came(self) -> None:
        self._driver_came()
        self._spawn(self._release_unknown(), "devices/unknown-claims")

    async def _release_unknown(self) -> None:
        await self._with_claims().release_unknown(await self._known_pods())

    async def allocate(self, pod: Object) -> None:
        if self._plugins is not None:
            await self._plugins.allocate(pod)

    async def prepare(self, pod: Object) -> None:
        if references_of(pod):
            await self._with_claims().prepare(pod)

    async def inject(self, pod: Object, container: Object, spec: ContainerSpec) -> ContainerSpec:
        names: list[str] = []
        if self._plugins is not None:
            injection, names = await self._plugins.start_with(pod, container)
            spec = injection.beneath(spec)
        if (container.get("resources") or {}).get("claims"):
            names += self._with_claims().cdi_ids(pod, container)
        return await asyncio.to_thread(self._inject_by_name, spec, names) if names else spec

    def _inject_by_name(self, spec: ContainerSpec, names: Sequence[str]) -> ContainerSpec:
        from orchestrator.kubelet.devices import cdi

        known = cdi.read_descriptions((self._paths.kubelet_dir / CDI, *cdi.MACHINE_DIRS))
        return cdi.plan_injection(names, known, self._paths).over(spec)

    def statuses(self, pod: Object) -> Mapping[str, list[Object]]:
        plugins = self._plugins.statuses(uid_of(pod)) if self._plugins is not None else {}
        claims = self._claims.statuses(pod) if self._claims is not None else {}
        return {name: [*plugins.get(name, ()), *claims.get(name, ())] for name in {**plugins, **claims}}

    async def release(self, pod_uid: str) -> None:
        if self._plugins is not None:
            self._plugins.release(pod_uid)
        if self._claims is not None:
            await self._claims.release(pod_uid)
