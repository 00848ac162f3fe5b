"""What volumes of drivers hold, as the drivers say it; those that do not are left out. Mirrors csi_metrics.go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.api.objects import name_of
from orchestrator.component.usage import ClaimUsage, DiskUsage
from orchestrator.kubelet.csi.plan import Published
from orchestrator.kubelet.plugins.connection import PluginError
from orchestrator.kubelet.stats.source import MeasuresFiles
from orchestrator.logs import get_logger

if TYPE_CHECKING:
    from orchestrator.kubelet.csi.driver import CsiDriver
    from orchestrator.kubelet.csi.volumes import CsiVolumes

SECONDS_MAX = 10.0
_log = get_logger("kubelet/csi")


async def usage_of(driver: CsiDriver, published: Published) -> ClaimUsage | None:
    """What a volume that is a claim holds; None when its driver does not tell, or not in time."""
    from orchestrator.kubelet.csi.driver import Capability

    volume = published.volume
    if volume.claim is None:
        return None
    try:
        async with asyncio.timeout(SECONDS_MAX):
            if Capability.GET_VOLUME_STATS not in await driver.capabilities():
                return None
            usage = await driver.usage(volume.handle, published.path, published.staging_path)
    except (PluginError, TimeoutError) as error:
        _log.info("csi.usage_unknown", driver=volume.driver, volume=volume.name, error=str(error))
        return None
    return None if usage is None else ClaimUsage(volume.pod_volume, name_of(volume.claim), usage)


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
            asked = [(uid, driver, known) for uid in pod_uids for driver, known in csi.published_for(uid)]
            answers = await asyncio.gather(*(usage_of(driver, known) for _, driver, known in asked))
            for (uid, _, _), usage in zip(asked, answers, strict=True):
                if usage is not None:
                    found[uid] = (*found.get(uid, ()), usage)
        return found
