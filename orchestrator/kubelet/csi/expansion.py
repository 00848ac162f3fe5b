"""The file system of a volume that was made larger follows, while pods use it. Mirrors the kubelet's node expander.

The driver's external resizer makes the volume larger and leaves the rest to the node (KEP-556, KEP-1790).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.api.objects import Object, name_of, namespace_of
from orchestrator.api.resources import PERSISTENT_VOLUME_CLAIMS
from orchestrator.client.client import Client
from orchestrator.component.events import EventRecorder
from orchestrator.kubelet.csi.credentials import read_secret
from orchestrator.kubelet.csi.plan import CsiVolume, Expansion, Published, expanded_status, plan_expansion
from orchestrator.kubelet.plugins.connection import PluginError

if TYPE_CHECKING:
    from orchestrator.kubelet.csi.driver import CsiDriver


class VolumeExpansion:
    """Expands volumes of one node."""

    def __init__(self, *, client: Client, recorder: EventRecorder, node_name: str) -> None:
        self._client = client
        self._recorder = recorder
        self._node_name = node_name

    async def grow(self, pod: Object, volume: CsiVolume, published: Published, driver: CsiDriver) -> bool:
        """Let the file system grow if there is room; False when it has to be tried again. ApiError."""
        from orchestrator.kubelet.csi.driver import Capability

        size_bytes = plan_expansion(volume)
        if not size_bytes:
            return True
        assert volume.claim is not None
        assert volume.persistent is not None
        try:
            if Capability.EXPAND_VOLUME not in await driver.capabilities():
                return True
            secrets = await read_secret(self._client, volume.source.get("nodeExpandSecretRef"))
            await driver.expand(Expansion(published.use, published.path, published.staging_path, size_bytes, secrets))
        except PluginError as error:
            message = f'NodeExpandVolume.NodeExpandVolume failed for volume "{volume.name}" : {error}'
            self._recorder.event(pod, "Warning", "VolumeResizeFailed", message)
            return False
        await self._tell(pod, volume.claim, volume.persistent)
        return True

    async def _tell(self, pod: Object, claim: Object, persistent: Object) -> None:
        status = expanded_status(claim, persistent["spec"]["capacity"]["storage"])
        await self._client.patch(
            PERSISTENT_VOLUME_CLAIMS, name_of(claim), {"status": status}, namespace_of(claim), subresource="status"
        )
        message = f'MountVolume.NodeExpandVolume succeeded for volume "{name_of(persistent)}" {self._node_name}'
        for told in (pod, claim):
            self._recorder.event(told, "Normal", "FileSystemResizeSuccessful", message)
