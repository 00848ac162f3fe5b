"""The calls of one driver's node service, as plain values go in and out; every one may raise PluginError."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Any

from orchestrator.component.usage import DiskUsage
from orchestrator.kubelet.csi.messages import MESSAGES
from orchestrator.kubelet.csi.plan import Expansion, NodeInfo, Publication, Staging, VolumeUse
from orchestrator.kubelet.plugins.connection import PluginConnection

CALL_SECONDS = 120.0
"""As long as a kubelet waits for a driver."""
_SERVICE = "/csi.v1.Node/"
_BYTES, _INODES = 1, 2


class Capability(IntEnum):
    """What a node service can do beyond publishing."""

    STAGE_UNSTAGE_VOLUME = 1
    GET_VOLUME_STATS = 2
    EXPAND_VOLUME = 3
    VOLUME_CONDITION = 4
    SINGLE_NODE_MULTI_WRITER = 5
    VOLUME_MOUNT_GROUP = 6


class CsiDriver:
    """A driver that is registered with this node."""

    def __init__(self, name: str, endpoint: Path) -> None:
        self.name = name
        self._connection = PluginConnection(endpoint)
        self._capabilities: frozenset[int] | None = None

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    async def info(self) -> NodeInfo:
        """What the driver calls this node, and where it is."""
        reply = await self._call("NodeGetInfo")
        return NodeInfo(
            node_id=reply.node_id,
            volumes_max=reply.max_volumes_per_node,
            topology=dict(reply.accessible_topology.segments),
        )

    async def capabilities(self) -> frozenset[int]:
        """What the driver can do; asked once."""
        if self._capabilities is None:
            reply = await self._call("NodeGetCapabilities")
            self._capabilities = frozenset(one.rpc.type for one in reply.capabilities)
        return self._capabilities

    async def stage(self, staging: Staging) -> None:
        """Have the volume on this node, once for all pods."""
        await self._call(
            "NodeStageVolume",
            volume_id=staging.use.handle,
            publish_context=staging.publish_context,
            staging_target_path=staging.path,
            volume_capability=_capability(staging.use),
            secrets=staging.secrets,
            volume_context=staging.volume_context,
        )

    async def unstage(self, handle: str, path: str) -> None:
        """No pod of this node has the volume any more."""
        await self._call("NodeUnstageVolume", volume_id=handle, staging_target_path=path)

    async def publish(self, publication: Publication) -> None:
        """Give the volume to a pod."""
        await self._call(
            "NodePublishVolume",
            volume_id=publication.use.handle,
            publish_context=publication.publish_context,
            staging_target_path=publication.staging_path,
            target_path=publication.path,
            volume_capability=_capability(publication.use),
            readonly=publication.read_only,
            secrets=publication.secrets,
            volume_context=publication.volume_context,
        )

    async def unpublish(self, handle: str, path: str) -> None:
        """Take the volume from a pod."""
        await self._call("NodeUnpublishVolume", volume_id=handle, target_path=path)

    async def expand(self, expansion: Expansion) -> int:
        """Let the file system of a volume grow into it; its size in bytes, 0 when the driver does not say."""
        reply = await self._call(
            "NodeExpandVolume",
            volume_id=expansion.use.handle,
            volume_path=expansion.path,
            capacity_range=MESSAGES["CapacityRange"](required_bytes=expansion.required_bytes),
            staging_target_path=expansion.staging_path,
            volume_capability=_capability(expansion.use),
            secrets=expansion.secrets,
        )
        return int(reply.capacity_bytes)

    async def usage(self, handle: str, path: str, staging_path: str) -> DiskUsage | None:
        """What a volume holds; None when the driver does not say it in bytes."""
        reply = await self._call(
            "NodeGetVolumeStats", volume_id=handle, volume_path=path, staging_target_path=staging_path
        )
        by_unit = {one.unit: one for one in reply.usage}
        if _BYTES not in by_unit:
            return None
        size, inodes = by_unit[_BYTES], by_unit.get(_INODES, MESSAGES["VolumeUsage"]())
        return DiskUsage(
            used_bytes=size.used,
            available_bytes=size.available,
            capacity_bytes=size.total,
            inodes_used=inodes.used,
            inodes_free=inodes.available,
            inodes=inodes.total,
        )

    async def _call(self, method: str, **fields: Any) -> Any:
        request = MESSAGES[f"{method}Request"](**fields)
        return await self._connection.call(
            _SERVICE + method, request, MESSAGES[f"{method}Response"], seconds=CALL_SECONDS
        )


def _capability(use: VolumeUse) -> Any:
    made = MESSAGES["VolumeCapability"](access_mode=MESSAGES["AccessMode"](mode=use.access_mode))
    if use.is_block:
        made.block.SetInParent()
        return made
    made.mount.SetInParent()
    made.mount.fs_type = use.fs_type
    made.mount.mount_flags.extend(use.mount_options)
    made.mount.volume_mount_group = use.mount_group
    return made
