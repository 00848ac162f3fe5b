"""What claims, volumes and ingresses get when they are made, and when a claim may grow.

StorageObjectInUseProtection, DefaultStorageClass, DefaultIngressClass and PersistentVolumeClaimResize.
"""

from __future__ import annotations

from orchestrator.api import errors
from orchestrator.api.objects import Object, annotations_of
from orchestrator.api.quantity import parse_quantity
from orchestrator.apiserver.admission.plugin import AdmissionPlugin, Attributes, Reader

PROTECTION_FINALIZERS = {
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
    "persistentvolumes": "kubernetes.io/pv-protection",
}
DEFAULT_CLASS_ANNOTATION = "storageclass.kubernetes.io/is-default-class"
OLD_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


class StorageObjectInUseProtection(AdmissionPlugin):
    """A finalizer keeps a claim or volume until nobody uses it."""

    name = "StorageObjectInUseProtection"
    resources = frozenset(PROTECTION_FINALIZERS)

    def handles(self, attributes: Attributes) -> bool:
        return (
            attributes.operation == "CREATE"
            and not attributes.subresource
            and attributes.group_resource in PROTECTION_FINALIZERS
        )

    async def admit(self, attributes: Attributes) -> None:
        finalizer = PROTECTION_FINALIZERS[attributes.group_resource]
        metadata = attributes.obj["metadata"]
        if finalizer not in (metadata.get("finalizers") or ()):
            metadata["finalizers"] = [*(metadata.get("finalizers") or ()), finalizer]


class DefaultStorageClass(AdmissionPlugin):
    """A claim that names no class gets the default one; of several the newest."""

    name = "DefaultStorageClass"
    resources = frozenset(("persistentvolumeclaims",))

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, attributes: Attributes) -> bool:
        return (
            attributes.operation == "CREATE"
            and not attributes.subresource
            and attributes.group_resource == "persistentvolumeclaims"
        )

    async def admit(self, attributes: Attributes) -> None:
        claim = attributes.obj
        if claim["spec"].get("storageClassName") is not None or OLD_CLASS_ANNOTATION in annotations_of(claim):
            return
        defaults = [
            found
            for found in await self._reader.read_all("storageclasses.storage.k8s.io")
            if annotations_of(found).get(DEFAULT_CLASS_ANNOTATION) == "true"
        ]
        if defaults:
            # Newest first, then by name, so that the choice is stable.
            by_name = sorted(defaults, key=lambda found: str(found["metadata"]["name"]))
            newest = max(by_name, key=lambda found: str(found["metadata"]["creationTimestamp"]))
            claim["spec"]["storageClassName"] = newest["metadata"]["name"]


class PersistentVolumeClaimResize(AdmissionPlugin):
    """A claim grows only when its class says that its volumes can; validation sees to it that none shrinks."""

    name = "PersistentVolumeClaimResize"
    resources = frozenset(("persistentvolumeclaims",))

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, attributes: Attributes) -> bool:
        return (
            attributes.operation == "UPDATE"
            and not attributes.subresource
            and attributes.group_resource == "persistentvolumeclaims"
        )

    async def validate(self, attributes: Attributes) -> None:
        new, old = _requested(attributes.obj), _requested(attributes.old or {})
        if new is None or old is None or parse_quantity(new) <= parse_quantity(old):
            return
        claim = attributes.old or {}
        if (claim.get("status") or {}).get("phase") != "Bound":
            raise errors.forbidden(
                "", "persistentvolumeclaims", attributes.name, "Only bound persistent volume claims can be expanded"
            )
        name = annotations_of(claim).get(OLD_CLASS_ANNOTATION) or claim["spec"].get("storageClassName") or ""
        found = await self._reader.read("storageclasses.storage.k8s.io", name) if name else None
        if found is None or not found.get("allowVolumeExpansion"):
            raise errors.forbidden(
                "",
                "persistentvolumeclaims",
                attributes.name,
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must"
                " support resize",
            )


def _requested(claim: Object) -> str | None:
    storage = (((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}).get("storage")
    return None if storage is None else str(storage)


class DefaultIngressClass(AdmissionPlugin):
    """An Ingress that names no class gets the default one."""

    name = "DefaultIngressClass"
    resources = frozenset(("ingresses.networking.k8s.io",))
    ANNOTATION = "ingressclass.kubernetes.io/is-default-class"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def handles(self, attributes: Attributes) -> bool:
        return (
            attributes.operation == "CREATE"
            and not attributes.subresource
            and attributes.group_resource == "ingresses.networking.k8s.io"
        )

    async def admit(self, attributes: Attributes) -> None:
        ingress = attributes.obj
        if ingress["spec"].get("ingressClassName") is not None:
            return
        if "kubernetes.io/ingress.class" in annotations_of(ingress):
            return
        defaults = [
            found
            for found in await self._reader.read_all("ingressclasses.networking.k8s.io")
            if annotations_of(found).get(self.ANNOTATION) == "true"
        ]
        if defaults:
            by_name = sorted(defaults, key=lambda found: str(found["metadata"]["name"]))
            newest = max(by_name, key=lambda found: str(found["metadata"]["creationTimestamp"]))
            ingress["spec"]["ingressClassName"] = newest["metadata"]["name"]
