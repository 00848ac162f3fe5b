"""Volumes that are directories of this machine, or a file in such a directory that becomes a block device."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from orchestrator.api.objects import Object, labels_of, name_of
from orchestrator.api.quantity import int_value
from orchestrator.provisioner.backend import Source
from orchestrator.provisioner.directories import Directories, copy_directory
from orchestrator.provisioner.directory_snapshots import DirectorySnapshots
from orchestrator.provisioner.plan import common_refusal, is_block, is_for_one_node, on_node, volume_name_of

PROVISIONER = "orchestrator.local/directory"
HOSTNAME = "kubernetes.io/hostname"


class DirectoryBackend:
    """Below the data dir."""

    provisioner = PROVISIONER
    can_grow = True
    driver: Object | None = None

    def __init__(self, directories: Directories, snapshots: DirectorySnapshots) -> None:
        self._directories = directories
        self._snapshots = snapshots

    def refusal(self, claim: Object, storage_class: Object) -> str:
        return refusal(claim, storage_class)

    async def make(self, claim: Object, storage_class: Object, node: Object | None, *, source: Source | None) -> Object:
        name = volume_name_of(claim)
        fill = partial(copy_directory, await self._data_of(source, claim)) if source is not None else None
        path = await self._directories.make(name, fill=fill)
        if is_block(claim):
            size = int_value(claim["spec"]["resources"]["requests"]["storage"])
            path = await self._directories.make_disk(name, size)
        return plan_source(claim, node, str(path))

    async def _data_of(self, source: Source, claim: Object) -> Path:
        if not source.snapshot:
            return self._directories.path(source.volume)
        # A content that an administrator wrote need not say what the snapshot is of.
        facts = await self._snapshots.find(source.snapshot)
        if is_block(claim) is not (facts.volume_mode == "Block"):
            raise OSError(f"snapshot {source.snapshot} is of a volume of mode {facts.volume_mode}")
        return self._snapshots.data(source.snapshot)

    async def grow(self, volume: Object, size: str) -> None:
        if is_block(volume):
            await self._directories.make_disk(name_of(volume), int_value(size))

    async def remove(self, volume: Object) -> None:
        await self._directories.remove(name_of(volume))


def refusal(claim: Object, storage_class: Object) -> str:
    """Why a directory cannot be what a claim wants; empty when it can."""
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
