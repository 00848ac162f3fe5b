"""The parts that a node's volumes of CSI drivers are made of, put together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.aiokit.clock import Clock
from orchestrator.client.client import Client
from orchestrator.component.events import EventRecorder
from orchestrator.kubelet.csi.attachments import NodeAttachments
from orchestrator.kubelet.csi.drivers import CsiDrivers
from orchestrator.kubelet.csi.volumes import CsiVolumes
from orchestrator.kubelet.node_paths import NodePaths
from orchestrator.kubelet.parts import Spawn
from orchestrator.kubelet.sources import Notify, Sources

CSI_PLUGIN = "CSIPlugin"
"""As what drivers register."""


def make_csi_volumes(
    *,
    client: Client,
    recorder: EventRecorder,
    sources: Sources,
    clock: Clock,
    paths: NodePaths,
    give_to_group: Callable[[Path, int, str], None],
    node_name: str,
    spawn: Spawn,
    wake: Notify,
) -> CsiVolumes:
    """What one node needs. `wake` is called with the uid of a pod that waited."""
    return CsiVolumes(
        client=client,
        recorder=recorder,
        drivers=CsiDrivers(client=client, clock=clock, node_name=node_name, spawn=spawn, wake=wake, sources=sources),
        attachments=NodeAttachments(client=client, sources=sources, node_name=node_name, wake=wake),
        paths=paths,
        give_to_group=give_to_group,
        node_name=node_name,
    )
