"""Which attached volumes a node uses, said before they are mounted, and whether they are attached.

Owns `status.volumesInUse` of the Node: what stands there is not detached. So it is written first, and then what is
attached is read; the attach/detach controller does it the other way round, and neither misses the other. Mirrors the
part of the kubelet's volume manager with which controllers attach.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from orchestrator.api import errors
from orchestrator.api.csi_volumes import attachment_name
from orchestrator.api.objects import Object, is_terminating
from orchestrator.api.resources import NODES, VOLUME_ATTACHMENTS
from orchestrator.client.client import Client
from orchestrator.kubelet.csi.plan import CsiVolume
from orchestrator.kubelet.sources import Notify, Sources


class NotAttached(Exception):
    """The attach/detach controller, or the driver's attacher, is not done yet."""


class NodeAttachments:
    """Attached volumes of one node."""

    def __init__(self, *, client: Client, sources: Sources, node_name: str, wake: Notify) -> None:
        """`wake` is called with the uid of a pod that waits, when there is news."""
        self._client = client
        self._sources = sources
        self._node_name = node_name
        self._users: dict[str, set[str]] = {}
        """By unique name of a volume: the uids of the pods that have it, or are about to."""
        self._written: set[str] | None = None
        self._writing = asyncio.Lock()
        self._started = asyncio.Event()
        self._notify = lambda uid: wake(uid)  # a subscriber of its own: a pod's other references are apart

    async def start(self, users: Iterable[tuple[str, str]]) -> None:
        """The Node is there, perhaps another one than before; these pods have these volumes already. ApiError."""
        for pod_uid, unique_name in users:
            self._users.setdefault(unique_name, set()).add(pod_uid)
        node = await self._client.get(NODES, self._node_name)
        self._written = set((node.get("status") or {}).get("volumesInUse") or ())
        await self._report()
        self._started.set()

    async def attached(self, pod_uid: str, volume: CsiVolume) -> Mapping[str, str]:
        """What the attacher says of a volume (`publish_context`). NotAttached: the pod is woken later; ApiError."""
        await self._started.wait()  # what stood there before must not be lost
        self._users.setdefault(volume.unique_name, set()).add(pod_uid)
        await self._report()
        name = attachment_name(volume.driver, volume.handle, self._node_name)
        self._sources.refer(self._notify, pod_uid, [(VOLUME_ATTACHMENTS, name), (NODES, self._node_name)])
        node = await self._client.get(NODES, self._node_name)
        listed = (node.get("status") or {}).get("volumesAttached") or ()
        attachment = await self._find(name) if any(one["name"] == volume.unique_name for one in listed) else None
        if attachment is None:
            raise NotAttached(f"volume {volume.name} is not attached to node {self._node_name} yet")
        if is_terminating(attachment):
            raise NotAttached("volume attachment is being deleted")
        status = attachment.get("status") or {}
        if not status.get("attached"):
            raise NotAttached(
                (status.get("attachError") or {}).get("message") or f"volume {volume.name} is not attached"
            )
        self._sources.refer(self._notify, pod_uid, ())
        return status.get("attachmentMetadata") or {}

    async def release(self, pod_uid: str, unique_name: str) -> None:
        """A pod has a volume no more; when none has, it may be detached. ApiError."""
        users = self._users.get(unique_name)
        if users is None or pod_uid not in users:
            return
        users.discard(pod_uid)
        if not users:
            del self._users[unique_name]
        await self._started.wait()
        await self._report()

    async def forget(self, pod_uid: str) -> None:
        """The pod is over, however far it came. ApiError."""
        self._sources.refer(self._notify, pod_uid, ())
        for unique_name in [name for name, users in self._users.items() if pod_uid in users]:
            await self.release(pod_uid, unique_name)

    async def _find(self, name: str) -> Object | None:
        try:
            return await self._client.get(VOLUME_ATTACHMENTS, name)
        except (errors.NotFound, errors.Forbidden):
            return None  # nodes may not even ask for what is not theirs

    async def _report(self) -> None:
        async with self._writing:
            in_use = set(self._users)
            if in_use == self._written:
                return
            patch = {"status": {"volumesInUse": sorted(in_use) or None}}
            await self._client.patch(NODES, self._node_name, patch, subresource="status")
            self._written = in_use
