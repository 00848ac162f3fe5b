"""Volumes of the Docker Engine's volume drivers: `local` with its mount options (NFS, tmpfs, a device), or plug-ins.

A StorageClass names the driver (`driver`, by default `local`) and its options (every other parameter). Options may
contain `${pvc.name}`, `${pvc.namespace}` and `${pv.name}`. Mirrors what a CSI driver's external provisioner does with
the parameters of a class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from orchestrator.api.docker_volumes import DRIVER, csi_driver, docker_volume_of, volume_source
from orchestrator.api.objects import Object, labels_of, name_of, namespace_of
from orchestrator.provisioner.backend import Source
from orchestrator.provisioner.directory_backend import HOSTNAME
from orchestrator.provisioner.plan import common_refusal, is_block, is_for_one_node, on_node, volume_name_of

DRIVER_PARAMETER = "driver"
DRIVER_DEFAULT = "local"
_placeholder = re.compile(r"\$\{([^}]*)\}")


class DockerVolumes(Protocol):
    """The Engines of the cluster's nodes."""

    prefix: str
    """Begins the names of this cluster's volumes, and tells them from others on the same Engine."""

    @property
    def are_shared(self) -> bool:
        """Whether all nodes use the same Engine, so that a volume of it is at hand for each."""
        ...

    async def create(self, node: str, name: str, *, driver: str, options: Mapping[str, str]) -> None:
        """Make a volume on a node's Engine (empty: any); nothing happens when it is there. OSError."""
        ...

    async def remove(self, name: str) -> None:
        """Remove it from every Engine; succeeds when there is none. OSError."""
        ...


class DockerVolumeBackend:
    """One volume of the Engine for each claim."""

    provisioner = DRIVER
    can_grow = False

    def __init__(self, volumes: DockerVolumes) -> None:
        self._volumes = volumes
        self.driver: Object | None = csi_driver()

    def refusal(self, claim: Object, storage_class: Object) -> str:
        return refusal(claim, storage_class)

    async def make(self, claim: Object, storage_class: Object, node: Object | None, *, source: Source | None) -> Object:
        name = self._volumes.prefix + volume_name_of(claim)
        driver, options = plan_options(claim, storage_class.get("parameters") or {})
        await self._volumes.create(name_of(node) if node is not None else "", name, driver=driver, options=options)
        made: Object = {"csi": volume_source(name, driver)}
        hostname = labels_of(node).get(HOSTNAME) if node is not None else None
        if hostname and is_for_one_node(claim) and not self._volumes.are_shared:
            made["nodeAffinity"] = on_node(HOSTNAME, hostname)
        return made

    async def grow(self, volume: Object, size: str) -> None:
        raise OSError("the Engine cannot change the size of a volume")  # `can_grow` says so as well

    async def remove(self, volume: Object) -> None:
        await self._volumes.remove(docker_volume_of(volume["spec"]))


def refusal(claim: Object, storage_class: Object) -> str:
    """Why a volume of the Engine cannot be what a claim wants; empty when it can."""
    if claim["spec"].get("dataSourceRef") or claim["spec"].get("dataSource"):
        return "data sources are not supported: the Engine cannot copy a volume"
    if is_block(claim):
        return "volumeMode Block is not supported"
    if storage_class.get("mountOptions"):
        return "mountOptions are not supported: mount options of the driver local are its parameter o"
    unknown = {
        found for text in (storage_class.get("parameters") or {}).values() for found in _placeholder.findall(text)
    }
    if unknown := unknown - _values(claim).keys():
        return f"unknown placeholder in parameters: ${{{min(unknown)}}}"
    return common_refusal(claim)


def plan_options(claim: Object, parameters: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The driver for a claim and its options, with names filled in."""
    values = _values(claim)
    filled = {key: _placeholder.sub(lambda found: values[found[1]], text) for key, text in parameters.items()}
    return filled.pop(DRIVER_PARAMETER, "") or DRIVER_DEFAULT, filled


def _values(claim: Object) -> dict[str, str]:
    return {
        "pvc.name": name_of(claim),
        "pvc.namespace": namespace_of(claim),
        "pv.name": volume_name_of(claim),
    }
