"""The attach/detach controller's shell: pods, claims and volumes lead to nodes through indexes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from orchestrator.api import errors
from orchestrator.api.csi_volumes import csi_source_of, needs_attachment, unique_volume_name
from orchestrator.api.objects import (
    Object,
    annotations_of,
    condition_of,
    controller_of,
    name_of,
    namespace_of,
    uid_of,
)
from orchestrator.api.resources import (
    CSI_DRIVERS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    VOLUME_ATTACHMENTS,
)
from orchestrator.api.volume_binding import claim_key_of, is_for
from orchestrator.component.controller import Controller
from orchestrator.controllers.attachdetach.plan import (
    AttachPlan,
    Wanted,
    attachment,
    multi_attach_message,
    plan_node,
)
from orchestrator.controllers.expectations import Expectations
from orchestrator.controllers.pods import NODE_INDEX, index_by_node, is_finished, node_of
from orchestrator.controllers.storageprotection import CLAIM_INDEX, claims_of

MANAGED = "volumes.kubernetes.io/controller-managed-attach-detach"
_VOLUME_INDEX = "volume"
_CLAIMING_INDEX = "claiming-by-node"


class AttachDetachController(Controller):
    """Keys are nodes. One worker: two nodes must not get the same exclusive volume."""

    name: ClassVar[str] = "attachdetach"
    workers: ClassVar[int] = 1

    def setup(self) -> None:
        """Everything leads to the node that it is about; a volume that is free again, to those that wait for it."""
        self._nodes = self.informer(NODES)
        self._pods = self.informer(PODS)
        self._claims = self.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = self.informer(PERSISTENT_VOLUMES)
        self._drivers = self.informer(CSI_DRIVERS)
        self._attachments = self.informer(VOLUME_ATTACHMENTS)
        self._expectations = Expectations()
        self._news: set[str] = set()
        """VolumeAttachments with an outcome that the pods have not been told of."""
        self._complained: set[tuple[str, str]] = set()
        """(node, volume) whose pods know that another node has the volume."""
        self._unmounting: dict[str, float] = {}
        """By VolumeAttachment: since when only the kubelet is waited for, monotonic."""
        self._pods.add_index(CLAIM_INDEX, claims_of)
        self._pods.add_index(_CLAIMING_INDEX, _claiming)
        self._attachments.add_index(NODE_INDEX, index_by_node)
        self._attachments.add_index(_VOLUME_INDEX, lambda one: [name] if (name := _volume_of(one)) else [])
        self._nodes.add_handler(self._on_node)
        self._pods.add_handler(self._on_pod)
        self._claims.add_handler(self._on_claim)
        self._volumes.add_handler(self._on_volume)
        self._drivers.add_handler(self._on_driver)
        self._attachments.add_handler(self._on_attachment)

    def _on_node(self, old: Object | None, new: Object | None) -> None:
        node = new if new is not None else old
        assert node is not None
        if old is None or new is None or _what_counts(old) != _what_counts(new):
            self.queue.add(name_of(node))

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        for pod in (old, new):
            if pod is not None and node_of(pod) and claims_of(pod):
                self.queue.add(node_of(pod))

    def _add_nodes_of(self, claim_key: str) -> None:
        for pod in self._pods.by_index(CLAIM_INDEX, claim_key):
            if node_of(pod):
                self.queue.add(node_of(pod))

    def _on_claim(self, old: Object | None, new: Object | None) -> None:
        claim = new if new is not None else old
        assert claim is not None
        self._add_nodes_of(f"{namespace_of(claim)}/{name_of(claim)}")

    def _on_volume(self, old: Object | None, new: Object | None) -> None:
        volume = new if new is not None else old
        assert volume is not None
        if csi_source_of(volume) is not None and (key := claim_key_of(volume)):
            self._add_nodes_of(key)

    def _on_driver(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None:
            for node in self._pods.index(_CLAIMING_INDEX):
                self.queue.add(node)

    def _on_attachment(self, old: Object | None, new: Object | None) -> None:
        one = new if new is not None else old
        assert one is not None
        self.queue.add(node_of(one))
        if new is None:
            self._news.discard(name_of(one))
            self._unmounting.pop(name_of(one), None)
            volume = self._volumes.get(_volume_of(one))
            if volume is not None:
                self._add_nodes_of(claim_key_of(volume))
        elif old is not None and _outcome(old) != _outcome(new):
            self._news.add(name_of(one))

    async def reconcile(self, key: str) -> float | None:
        """Bring one node closer to what its pods need."""
        # What was attached a moment ago must be seen before anything else is attached; what a node said, too.
        await self._expectations.fulfilled("")
        node = self._nodes.get(key)
        if node is not None and annotations_of(node).get(MANAGED) != "true":
            return None
        wanted = list(self._wanted_on(key))
        attachments = self._attachments.by_index(NODE_INDEX, key)
        volumes = {name: one for va in attachments if (one := self._volumes.get(name := _volume_of(va))) is not None}
        now = self.clock.monotonic()
        plan = plan_node(
            key,
            node,
            wanted,
            attachments,
            volumes=volumes,
            elsewhere={name: others for one in wanted if (others := self._elsewhere(name := name_of(one.volume), key))},
            unmounting_seconds={name: now - since for name, since in self._unmounting.items()},
        )
        for va in attachments:
            if name_of(va) not in plan.unmounting:
                self._unmounting.pop(name_of(va), None)
        for name in plan.unmounting:
            self._unmounting.setdefault(name, now)
        for needed in plan.attach:
            await self._attach(needed, key)
        self._tell(key, wanted, plan)
        in_use = await self._report(node, plan)
        for name in plan.detach:
            await self._detach(name, volumes, in_use, is_forced=name in plan.forced)
        if plan.detach:
            self.queue.add(key)
        return plan.again_seconds

    def _wanted_on(self, node_name: str) -> Iterator[Wanted]:
        found: dict[str, Wanted] = {}
        for pod in self._pods.by_index(_CLAIMING_INDEX, node_name):
            if is_finished(pod):
                continue
            for key in claims_of(pod):
                volume = self._bound(key, pod)
                if volume is not None:
                    known = found.get(name_of(volume))
                    found[name_of(volume)] = Wanted(volume, [*(known.pods if known is not None else ()), pod])
        yield from found.values()

    def _bound(self, claim_key: str, pod: Object) -> Object | None:
        """The volume of a claim of this pod, if its driver has it attached."""
        claim = self._claims.get(claim_key)
        if claim is None or (claim.get("status") or {}).get("phase") != "Bound":
            return None
        owner = controller_of(claim)
        if owner is not None and owner.get("kind") == "Pod" and owner.get("uid") != uid_of(pod):
            return None  # made for another pod of this name
        volume = self._volumes.get((claim.get("spec") or {}).get("volumeName") or "")
        if volume is None or not is_for(volume, claim):
            return None
        source = csi_source_of(volume)
        return volume if source is not None and needs_attachment(self._drivers.get(source["driver"])) else None

    def _elsewhere(self, volume_name: str, node_name: str) -> list[str]:
        return [
            other
            for one in self._attachments.by_index(_VOLUME_INDEX, volume_name)
            if (other := node_of(one)) != node_name
        ]

    async def _attach(self, wanted: Wanted, node_name: str) -> None:
        self._complained.discard((node_name, name_of(wanted.volume)))
        try:
            made = await self.client.create(VOLUME_ATTACHMENTS, attachment(wanted, node_name))
        except errors.AlreadyExists:
            return
        self._expectations.wrote("", self._attachments, made)

    def _tell(self, node_name: str, wanted: list[Wanted], plan: AttachPlan) -> None:
        for one, nodes in plan.taken:
            name = name_of(one.volume)
            if (node_name, name) in self._complained:
                continue
            self._complained.add((node_name, name))
            users = [
                name_of(pod)
                for pod in self._pods.by_index(CLAIM_INDEX, claim_key_of(one.volume))
                if node_of(pod) in nodes
            ]
            self._event(one, "Warning", "FailedAttachVolume", multi_attach_message(name, users))
        taken = {name_of(one.volume) for one, _ in plan.taken}
        self._complained = {pair for pair in self._complained if pair[0] != node_name or pair[1] in taken}
        for one in wanted:
            name = one.attachment_to(node_name)
            attached = self._attachments.get(name)
            if name not in self._news or attached is None:
                continue
            self._news.discard(name)
            status = attached.get("status") or {}
            what = f'for volume "{name_of(one.volume)}" '
            if status.get("attached"):
                self._event(one, "Normal", "SuccessfulAttachVolume", f"AttachVolume.Attach succeeded {what}")
            elif error := status.get("attachError"):
                why = error.get("message") or ""
                self._event(one, "Warning", "FailedAttachVolume", f"AttachVolume.Attach failed {what}: {why}")

    def _event(self, wanted: Wanted, kind: str, reason: str, message: str) -> None:
        for pod in wanted.pods:
            self.recorder.event(pod, kind, reason, message)

    async def _report(self, node: Object | None, plan: AttachPlan) -> set[str] | None:
        """Tell the node what is attached to it; what it has in use at that moment, None when it is gone."""
        if node is None:
            return None
        status = node.get("status") or {}
        known = [one.get("name") for one in status.get("volumesAttached") or ()]
        if known != plan.attached:
            listed = [{"name": name, "devicePath": ""} for name in plan.attached] or None
            try:
                node = await self.client.patch(
                    NODES, name_of(node), {"status": {"volumesAttached": listed}}, subresource="status"
                )
            except errors.NotFound:
                return None
            self._expectations.wrote("", self._nodes, node)
        elif plan.detach:
            # Before it mounts, a kubelet says so and then reads what is attached: seen together, nothing is missed.
            try:
                node = await self.client.get(NODES, name_of(node))
            except errors.NotFound:
                return None
            self._expectations.wrote("", self._nodes, node)
        return set((node.get("status") or {}).get("volumesInUse") or ())

    async def _detach(
        self, name: str, volumes: dict[str, Object], in_use: set[str] | None, *, is_forced: bool
    ) -> None:  # fmt: skip
        one = self._attachments.get(name)
        if one is None:
            return
        source = csi_source_of(volumes.get(_volume_of(one)) or {})
        is_mounted = source is not None and unique_volume_name(source["driver"], source["volumeHandle"]) in (
            in_use or ()
        )
        if is_mounted and not is_forced:
            return  # the cache will show it, and it is waited for
        if is_forced:
            self.log.warning("volume.detach_forced", attachment=name, node=node_of(one))
        try:
            await self.client.delete(VOLUME_ATTACHMENTS, name, uid=uid_of(one))
        except errors.NotFound:
            return
        self._expectations.deleted("", self._attachments, one)


def _claiming(pod: Object) -> list[str]:
    return [node_of(pod)] if node_of(pod) and claims_of(pod) else []


def _volume_of(attachment: Object) -> str:
    return str(attachment["spec"]["source"].get("persistentVolumeName") or "")


def _outcome(attachment: Object) -> tuple[object, object]:
    status = attachment.get("status") or {}
    return status.get("attached"), status.get("attachError")


def _what_counts(node: Object) -> tuple[object, ...]:
    """What of a node decides about its volumes."""
    status, spec = node.get("status") or {}, node.get("spec") or {}
    ready = condition_of(node, "Ready") or {}
    return (
        status.get("volumesInUse"),
        status.get("volumesAttached"),
        spec.get("taints"),
        ready.get("status"),
        annotations_of(node).get(MANAGED),
    )
