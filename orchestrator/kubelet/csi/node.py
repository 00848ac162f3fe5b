"""The parts that a node's volumes of CSI drivers are made of, put together, and what its usage learns from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.aiokit.clock import Clock
from orchestrator.client.client import Client
from orchestrator.component.events import EventRecorder
from orchestrator.component.usage import ClaimUsage, DiskUsage
from orchestrator.kubelet.csi.attachments import NodeAttachments
from orchestrator.kubelet.csi.drivers import CsiDrivers
from orchestrator.kubelet.csi.volumes import CsiVolumes
from orchestrator.kubelet.node_paths import NodePaths
from orchestrator.kubelet.parts import Spawn
from orchestrator.kubelet.sources import Notify, Sources
from orchestrator.kubelet.stats.source import MeasuresFiles

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


class UsageOfVolumes:
    """Implements `stats.source.MeasuresFiles`: files are measured here, what drivers provide is asked of them."""

    def __init__(self, files: MeasuresFiles, csi: Callable[[], CsiVolumes | None]) -> None:
        self._files = files
        self._csi = csi

    async def usage(self, pod_uids: Sequence[str]) -> tuple[DiskUsage, Mapping[str, tuple[tuple[str, DiskUsage], ...]]]:
        """See `MeasuresFiles`."""
        return await self._files.usage(pod_uids)

    async def claim_usage(self, pod_uids: Sequence[str]) -> Mapping[str, tuple[ClaimUsage, ...]]:
        """The file systems behind each pod's claims."""
        found = dict(await self._files.claim_usage(pod_uids))
        csi = self._csi()
        if csi is not None:
            for uid, claims in (await csi.claim_usage(pod_uids)).items():
                found[uid] = (*found.get(uid, ()), *claims)
        return found
