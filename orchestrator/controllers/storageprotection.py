"""Claims, volumes and classes of their attributes that are in use outlive their deletion.

Owns the finalizers `kubernetes.io/pvc-protection` and `kubernetes.io/pv-protection`, which admission adds, and
`kubernetes.io/vac-protection`: here they go when nobody uses the object any more. Never binds or deletes anything.
Mirrors persistentvolumeclaim-protection-controller, persistentvolume-protection-controller and
volumeattributesclass-protection-controller.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from orchestrator.api import errors
from orchestrator.api.objects import Object, is_terminating, key_of, name_of, namespace_of, resource_version_of
from orchestrator.api.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    VOLUME_ATTRIBUTES_CLASSES,
    Resource,
)
from orchestrator.component.controller import Controller
from orchestrator.controllers.pods import is_finished, node_of, phase_of

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"
CLASS_FINALIZER = "kubernetes.io/vac-protection"
CLAIM_INDEX = "claim"
ATTRIBUTES_INDEX = "attributes-class"


def claims_of(pod: Object) -> list[str]:
    """The keys of the claims that a pod mounts, those of its ephemeral volumes included."""
    names: list[str] = []
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            names.append(volume["persistentVolumeClaim"]["claimName"])
        elif volume.get("ephemeral") and not is_finished(pod):
            names.append(f"{name_of(pod)}-{volume['name']}")
    return [f"{namespace_of(pod)}/{name}" for name in names]


def plan_finalizers(obj: Object, finalizer: str, *, in_use: bool) -> list[str] | None:
    """The finalizers that an object should have; None when they are right already."""
    present = list(obj["metadata"].get("finalizers") or ())
    if is_terminating(obj):
        if finalizer in present and not in_use:
            return [one for one in present if one != finalizer]
    elif finalizer not in present:
        return [*present, finalizer]
    return None


def is_claim_in_use(pods: Iterable[Object]) -> bool:
    """Whether one of the pods that name a claim was bound to a node: its kubelet may hold the volume."""
    return any(node_of(pod) for pod in pods)


class _ProtectionController(Controller):
    resource: ClassVar[Resource]
    finalizer: ClassVar[str]

    async def _write(self, obj: Object, *, in_use: bool) -> None:
        finalizers = plan_finalizers(obj, self.finalizer, in_use=in_use)
        if finalizers is None:
            return
        metadata = {"resourceVersion": resource_version_of(obj), "finalizers": finalizers or None}
        try:
            await self.client.patch(self.resource, name_of(obj), {"metadata": metadata}, namespace_of(obj))
        except errors.NotFound:
            return


class ClaimProtectionController(_ProtectionController):
    """Keys are claims."""

    name: ClassVar[str] = "pvc-protection"
    resource = PERSISTENT_VOLUME_CLAIMS
    finalizer = CLAIM_FINALIZER

    def setup(self) -> None:
        """Claims by key; pods that end or go lead to the claims they named."""
        self._claims = self.informer(PERSISTENT_VOLUME_CLAIMS)
        self._pods = self.informer(PODS)
        self._pods.add_index(CLAIM_INDEX, claims_of)
        self._claims.add_handler(self.enqueue_object)
        self._pods.add_handler(self._on_pod)

    def _on_pod(self, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or is_finished(new)):
            for key in claims_of(old):
                self.queue.add(key)

    async def reconcile(self, key: str) -> float | None:
        """Add the finalizer, or remove it from a claim that nobody uses."""
        claim = self._claims.get(key)
        if claim is None:
            return None
        in_use = is_claim_in_use(self._pods.by_index(CLAIM_INDEX, key_of(claim)))
        if is_terminating(claim) and not in_use and CLAIM_FINALIZER in (claim["metadata"].get("finalizers") or ()):
            # The cache may not show a pod that was just bound; what is lost then are somebody's data.
            live = await self.client.list(PODS, namespace_of(claim))
            in_use = is_claim_in_use(pod for pod in live["items"] if key in claims_of(pod))
        await self._write(claim, in_use=in_use)
        return None


class VolumeProtectionController(_ProtectionController):
    """Keys are volumes."""

    name: ClassVar[str] = "pv-protection"
    resource = PERSISTENT_VOLUMES
    finalizer = VOLUME_FINALIZER

    def setup(self) -> None:
        """Volumes by name."""
        self._volumes = self.informer(PERSISTENT_VOLUMES)
        self._volumes.add_handler(self.enqueue_object)

    async def reconcile(self, key: str) -> float | None:
        """Add the finalizer, or remove it from a volume that is not bound."""
        volume = self._volumes.get(key)
        if volume is not None:
            await self._write(volume, in_use=phase_of(volume) == "Bound")
        return None


def attributes_classes_of(obj: Object) -> list[str]:
    """The names of the VolumeAttributesClasses that a claim asks for, has or is on its way to, or that a volume has."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names = (
        spec.get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return [*dict.fromkeys(filter(None, names))]


class AttributesClassProtectionController(_ProtectionController):
    """Keys are VolumeAttributesClasses."""

    name: ClassVar[str] = "volumeattributesclass-protection"
    resource = VOLUME_ATTRIBUTES_CLASSES
    finalizer = CLASS_FINALIZER

    def setup(self) -> None:
        """Classes by name; claims and volumes lead to those that they do not name any more."""
        self._classes = self.informer(VOLUME_ATTRIBUTES_CLASSES)
        self._users = [self.informer(PERSISTENT_VOLUME_CLAIMS), self.informer(PERSISTENT_VOLUMES)]
        self._classes.add_handler(self.enqueue_object)
        for informer in self._users:
            informer.add_index(ATTRIBUTES_INDEX, attributes_classes_of)
            informer.add_handler(self._on_user)

    def _on_user(self, old: Object | None, new: Object | None) -> None:
        before = attributes_classes_of(old) if old is not None else []
        after = attributes_classes_of(new) if new is not None else []
        for name in before:
            if name not in after:
                self.queue.add(name)

    async def reconcile(self, key: str) -> float | None:
        """Add the finalizer, or remove it from a class that nobody names."""
        one = self._classes.get(key)
        if one is not None:
            await self._write(one, in_use=any(user.by_index(ATTRIBUTES_INDEX, key) for user in self._users))
        return None
