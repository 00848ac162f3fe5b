"""Removes everything that a cluster has on this machine, known by its id alone.

Works after kill -9 and without the store: containers carry the cluster's label, the network carries
its key, mounts lie under the data directory. Never touches what belongs to others.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from orchestrator.aiokit.clock import Clock
from orchestrator.kubelet.block_volumes import release_devices
from orchestrator.kubelet.cgroups.pods import remove_cgroups
from orchestrator.kubelet.docker.engine import DockerEngine, EngineError
from orchestrator.kubelet.docker.translate import CLUSTER_LABEL, KIND_LABEL, SANDBOX_KIND
from orchestrator.kubelet.network.pod_network import remove_network
from orchestrator.kubelet.runtime import RuntimeFailure

MNT_DETACH = 2


class Removed(Struct, frozen=True):
    """What `remove_everything` found and removed."""

    containers: int
    mounts: int


async def remove_everything(
    cluster_id: str, *, clock: Clock, url: str | None = None, data_dir: Path | None = None
) -> Removed:
    """Remove containers, pod network and mounts of a cluster; nothing there is fine.

    What does not need the Engine is removed even when no Engine answers; RuntimeUnavailable then.
    """
    failure: RuntimeFailure | None = None
    containers = 0
    engine = DockerEngine(clock=clock, url=url)
    try:
        await engine.connect()
        containers = await remove_containers(engine, cluster_id)
        if os.geteuid() == 0:
            await asyncio.to_thread(remove_cgroups, engine.info, cluster_id)
    except OSError as error:
        failure = RuntimeFailure(f"removing cgroups: {error}")
    except RuntimeFailure as error:
        failure = error
    finally:
        await engine.close()
    if os.geteuid() == 0:
        await remove_network(cluster_id)
    mounts = 0
    if data_dir is not None:
        mounts = await asyncio.to_thread(unmount_under, data_dir)
        await asyncio.to_thread(release_devices, data_dir / "kubelet")
    if failure is not None:
        raise failure
    return Removed(containers=containers, mounts=mounts)


async def remove_containers(engine: DockerEngine, cluster_id: str) -> int:
    """Kill and remove all containers of a cluster, those in sandboxes first; returns how many there were."""
    filters = json.dumps({"label": [f"{CLUSTER_LABEL}={cluster_id}"]})
    items: list[dict[str, Any]] = await engine.call("GET", "containers/json", params={"all": "1", "filters": filters})
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


def plan_unmounts(mountinfo: str, directory: str) -> list[str]:
    """Mount points at or below a directory, the last mounted first, out of `/proc/self/mountinfo`."""
    root = directory.rstrip("/")
    points = [
        line.split(" ")[4].encode().decode("unicode_escape").encode("latin-1").decode(errors="surrogateescape")
        for line in mountinfo.splitlines()
    ]
    return [point for point in reversed(points) if point == root or point.startswith(f"{root}/")]


def unmount_under(directory: Path) -> int:
    """Unmount everything at or below a directory; returns how many mounts there were. OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    points = plan_unmounts(Path("/proc/self/mountinfo").read_text(), str(directory.resolve()))
    for point in points:
        if libc.umount2(os.fsencode(point), MNT_DETACH) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"unmounting {point}: {os.strerror(code)}")
    return len(points)
