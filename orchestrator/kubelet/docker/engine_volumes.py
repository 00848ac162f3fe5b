"""Volumes of Docker's volume drivers on the Engines of the nodes: made, removed, looked for.

Owns the names and labels of this cluster's volumes. Implements `provisioner.docker_backend.DockerVolumes`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from orchestrator.kubelet.docker.engine import DockerEngine, EngineError
from orchestrator.kubelet.docker.translate import CLUSTER_LABEL
from orchestrator.kubelet.network.plan import cluster_key
from orchestrator.kubelet.runtime import RuntimeFailure

NOT_FOUND = 404
VOLUME_SECONDS_MAX = 120.0
"""A driver may ask a server for it."""


class EngineVolumes:
    """By the names of the nodes."""

    def __init__(self, engines: Mapping[str, DockerEngine], *, default: DockerEngine, cluster_id: str) -> None:
        self.prefix = f"orc_{cluster_key(cluster_id)}_"
        self._engines = engines
        self._default = default
        self._cluster_id = cluster_id

    @property
    def are_shared(self) -> bool:
        """Whether all nodes use the same Engine."""
        return len({id(engine) for engine in self._engines.values()}) <= 1

    async def create(self, node: str, name: str, *, driver: str, options: Mapping[str, str]) -> None:
        """Make a volume on a node's Engine; one that is there with the same driver is left alone. OSError."""
        body = {"Name": name, "Driver": driver, "DriverOpts": {**options}, "Labels": {CLUSTER_LABEL: self._cluster_id}}
        engine = self._engines.get(node, self._default)
        try:
            await engine.call("POST", "volumes/create", body=body, seconds_max=VOLUME_SECONDS_MAX)
        except RuntimeFailure as error:
            raise OSError(str(error)) from error

    async def remove(self, name: str) -> None:
        """Remove it from every Engine. OSError, also while a container uses it."""
        for engine in self._every():
            try:
                await engine.call("DELETE", f"volumes/{name}", seconds_max=VOLUME_SECONDS_MAX)
            except EngineError as error:
                if error.status != NOT_FOUND:
                    raise OSError(str(error)) from error
            except RuntimeFailure as error:
                raise OSError(str(error)) from error

    async def remove_all(self) -> None:
        """Remove every volume of this cluster. OSError."""
        filters = json.dumps({"label": [f"{CLUSTER_LABEL}={self._cluster_id}"]})
        for engine in self._every():
            try:
                found = await engine.call("GET", "volumes", params={"filters": filters})
            except RuntimeFailure as error:
                raise OSError(str(error)) from error
            for volume in found.get("Volumes") or ():
                await self.remove(volume["Name"])

    def _every(self) -> list[DockerEngine]:
        return [*{id(engine): engine for engine in (self._default, *self._engines.values())}.values()]


async def has_volume(engine: DockerEngine, name: str) -> bool:
    """Whether an Engine has a volume; the Engine itself would make one of this name without a word. RuntimeFailure."""
    try:
        await engine.call("GET", f"volumes/{name}")
    except EngineError as error:
        if error.status == NOT_FOUND:
            return False
        raise
    return True
