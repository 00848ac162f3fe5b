"""Removes everything that a cluster has on this machine, known by its id alone.

Works after kill -9 and without the store: containers carry the cluster's label, the network carries
its key, mounts lie under the data directory. Never touches what belongs to others.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from orchestrator.aiokit.clock import Clock
from orchestrator.config.engines import EngineAddress
from orchestrator.kubelet.cgroups.pods import kill_processes, remove_cgroups
from orchestrator.kubelet.docker.engine import DockerEngine, EngineError
from orchestrator.kubelet.docker.network.docker_network import remove_networks
from orchestrator.kubelet.docker.translate import CLUSTER_LABEL, HELPER_KIND, KIND_LABEL, SANDBOX_KIND
from orchestrator.kubelet.network.pod_network import remove_network
from orchestrator.kubelet.runtime import RuntimeFailure
from orchestrator.kubelet.volumes.block_volumes import release_devices
from orchestrator.kubelet.volumes.mounts import unmount_below


class Removed(Struct, frozen=True):
    """What `remove_everything` found and removed."""

    containers: int
    mounts: int


async def remove_everything(
    cluster_id: str, *, clock: Clock, engines: Sequence[EngineAddress | None] = (None,), data_dir: Path | None = None
) -> Removed:
    """Remove containers, pod network and mounts of a cluster from its Engines; nothing there is fine.

    What does not need an Engine that does not answer is removed all the same; RuntimeFailure then.
    """
    failure: RuntimeFailure | None = None
    containers = 0
    infos: list[Mapping[str, Any]] = []
    for address in engines:
        try:
            removed, info = await _clear_engine(cluster_id, clock, address)
        except RuntimeFailure as error:
            failure = error
        else:
            containers += removed
            infos.append(info)
    mounts = 0
    if os.geteuid() == 0:
        try:
            for info in infos:
                await asyncio.to_thread(remove_cgroups, info, cluster_id)
        except OSError as error:
            failure = failure or RuntimeFailure(f"removing cgroups: {error}")
        await remove_network(cluster_id)
    if data_dir is not None:
        mounts = await asyncio.to_thread(unmount_below, data_dir)
        await asyncio.to_thread(release_devices, data_dir / "kubelet")
    if failure is not None:
        raise failure
    return Removed(containers=containers, mounts=mounts)


async def _clear_engine(
    cluster_id: str, clock: Clock, address: EngineAddress | None
) -> tuple[int, Mapping[str, Any]]:  # fmt: skip
    """Remove the containers from one Engine; returns how many there were, and what it says of itself."""
    try:
        engine = DockerEngine(clock=clock, address=address)
    except ValueError as error:
        raise RuntimeFailure(f"DOCKER_HOST: {error}") from None
    try:
        await engine.connect()
        if os.geteuid() == 0:
            with suppress(OSError):  # what still runs is killed by the Engine, one container after the other
                await asyncio.to_thread(kill_processes, engine.info, cluster_id)
        removed = await remove_containers(engine, cluster_id)
        await remove_networks(engine, cluster_id)
        return removed, engine.info
    finally:
        await engine.close()


async def remove_containers(engine: DockerEngine, cluster_id: str, *, helpers: bool = True) -> int:
    """Kill and remove all containers of a cluster, those in sandboxes first; returns how many there were.

    Without `helpers` those stay that are part of a network on Docker's.
    """
    filters = json.dumps({"label": [f"{CLUSTER_LABEL}={cluster_id}"]})
    items: list[dict[str, Any]] = await engine.call("GET", "containers/json", params={"all": "1", "filters": filters})
    if not helpers:
        items = [item for item in items if (item.get("Labels") or {}).get(KIND_LABEL) != HELPER_KIND]
    for batch in plan_removal_order(items):
        async with asyncio.TaskGroup() as group:
            for container_id in batch:
                group.create_task(_remove(engine, container_id), name=f"remove-{container_id[:12]}")
    return len(items)


def plan_removal_order(items: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Container ids in two batches: applications, then the sandboxes that they are joined to."""
    sandboxes = [item["Id"] for item in items if (item.get("Labels") or {}).get(KIND_LABEL) == SANDBOX_KIND]
    return [[item["Id"] for item in items if item["Id"] not in set(sandboxes)], sandboxes]


async def _remove(engine: DockerEngine, container_id: str) -> None:
    async with engine.changes():
        try:
            await engine.call("DELETE", f"containers/{container_id}", params={"force": "1", "v": "1"})
        except EngineError as error:
            if error.status == 409 and "in progress" in str(error):
                await engine.call("POST", f"containers/{container_id}/wait", params={"condition": "removed"})
            elif error.status != 404:
                raise
