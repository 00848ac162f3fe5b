"""Device plugins of a node: the extended resources that they offer, and which of their devices containers have.

Owns registration, the devices and their health, and the account of allocations, in a checkpoint: a killed kubelet
gives nothing away twice. Never starts a container; what it needs for its devices is an `Injection`. Mirrors
pkg/kubelet/cm/devicemanager.

https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from orchestrator.aiokit.clock import Clock
from orchestrator.api.objects import Object, uid_of
from orchestrator.kubelet.checkpoint import Checkpoint
from orchestrator.kubelet.devices.allocation import (
    HEALTHY,
    allocated_status,
    choose_devices,
    wanted_devices,
)
from orchestrator.kubelet.devices.injection import Injection, merge_injections
from orchestrator.kubelet.devices.registration_socket import STATE_FILE
from orchestrator.kubelet.node_paths import DEVICE_PLUGINS, NodePaths
from orchestrator.kubelet.parts import DeviceCounts, DeviceFailure, Spawn
from orchestrator.kubelet.plugins.connection import PluginConnection, PluginError
from orchestrator.kubelet.plugins.watcher import Plugin, PluginRefused
from orchestrator.kubelet.runtime import DeviceNode, Mount
from orchestrator.logs import get_logger

VERSION = "v1beta1"
GONE_SECONDS = 300.0
"""How long the devices of a plugin that ended still count as the node's capacity."""
DEVICES_MAX = 10_000


class Allocated(Struct, frozen=True):
    """Devices of one resource that a container has."""

    devices: tuple[str, ...]
    injection: Injection = Injection()
    cdi_ids: tuple[str, ...] = ()


Allocations = dict[str, dict[str, dict[str, Allocated]]]
"""By pod uid, container and resource."""


class _State(Struct):
    resources: list[str] = field(default_factory=list)
    """Those that plugins had registered."""
    allocations: Allocations = field(default_factory=dict)


class _Offer:
    """A resource, and the plugin behind it; its connection is None while there is none."""

    def __init__(self, connection: PluginConnection | None = None) -> None:
        self.connection = connection
        self.devices: dict[str, str] = {}
        """Health by id."""
        self.starts_first = False
        """Whether the plugin wants to look at devices before each start of a container."""
        self.has_preference = False
        self.is_expired = False
        self.task: asyncio.Task[None] | None = None


class DevicePlugins:
    """The device plugins of one node; takes plugins of type `DevicePlugin` too."""

    def __init__(
        self,
        *,
        clock: Clock,
        paths: NodePaths,
        node_name: str,
        spawn: Spawn,
        changed: Callable[[Iterable[str]], None],
    ) -> None:
        """`changed` is called when there are other devices than before, with the uids of pods that have them."""
        self._clock = clock
        self._paths = paths
        self._folder = paths.kubelet_dir / DEVICE_PLUGINS
        self._spawn = spawn
        self._changed = changed
        self._checkpoint = Checkpoint(self._folder / STATE_FILE, _State)
        self._offers: dict[str, _Offer] = {}
        self._allocations: Allocations = {}
        self._allocating = asyncio.Lock()
        self._log = get_logger("kubelet/devices", node=node_name)

    # Plugins come and go.

    def restore(self) -> None:
        """Find again what an earlier process knew."""
        state = self._checkpoint.load()
        if state is not None:
            self._allocations = state.allocations
            for resource in state.resources:
                self._offers[resource] = offer = _Offer()
                self._expire_later(resource, offer)

    def counts(self) -> Mapping[str, DeviceCounts]:
        """What the Node shows, by resource."""
        return {resource: _counts_of(offer) for resource, offer in self._offers.items()}

    async def register_at(self, version: str, endpoint: str, resource: str) -> None:
        """A plugin called: its own socket is in the same folder. DeviceFailure, PluginError."""
        from orchestrator.api.kinds.core.resource_names import is_extended

        if version != VERSION:
            raise DeviceFailure(
                f'requested API version "{version}" is not supported by kubelet. Supported version is ["{VERSION}"]'
            )
        if not is_extended(resource):
            raise DeviceFailure(f'the ResourceName "{resource}" is invalid')
        await self._connect(resource, self._folder / Path(endpoint).name)

    def validate(self, plugin: Plugin) -> None:
        if VERSION not in plugin.versions:
            raise PluginRefused(
                f"manager version, [{VERSION}], is not among plugin supported versions [{' '.join(plugin.versions)}]"
            )

    async def register(self, plugin: Plugin) -> None:
        try:
            await self.register_at(VERSION, str(plugin.endpoint), plugin.name)
        except DeviceFailure as error:
            raise PluginRefused(str(error)) from error

    def deregister(self, plugin: Plugin) -> None:
        offer = self._offers.get(plugin.name)
        if offer is not None and offer.connection is not None and offer.connection.socket == plugin.endpoint:
            self._lost(plugin.name, offer)

    async def _connect(self, resource: str, socket: Path) -> None:
        from orchestrator.kubelet.devices import plugin_api

        offer = _Offer(PluginConnection(socket))
        assert offer.connection is not None
        try:
            options = await plugin_api.get_options(offer.connection)
        except PluginError:
            offer.connection.close()
            raise
        offer.starts_first = options.pre_start_required
        offer.has_preference = options.get_preferred_allocation_available
        before = self._offers.get(resource)
        if before is not None:
            offer.devices = dict.fromkeys(before.devices, "Unhealthy")
            _end(before)
        self._offers[resource] = offer
        self._log.info("device_plugin.registered", resource=resource)
        offer.task = self._spawn(self._follow(resource, offer, offer.connection), f"devices/{resource}")
        self._save()

    async def _follow(self, resource: str, offer: _Offer, connection: PluginConnection) -> None:
        from orchestrator.kubelet.devices import plugin_api

        try:
            async for answer in plugin_api.list_and_watch(connection):
                self._listed(resource, offer, {device.ID: device.health for device in answer.devices[:DEVICES_MAX]})
        except PluginError as error:
            self._log.info("device_plugin.lost", resource=resource, error=str(error))
        self._lost(resource, offer)

    def _listed(self, resource: str, offer: _Offer, devices: dict[str, str]) -> None:
        before, offer.devices = offer.devices, devices
        if before == devices:
            return
        other = {device for device in {*before, *devices} if before.get(device) != devices.get(device)}
        self._changed(self._users_of(resource, other))

    def _lost(self, resource: str, offer: _Offer) -> None:
        """The plugin ended: its devices are not healthy, and after a while not there."""
        if offer.connection is None or self._offers.get(resource) is not offer:
            return
        task, offer.task = offer.task, None
        offer.connection.close()
        offer.connection = None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        self._expire_later(resource, offer)
        self._listed(resource, offer, dict.fromkeys(offer.devices, "Unhealthy"))

    def _expire_later(self, resource: str, offer: _Offer) -> None:
        offer.task = self._spawn(self._expire(resource, offer), f"devices/{resource}/gone")

    async def _expire(self, resource: str, offer: _Offer) -> None:
        await self._clock.sleep(GONE_SECONDS)
        if self._offers.get(resource) is offer:
            offer.is_expired = True
            self._changed(())
            try:
                self._save()
            except DeviceFailure as error:
                self._log.warning("device_plugin.not_forgotten", resource=resource, error=str(error))

    # Devices of containers.

    async def allocate(self, pod: Object) -> None:
        """Give the containers of a pod their devices, all or none; what they have they keep. DeviceFailure."""
        uid = uid_of(pod)
        resources = self._known_resources()
        if not any(True for _ in wanted_devices(pod, resources)):
            return
        async with self._allocating:
            had_some = uid in self._allocations
            try:
                reusable: dict[str, set[str]] = {}
                for container, is_passing, resource, count in wanted_devices(pod, resources):
                    devices = await self._allocate(uid, container["name"], resource, count, reusable.get(resource, ()))
                    free = reusable.setdefault(resource, set())
                    if is_passing:
                        free.update(devices)
                    else:
                        free.difference_update(devices)
                self._save()
            except (PluginError, DeviceFailure) as error:
                if not had_some:
                    self._allocations.pop(uid, None)
                raise DeviceFailure(str(error)) from error

    async def _allocate(
        self, uid: str, container: str, resource: str, count: int, reusable: Iterable[str]
    ) -> Sequence[str]:
        from orchestrator.kubelet.devices import plugin_api

        known = self._allocations.get(uid, {}).get(container, {}).get(resource)
        if known is not None:
            if len(known.devices) != count:
                raise DeviceFailure(
                    f'pod "{uid}" container "{container}" changed request for resource "{resource}" '
                    f"from {len(known.devices)} to {count}"
                )
            return known.devices
        offer = self._offers.get(resource)
        if offer is None:
            raise DeviceFailure(f"cannot allocate unregistered device {resource}")
        taken = {device for _, _, device in self._allocated(resource)}
        choice = choose_devices(resource, count, devices=offer.devices, taken=taken, reusable=reusable)
        connection = offer.connection
        if connection is None:  # no device of a plugin that ended is healthy
            raise DeviceFailure(f"no healthy devices present; cannot allocate unhealthy devices {resource}")
        preferred: list[str] = []
        if choice.is_open and offer.has_preference:
            available = (*choice.certain, *choice.candidates)
            preferred = await plugin_api.preferred(connection, available, choice.certain, count)
        devices = choice.with_preferred(preferred)
        response = await plugin_api.allocate(connection, devices)
        if response is None:
            raise DeviceFailure("no containers return in allocation response")
        self._allocations.setdefault(uid, {}).setdefault(container, {})[resource] = Allocated(
            devices, _injection(response, self._paths), tuple(device.name for device in response.cdi_devices)
        )
        return devices

    async def start_with(self, pod: Object, container: Object) -> tuple[Injection, list[str]]:
        """(what a container gets, CDI names of more), before each of its starts; DeviceFailure."""
        wanted = {
            resource
            for one, _, resource, _ in wanted_devices(pod, self._known_resources())
            if one["name"] == container["name"]
        }
        if not wanted:
            return Injection(), []
        allocated = self._allocations.get(uid_of(pod), {}).get(container["name"], {})
        if not wanted <= allocated.keys():  # the plugin came after the pod, or the account was lost
            await self.allocate(pod)
            allocated = self._allocations.get(uid_of(pod), {}).get(container["name"], {})
        for resource in sorted(wanted):
            await self._pre_start(resource, allocated[resource].devices)
        return (
            merge_injections(one.injection for one in allocated.values()),
            [name for one in allocated.values() for name in one.cdi_ids],
        )

    async def _pre_start(self, resource: str, devices: Sequence[str]) -> None:
        from orchestrator.kubelet.devices import plugin_api

        offer = self._offers.get(resource)
        if offer is None or offer.connection is None or not offer.starts_first:
            return
        try:
            await plugin_api.pre_start(offer.connection, devices)
        except PluginError as error:
            raise DeviceFailure(f"device plugin PreStartContainer rpc failed with err: {error}") from error

    def statuses(self, pod_uid: str) -> dict[str, list[Object]]:
        """`allocatedResourcesStatus` of a pod's containers that have devices, by name."""
        health = {resource: offer.devices for resource, offer in self._offers.items()}
        return {
            container: allocated_status(allocated, health) for container, allocated in self.devices_of(pod_uid).items()
        }

    def devices_of(self, pod_uid: str) -> dict[str, dict[str, tuple[str, ...]]]:
        """The devices of a pod by container and resource."""
        return {
            container: {resource: one.devices for resource, one in allocated.items()}
            for container, allocated in self._allocations.get(pod_uid, {}).items()
        }

    def healthy(self) -> dict[str, list[str]]:
        """The healthy devices by resource."""
        return {
            resource: sorted(device for device, health in offer.devices.items() if health == HEALTHY)
            for resource, offer in self._offers.items()
        }

    def release(self, pod_uid: str) -> None:
        """The pod's containers have ended; DeviceFailure."""
        if self._allocations.pop(pod_uid, None) is not None:
            self._save()

    def release_unknown(self, known_pods: Collection[str]) -> None:
        """Take back what pods had that are gone; DeviceFailure."""
        for uid in [uid for uid in self._allocations if uid not in known_pods]:
            self.release(uid)

    def _known_resources(self) -> set[str]:
        """Those that are a plugin's, or were when they were allocated."""
        offered = {resource for resource, offer in self._offers.items() if not offer.is_expired}
        return offered | {
            resource for pod in self._allocations.values() for container in pod.values() for resource in container
        }

    def _allocated(self, resource: str) -> Iterable[tuple[str, str, str]]:
        """(pod uid, container, device) for all devices of a resource that somebody has."""
        return [
            (uid, name, device)
            for uid, containers in self._allocations.items()
            for name, allocated in containers.items()
            if resource in allocated
            for device in allocated[resource].devices
        ]

    def _users_of(self, resource: str, devices: Collection[str]) -> set[str]:
        return {uid for uid, _, device in self._allocated(resource) if device in devices}

    def _save(self) -> None:
        resources = sorted(resource for resource, offer in self._offers.items() if not offer.is_expired)
        try:
            self._checkpoint.save(_State(resources, self._allocations))
        except OSError as error:
            raise DeviceFailure(f"failed to write the checkpoint of devices: {error}") from error


def _counts_of(offer: _Offer) -> DeviceCounts:
    if offer.is_expired:
        return DeviceCounts()
    return DeviceCounts(len(offer.devices), sum(1 for health in offer.devices.values() if health == HEALTHY))


def _end(offer: _Offer) -> None:
    if offer.task is not None:
        offer.task.cancel()
    if offer.connection is not None:
        offer.connection.close()


def _injection(response: Any, paths: NodePaths) -> Injection:
    """A plugin's `ContainerAllocateResponse`, without its CDI devices."""
    return Injection(
        env=dict(response.envs),
        mounts=tuple(
            Mount(str(paths.on_machine(mount.host_path)), mount.container_path, read_only=mount.read_only)
            for mount in response.mounts
        ),
        devices=tuple(
            DeviceNode(str(paths.on_machine(node.host_path)), node.container_path, node.permissions or "rwm")
            for node in response.devices
        ),
        annotations=dict(response.annotations),
    )
