"""What is attached to a node and detached from it. Pure.

A volume that a kubelet may have mounted (`status.volumesInUse`) stays, unless its node is lost: Kubernetes docs,
"Non-graceful node shutdown", and KEP-2268.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from orchestrator.api.csi_volumes import attachment_name, is_attachment_name, unique_volume_name
from orchestrator.api.objects import Object, is_terminating, name_of
from orchestrator.controllers.nodelifecycle.plan import ready_status
from orchestrator.controllers.podgc import is_out_of_service

UNMOUNT_SECONDS_MAX = 360.0
"""How long a node that is not ready is waited for, before its volumes are detached all the same."""
_SHARED_MODES = ("ReadWriteMany", "ReadOnlyMany")


class Wanted(Struct, frozen=True):
    """A volume that pods of a node need."""

    volume: Object
    """The PersistentVolume, of a driver whose volumes are attached."""
    pods: Sequence[Object]

    def attachment_to(self, node_name: str) -> str:
        """The name of its VolumeAttachment."""
        source = self.volume["spec"]["csi"]
        return attachment_name(source["driver"], source["volumeHandle"], node_name)


class AttachPlan(Struct):
    """What to do for one node."""

    attach: list[Wanted] = field(default_factory=list)
    taken: list[tuple[Wanted, list[str]]] = field(default_factory=list)
    """Volumes that another node has exclusively, with the names of those nodes."""
    detach: list[str] = field(default_factory=list)
    """Names of VolumeAttachments."""
    forced: set[str] = field(default_factory=set)
    """Those of `detach` that do not wait for the kubelet any more."""
    unmounting: set[str] = field(default_factory=set)
    """VolumeAttachments that go once the kubelet has unmounted their volume."""
    attached: list[str] = field(default_factory=list)
    """`status.volumesAttached` of the node, by unique name."""
    again_seconds: float | None = None


def is_exclusive(volume: Object) -> bool:
    """Whether a volume can be attached to one node only."""
    modes = (volume.get("spec") or {}).get("accessModes") or ()
    return bool(modes) and not any(mode in _SHARED_MODES for mode in modes)


def plan_node(
    node_name: str,
    node: Object | None,
    wanted: Iterable[Wanted],
    attachments: Iterable[Object],
    *,
    volumes: Mapping[str, Object],
    elsewhere: Mapping[str, Sequence[str]],
    unmounting_seconds: Mapping[str, float],
) -> AttachPlan:
    """What one node needs.

    `attachments` are those to the node, `volumes` their PersistentVolumes by name, `elsewhere` the other nodes that
    each PersistentVolume is attached to. `unmounting_seconds`: how long an attachment has waited for the kubelet.
    """
    plan = AttachPlan()
    present = {name_of(one): one for one in attachments}
    needed = {one.attachment_to(node_name): one for one in wanted}
    if node is not None:
        for name, one in needed.items():
            if name in present:
                continue  # one that is on its way out is waited for
            others = elsewhere.get(name_of(one.volume)) if is_exclusive(one.volume) else None
            if others:
                plan.taken.append((one, sorted(others)))
            else:
                plan.attach.append(one)
    in_use = set(((node or {}).get("status") or {}).get("volumesInUse") or ())
    for name, attachment in present.items():
        volume = volumes.get(attachment["spec"]["source"].get("persistentVolumeName") or "")
        unique = _unique_name(volume)
        is_leaving = is_terminating(attachment)
        if name not in needed and not is_leaving and is_attachment_name(name):
            is_leaving = _plan_detach(plan, name, node, unique in in_use, unmounting_seconds.get(name, 0.0))
        if unique and not is_leaving and (attachment.get("status") or {}).get("attached"):
            plan.attached.append(unique)
    plan.attached.sort()
    return plan


def _plan_detach(plan: AttachPlan, name: str, node: Object | None, is_mounted: bool, waited_seconds: float) -> bool:
    """Whether the attachment goes now."""
    if is_mounted and node is not None:
        left_seconds = UNMOUNT_SECONDS_MAX - waited_seconds
        if not is_out_of_service(node) and (left_seconds > 0 or ready_status(node) == "True"):
            plan.unmounting.add(name)
            if left_seconds > 0:
                plan.again_seconds = min(left_seconds, plan.again_seconds or left_seconds)
            return False
        plan.forced.add(name)
    plan.detach.append(name)
    return True


def _unique_name(volume: Object | None) -> str:
    source = ((volume or {}).get("spec") or {}).get("csi")
    return unique_volume_name(source["driver"], source["volumeHandle"]) if source else ""


def attachment(wanted: Wanted, node_name: str) -> Object:
    """The VolumeAttachment of a volume to a node."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": wanted.attachment_to(node_name)},
        "spec": {
            "attacher": wanted.volume["spec"]["csi"]["driver"],
            "nodeName": node_name,
            "source": {"persistentVolumeName": name_of(wanted.volume)},
        },
    }


def multi_attach_message(volume_name: str, users: Iterable[str]) -> str:
    """What the pods are told whose volume another node has; `users` are the names of the pods there."""
    names = ", ".join(sorted(users))
    why = (
        f"Volume is already used by pod(s) {names}"
        if names
        else "Volume is already exclusively attached to one node and can't be attached to another"
    )
    return f'Multi-Attach error for volume "{volume_name}" {why}'
