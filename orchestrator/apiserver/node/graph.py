"""Which objects a node needs because pods on it refer to them.

Kept current by the store (`Store.observe`), from the first question on; a pod's references are worked out
when somebody asks for the first time. A question costs O(pods of the node).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.api.objects import Object, annotations_of
from orchestrator.api.resource_claims import claim_names_of
from orchestrator.api.resources import PERSISTENT_VOLUMES, PODS, VOLUME_ATTACHMENTS
from orchestrator.store import Event, EventType, Record, Store

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"

Reference = tuple[str, str]
"""(resource, name), in the pod's namespace."""
PodKey = tuple[str, str]


class NodeGraph:
    """Answers whether a node is related to an object."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pods: dict[str, dict[PodKey, Record]] = {}
        """node → its pods"""
        self._node_of: dict[PodKey, str] = {}
        self._references: dict[PodKey, frozenset[Reference]] = {}
        self._claims: dict[str, PodKey] = {}
        """volume → the claim that it is bound to"""
        self._volumes_of_secrets: dict[PodKey, set[str]] = {}
        """namespace and name of a secret → the volumes whose drivers get it on nodes"""
        self._secrets_of_volumes: dict[str, set[PodKey]] = {}
        self._attachments: dict[str, str] = {}
        """volume attachment → node"""
        self._followed: set[str] = set()

    def has_pod(self, node: str, namespace: str, name: str) -> bool:
        """Whether a pod is bound to a node."""
        self._follow_pods()
        return self._node_of.get((namespace, name)) == node

    def refers_to(self, node: str, resource: str, namespace: str, name: str) -> bool:
        """Whether some pod on the node refers to an object of its namespace."""
        self._follow_pods()
        wanted = (resource, name)
        return any(
            key[0] == namespace and wanted in self._references_of(key, record)
            for key, record in self._pods.get(node, {}).items()
        )

    def uses_volume(self, node: str, name: str) -> bool:
        """Whether some pod on the node uses a PersistentVolume through its claim."""
        self._follow_volumes()
        claim = self._claims.get(name)
        return claim is not None and self.refers_to(node, "persistentvolumeclaims", *claim)

    def mounts_with(self, node: str, namespace: str, secret: str) -> bool:
        """Whether some pod on the node uses a PersistentVolume whose driver gets this secret there."""
        self._follow_volumes()
        return any(self.uses_volume(node, name) for name in self._volumes_of_secrets.get((namespace, secret), ()))

    def uses_claim(self, node: str, namespace: str, name: str) -> bool:
        """Whether some pod on the node uses a ResourceClaim."""
        self._follow_pods()
        return any(
            key[0] == namespace and name in claim_names_of(record.obj)
            for key, record in self._pods.get(node, {}).items()
        )

    def has_attachment(self, node: str, name: str) -> bool:
        """Whether a VolumeAttachment is for this node."""
        if VOLUME_ATTACHMENTS.plural not in self._followed:
            self._followed.add(VOLUME_ATTACHMENTS.plural)
            self._store.observe(VOLUME_ATTACHMENTS.group_resource, self._on_attachment)
        return self._attachments.get(name) == node

    def _references_of(self, key: PodKey, record: Record) -> frozenset[Reference]:
        known = self._references.get(key)
        if known is None:
            known = self._references[key] = frozenset(references_of(record.obj))
        return known

    def _follow_volumes(self) -> None:
        if PERSISTENT_VOLUMES.plural not in self._followed:
            self._followed.add(PERSISTENT_VOLUMES.plural)
            self._store.observe(PERSISTENT_VOLUMES.group_resource, self._on_volume)

    def _follow_pods(self) -> None:
        if PODS.plural not in self._followed:
            self._followed.add(PODS.plural)
            self._store.observe(PODS.group_resource, self._on_pod)

    def _on_pod(self, event: Event) -> None:
        record = event.record
        key = (record.key.namespace, record.key.name)
        if event.type is EventType.DELETED:
            node = self._node_of.pop(key, "")
            if node:
                del self._pods[node][key]
                if not self._pods[node]:
                    del self._pods[node]
                self._references.pop(key, None)
            return
        node = self._node_of.get(key, "")
        if not node:
            node = record.obj["spec"].get("nodeName") or ""
            if not node:
                return
            self._node_of[key] = node
        # What a pod refers to cannot change once it is bound, but for ephemeral containers.
        if event.type is EventType.MODIFIED and key in self._references and "ephemeralContainers" in record.obj["spec"]:
            del self._references[key]
        self._pods.setdefault(node, {})[key] = record

    def _on_volume(self, event: Event) -> None:
        name = event.record.key.name
        claim = event.record.obj.get("spec", {}).get("claimRef") if event.type is not EventType.DELETED else None
        if claim:
            self._claims[name] = (claim.get("namespace") or "", claim.get("name") or "")
        else:
            self._claims.pop(name, None)
        secrets = set(_secrets_on_nodes(event.record.obj)) if event.type is not EventType.DELETED else set()
        for secret in self._secrets_of_volumes.pop(name, set()):
            self._volumes_of_secrets[secret].discard(name)
            if not self._volumes_of_secrets[secret]:
                del self._volumes_of_secrets[secret]
        if secrets:
            self._secrets_of_volumes[name] = secrets
        for secret in secrets:
            self._volumes_of_secrets.setdefault(secret, set()).add(name)

    def _on_attachment(self, event: Event) -> None:
        name = event.record.key.name
        if event.type is EventType.DELETED:
            self._attachments.pop(name, None)
        else:
            self._attachments[name] = event.record.obj["spec"].get("nodeName") or ""


def _secrets_on_nodes(volume: Object) -> Iterator[PodKey]:
    """(namespace, name) of the secrets that a driver gets from kubelets, not from controllers."""
    source = (volume.get("spec") or {}).get("csi") or {}
    for field in ("nodeStageSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"):
        reference = source.get(field) or {}
        if reference.get("name"):
            yield reference.get("namespace") or "", reference["name"]


def references_of(pod: Object) -> Iterator[Reference]:
    """Everything in its namespace that a pod refers to. A mirror pod entitles its node to nothing."""
    if MIRROR_ANNOTATION in annotations_of(pod):
        return
    spec = pod["spec"]
    if spec.get("serviceAccountName"):
        yield "serviceaccounts", spec["serviceAccountName"]
    for secret in spec.get("imagePullSecrets") or ():
        if secret.get("name"):
            yield "secrets", secret["name"]
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            yield from _container_references(container)
    for volume in spec.get("volumes") or ():
        yield from _volume_references(pod, volume)


def _container_references(container: dict[str, Any]) -> Iterator[Reference]:
    for source in container.get("envFrom") or ():
        for field, resource in (("secretRef", "secrets"), ("configMapRef", "configmaps")):
            if source.get(field):
                yield resource, source[field].get("name") or ""
    for variable in container.get("env") or ():
        value = variable.get("valueFrom") or {}
        for field, resource in (("secretKeyRef", "secrets"), ("configMapKeyRef", "configmaps")):
            if value.get(field):
                yield resource, value[field].get("name") or ""


def _volume_references(pod: Object, volume: dict[str, Any]) -> Iterator[Reference]:
    if volume.get("secret"):
        yield "secrets", volume["secret"].get("secretName") or ""
    if volume.get("configMap"):
        yield "configmaps", volume["configMap"].get("name") or ""
    if volume.get("persistentVolumeClaim"):
        yield "persistentvolumeclaims", volume["persistentVolumeClaim"].get("claimName") or ""
    if volume.get("ephemeral"):
        yield "persistentvolumeclaims", f"{pod['metadata']['name']}-{volume['name']}"
    for source in (volume.get("projected") or {}).get("sources") or ():
        for field, resource in (("secret", "secrets"), ("configMap", "configmaps")):
            if source.get(field):
                yield resource, source[field].get("name") or ""
    for value in volume.values():
        if isinstance(value, dict):
            for field in ("secretRef", "nodePublishSecretRef"):
                if isinstance(value.get(field), dict):
                    yield "secrets", value[field].get("name") or ""
            if value.get("secretName") and value is not volume.get("secret"):
                yield "secrets", value["secretName"]
