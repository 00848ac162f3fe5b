"""Mirrors: the API objects that show a node's static pods.

Owns making, replacing and deleting them. A mirror only shows: whoever deletes it gets it back as long as the
manifest is there. Mirrors pkg/kubelet/pod's mirror client.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable

from orchestrator.api import errors
from orchestrator.api.objects import (
    Object,
    annotations_of,
    copy_object,
    is_terminating,
    key_of,
    name_of,
    namespace_of,
    uid_of,
)
from orchestrator.api.resources import PODS
from orchestrator.client.client import Client
from orchestrator.client.informer import Informer
from orchestrator.kubelet.pod import MIRROR_ANNOTATION, is_mirror
from orchestrator.kubelet.record import PodRecord
from orchestrator.logs import get_logger


class MirrorStep(enum.Enum):
    """What has to happen to the mirror of a static pod."""

    NOTHING = enum.auto()
    CREATE = enum.auto()
    REPLACE = enum.auto()
    """Delete the one that is there at once; the right one is created afterwards."""
    DELETE = enum.auto()


def plan_mirror(static: Object | None, mirror: Object | None) -> MirrorStep:
    """Compare a static pod (None: its manifest is gone) with its mirror."""
    if mirror is None:
        return MirrorStep.NOTHING if static is None else MirrorStep.CREATE
    if static is None:
        return MirrorStep.DELETE
    is_current = annotations_of(mirror).get(MIRROR_ANNOTATION) == uid_of(static) and not is_terminating(mirror)
    return MirrorStep.NOTHING if is_current else MirrorStep.REPLACE


def mirror_of(static: Object, node: Object | None) -> Object:
    """The API object that shows a static pod, owned by its Node where that is known."""
    mirror = copy_object(static)
    metadata = mirror["metadata"]
    del metadata["uid"]
    metadata["annotations"][MIRROR_ANNOTATION] = uid_of(static)
    if node is not None:
        owner = {"apiVersion": "v1", "kind": "Node", "name": name_of(node), "uid": uid_of(node), "controller": True}
        metadata["ownerReferences"] = [owner]
    return mirror


class Mirrors:
    """Keeps the mirrors of one node."""

    def __init__(self, *, client: Client, pods: Informer, node: Callable[[], Object | None], node_name: str) -> None:
        self._client = client
        self._pods = pods
        self._node = node
        self._log = get_logger("kubelet", node=node_name)

    def is_settled(self, record: PodRecord) -> bool:
        """Whether the mirror that the API shows is the one that the record knows, and the right one."""
        mirror = self._pods.get(key_of(record.pod))
        is_known = mirror is not None and uid_of(mirror) == record.mirror_uid
        return is_known and plan_mirror(record.pod, mirror) is MirrorStep.NOTHING

    async def keep(self, record: PodRecord | None, key: str) -> None:
        """Bring the mirror of a static pod (None: there is no such pod any more) to what it should be; ApiError."""
        static = record.pod if record is not None and not record.removed else None
        mirror = self._pods.get(key)
        if mirror is not None and not is_mirror(mirror):
            return  # somebody else's pod has this name
        step = plan_mirror(static, mirror)
        if mirror is not None and step in (MirrorStep.REPLACE, MirrorStep.DELETE):
            with contextlib.suppress(errors.NotFound, errors.Conflict):  # gone already
                await self._client.delete(
                    PODS, name_of(mirror), namespace_of(mirror), uid=uid_of(mirror), grace_period_seconds=0
                )
            self._log.info("static_pod.mirror_deleted", pod=key)
            mirror = None
        if static is not None and step in (MirrorStep.CREATE, MirrorStep.REPLACE):
            try:
                mirror = await self._client.create(PODS, mirror_of(static, self._node()))
            except errors.AlreadyExists:
                return  # the watch will show it
            self._log.info("static_pod.mirror_created", pod=key)
        if record is not None and mirror is not None:
            record.unreported |= record.mirror_uid != uid_of(mirror)
            record.mirror_uid = uid_of(mirror)
