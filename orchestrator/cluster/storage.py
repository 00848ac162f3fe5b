"""The built-in storage of a cluster: what the provisioner and the snapshot controller are made with.

Knows where volumes and snapshots lie below the data dir, and which storage class is the default one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from orchestrator.aiokit.clock import Clock
from orchestrator.api import errors
from orchestrator.api.resources import STORAGE_CLASSES
from orchestrator.client.client import Client
from orchestrator.client.informer import Informers
from orchestrator.component.events import EventRecorder
from orchestrator.component.supervisor import Supervisor
from orchestrator.config import Config
from orchestrator.kubelet.volumes.ownership import OWN_RIGHTS
from orchestrator.provisioner.directories import Directories
from orchestrator.provisioner.directory_backend import DirectoryBackend
from orchestrator.provisioner.directory_snapshots import DirectorySnapshots
from orchestrator.provisioner.docker_backend import DockerVolumeBackend
from orchestrator.provisioner.plan import default_storage_class
from orchestrator.provisioner.provisioner import Provisioner
from orchestrator.provisioner.snapshots.definitions import SnapshotDefinitions

if TYPE_CHECKING:
    from orchestrator.cluster.nodes import Nodes
    from orchestrator.provisioner.snapshots.controller import SnapshotController

PROVISIONER_NAME = "local-volume-provisioner"
SNAPSHOT_CONTROLLER_NAME = "snapshot-controller"


async def add_storage(
    supervisor: Supervisor,
    *,
    config: Config,
    nodes: Nodes | None,
    client: Client,
    snapshot_client: Client,
    informers: Informers,
    recorder_for: Callable[[str], EventRecorder],
    clock: Clock,
) -> None:
    """Make the default storage class, and supervise who makes volumes and snapshots."""
    remove = (nodes.ownership if nodes is not None else OWN_RIGHTS).remove
    directories = Directories(config.data_dir / "volumes", remove=remove)
    snapshots = DirectorySnapshots(Directories(config.data_dir / "snapshots", remove=remove), directories, clock=clock)
    backend = DirectoryBackend(directories, snapshots)
    if config.storage_class:
        with contextlib.suppress(errors.AlreadyExists):
            await client.create(STORAGE_CLASSES, default_storage_class(config.storage_class, backend.provisioner))
    docker_volumes = nodes.docker_volumes() if nodes is not None else None
    definitions = SnapshotDefinitions(informers)
    provisioner = Provisioner(
        backends=[backend, *([DockerVolumeBackend(docker_volumes)] if docker_volumes is not None else [])],
        snapshots=definitions,
        client=client,
        informers=informers,
        recorder=recorder_for(PROVISIONER_NAME),
        clock=clock,
    )
    supervisor.add(PROVISIONER_NAME, provisioner.run)

    @cache
    def snapshot_controller() -> SnapshotController:
        from orchestrator.provisioner.snapshots.controller import SnapshotController

        return SnapshotController(
            driver_name=backend.provisioner,
            driver=snapshots,
            client=snapshot_client,
            informers=informers,
            recorder=recorder_for(SNAPSHOT_CONTROLLER_NAME),
            clock=clock,
        )

    async def control_snapshots() -> None:
        await definitions.wait_served()
        await snapshot_controller().run()

    supervisor.add(SNAPSHOT_CONTROLLER_NAME, control_snapshots)
