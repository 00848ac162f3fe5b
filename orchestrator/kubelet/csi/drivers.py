"""Which CSI drivers are registered with a node, and what the API is told of them.

Owns the connections, the node's CSINode, and the labels and the annotation of its Node. Never mounts. Mirrors
pkg/volume/csi's registration handler and nodeinfomanager.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson

from orchestrator.aiokit.backoff import ItemBackoff
from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.objects import Object, annotations_of, labels_of, uid_of
from orchestrator.api.resources import CSI_NODES, NODES
from orchestrator.client.client import Client
from orchestrator.kubelet.csi.attach_limits import AttachLimits
from orchestrator.kubelet.csi.plan import (
    NodeInfo,
    VolumeUnusable,
    check_topology,
    plan_csi_node,
    replaces_csi_node,
)
from orchestrator.kubelet.parts import Spawn
from orchestrator.kubelet.plugins.connection import PluginError
from orchestrator.kubelet.plugins.watcher import Plugin, PluginRefused
from orchestrator.kubelet.sources import Sources
from orchestrator.logs import get_logger

if TYPE_CHECKING:
    from orchestrator.kubelet.csi.driver import CsiDriver

NODE_ID_ANNOTATION = "csi.volume.kubernetes.io/nodeid"
NODE_ID_BYTES_MAX = 256
_TRIES = 5


class CsiDrivers:
    """Implements `plugins.watcher.PluginHandler` for the type `CSIPlugin`."""

    def __init__(
        self,
        *,
        client: Client,
        clock: Clock,
        node_name: str,
        spawn: Spawn,
        wake: Callable[[str], None],
        sources: Sources,
    ) -> None:
        """`wake` is called with the uid of a pod whose driver has come."""
        self._client = client
        self._clock = clock
        self._node_name = node_name
        self._is_registered = asyncio.Event()
        self._spawn = spawn
        self._wake = wake
        self._drivers: dict[str, tuple[Plugin, CsiDriver]] = {}
        self._waiting: dict[str, set[str]] = {}
        """By driver: the uids of the pods that wait for it."""
        self._writing = asyncio.Lock()
        self._limits = AttachLimits(
            client=client, clock=clock, sources=sources, spawn=spawn, ask=self._ask_again, node_name=node_name
        )
        self._log = get_logger("kubelet/csi", node=node_name)

    def get(self, name: str) -> CsiDriver | None:
        """A driver, when it is there."""
        found = self._drivers.get(name)
        return None if found is None else found[1]

    def wait_for(self, name: str, pod_uid: str) -> None:
        """Wake a pod when a driver registers, because it is not there or does not do what it is asked."""
        self._waiting.setdefault(name, set()).add(pod_uid)

    def forget(self, pod_uid: str) -> None:
        """The pod waits for no driver any more."""
        for name in [name for name, uids in self._waiting.items() if pod_uid in uids]:
            self._waiting[name].discard(pod_uid)
            if not self._waiting[name]:
                del self._waiting[name]

    def close(self) -> None:
        """End all connections."""
        for _, driver in self._drivers.values():
            driver.close()
        self._drivers.clear()

    async def start(self) -> None:
        """The Node was registered, perhaps anew: it has a CSINode, as every node of a kubelet. ApiError."""
        try:
            await self._client.get(CSI_NODES, self._node_name)
        except errors.NotFound:
            with suppress(errors.AlreadyExists):
                await self._client.create(CSI_NODES, await self._new_csi_node([]))
        self._is_registered.set()
        for name, (_, driver) in [*self._drivers.items()]:
            with suppress(PluginError, VolumeUnusable):  # who does not answer is asked when it registers again
                info = await driver.info()
                async with self._writing:
                    await self._write_node(name, info)
                    await self._write_csi_node(name, info)

    # PluginHandler.

    def validate(self, plugin: Plugin) -> None:
        """Drivers of CSI 1.x are taken."""
        if not any(version.removeprefix("v").split(".")[0] == "1" for version in plugin.versions):
            raise PluginRefused(
                f"none of the CSI versions reported by this driver are supported: {', '.join(plugin.versions)}"
            )

    async def register(self, plugin: Plugin) -> None:
        """Ask the driver what it calls this node, tell the API, and take it. PluginRefused, PluginError."""
        from orchestrator.kubelet.csi.driver import CsiDriver

        driver = CsiDriver(plugin.name, plugin.endpoint)
        try:
            info = await driver.info()
            if not info.node_id or len(info.node_id.encode()) > NODE_ID_BYTES_MAX:
                raise PluginRefused(f"error adding CSI driver node info: invalid node ID {info.node_id!r}")
            await self._is_registered.wait()
            async with self._writing:
                await self._write_node(plugin.name, info)
                await self._write_csi_node(plugin.name, info)
        except (errors.ApiError, VolumeUnusable) as error:
            driver.close()
            why = error.message if isinstance(error, errors.ApiError) else str(error)
            raise PluginRefused(f"error updating Node object with CSI driver node info: {why}") from error
        except BaseException:
            driver.close()
            raise
        before = self._drivers.get(plugin.name)
        self._drivers[plugin.name] = plugin, driver
        self._limits.follow(plugin.name)
        if before is not None:
            before[1].close()
        for uid in self._waiting.pop(plugin.name, ()):
            self._wake(uid)

    def deregister(self, plugin: Plugin) -> None:
        """The driver is gone; another one that took its place stays."""
        known = self._drivers.get(plugin.name)
        if known is not None and known[0] is not plugin:
            return
        if known is not None:
            del self._drivers[plugin.name]
            known[1].close()
        self._limits.forget(plugin.name)
        self._spawn(self._remove(plugin.name), f"csi/{plugin.name}/deregister")

    async def _ask_again(self, name: str) -> None:
        """Tell the API what a driver says of this node now."""
        known = self._drivers.get(name)
        if known is None:
            return
        try:
            info = await known[1].info()
            async with self._writing:
                if name in self._drivers:
                    await self._write_csi_node(name, info)
        except (PluginError, errors.ApiError) as error:
            self._log.info("csi.attach_limit_unknown", driver=name, error=str(error))

    async def _remove(self, name: str) -> None:
        backoff = ItemBackoff(base_seconds=0.1, max_seconds=60.0, items_max=1)
        while name not in self._drivers:
            try:
                async with self._writing:
                    if name not in self._drivers:
                        await self._write_node(name, None)
                        await self._write_csi_node(name, None)
                return
            except (errors.ApiError, OSError) as error:
                self._log.info("csi.not_deregistered", driver=name, error=str(error))
            await self._clock.sleep(backoff.next_delay(""))

    async def _write_node(self, name: str, info: NodeInfo | None) -> None:
        node = await self._client.get(NODES, self._node_name)
        try:
            ids = dict(orjson.loads(annotations_of(node).get(NODE_ID_ANNOTATION) or "{}"))
        except ValueError:
            ids = {}
        before = dict(ids)
        labels: dict[str, str] = {}
        if info is not None:
            check_topology(info.topology, labels_of(node))
            ids[name] = info.node_id
            labels = {key: value for key, value in info.topology.items() if key not in labels_of(node)}
        else:
            ids.pop(name, None)
        if ids == before and not labels:
            return
        text = orjson.dumps(ids, option=orjson.OPT_SORT_KEYS).decode() if ids else None
        patch = {"metadata": {"annotations": {NODE_ID_ANNOTATION: text}, "labels": labels}}
        await self._client.patch(NODES, self._node_name, patch)

    async def _write_csi_node(self, name: str, info: NodeInfo | None) -> None:
        for _ in range(_TRIES):
            try:
                found = await self._client.get(CSI_NODES, self._node_name)
            except errors.NotFound:
                if info is None:
                    return
                found = None
            known = ((found or {}).get("spec") or {}).get("drivers")
            is_replaced = info is not None and replaces_csi_node(known, name, info)
            drivers = plan_csi_node(known, name, None if is_replaced else info)
            if drivers is None:
                return
            try:
                if found is None:
                    await self._client.create(CSI_NODES, await self._new_csi_node(drivers))
                else:
                    await self._client.update(CSI_NODES, {**found, "spec": {**found["spec"], "drivers": drivers}})
                if not is_replaced:
                    return
            except (errors.Conflict, errors.AlreadyExists):
                continue
        raise errors.conflict(CSI_NODES.group, CSI_NODES.plural, self._node_name, "the CSINode keeps changing")

    async def _new_csi_node(self, drivers: list[Object]) -> Object:
        node = await self._client.get(NODES, self._node_name)
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._node_name, "uid": uid_of(node)}
        return {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSINode",
            "metadata": {"name": self._node_name, "ownerReferences": [owner]},
            "spec": {"drivers": drivers},
        }
