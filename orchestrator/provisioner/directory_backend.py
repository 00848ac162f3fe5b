"""Volumes that are directories of this machine, or a file in such a directory that becomes a block device."""

from __future__ import annotations

from orchestrator.api.objects import Object, labels_of, name_of
from orchestrator.api.quantity import int_value
from orchestrator.provisioner.directories import Directories
from orchestrator.provisioner.plan import common_refusal, is_block, is_for_one_node, on_node, volume_name_of

PROVISIONER = "orchestrator.local/directory"
HOSTNAME = "kubernetes.io/hostname"


class DirectoryBackend:
    """Below the data dir."""

    provisioner = PROVISIONER
    can_grow = True
    driver: Object | None = None

    def __init__(self, directories: Directories) -> None:
        self._directories = directories

    def refusal(self, claim: Object, storage_class: Object) -> str:
        return refusal(claim, storage_class)

    async def make(self, claim: Object, storage_class: Object, node: Object | None, *, copy_of: str) -> Object:
        name = volume_name_of(claim)
        path = await self._directories.make(name, copy_of=copy_of)
        if is_block(claim):
            size = int_value(claim["spec"]["resources"]["requests"]["storage"])
            path = await self._directories.make_disk(name, size)
        return plan_source(claim, node, str(path))

    async def grow(self, volume: Object, size: str) -> None:
        if is_block(volume):
            await self._directories.make_disk(name_of(volume), int_value(size))

    async def remove(self, volume: Object) -> None:
        await self._directories.remove(name_of(volume))


def refusal(claim: Object, storage_class: Object) -> str:
    """Why a directory cannot be what a claim wants; empty when it can."""
    source = claim["spec"].get("dataSourceRef") or claim["spec"].get("dataSource") or {}
    if source and source.get("kind") != "PersistentVolumeClaim":
        return f"data source of kind {source.get('kind')} is not supported"
    if storage_class.get("mountOptions"):
        return "mountOptions are not supported: a directory is not mounted"
    if parameters := storage_class.get("parameters"):
        return f"unknown parameters: {', '.join(sorted(parameters))}"
    return common_refusal(claim)


def plan_source(claim: Object, node: Object | None, path: str) -> Object:
    """What leads to a directory.

    What one node at a time uses belongs to that node (`local` with node affinity). What several nodes share is a
    `hostPath`: the nodes of this cluster share one machine.
    """
    hostname = labels_of(node).get(HOSTNAME) if node is not None else None
    if is_block(claim):
        return {"local": {"path": path}, "nodeAffinity": on_node(HOSTNAME)}  # all nodes are on this machine
    if hostname and is_for_one_node(claim):
        return {"local": {"path": path}, "nodeAffinity": on_node(HOSTNAME, hostname)}
    return {"hostPath": {"path": path, "type": "Directory"}}
