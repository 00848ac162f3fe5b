"""A claim that grows is told who makes its volume larger. Mirrors persistentvolume-expander-controller.

No plugin of this process expands volumes of CSI drivers: their external resizers do, and the kubelet after them.
"""

from __future__ import annotations

from typing import ClassVar

from orchestrator.api.csi_volumes import csi_source_of
from orchestrator.api.objects import Object, key_of
from orchestrator.api.quantity import parse_quantity
from orchestrator.api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from orchestrator.api.volume_binding import is_for
from orchestrator.component.controller import Controller


def wants_more(claim: Object) -> bool:
    """Whether a bound claim asks for more than it has."""
    status = claim.get("status") or {}
    wanted = (((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}).get("storage")
    has = (status.get("capacity") or {}).get("storage")
    if status.get("phase") != "Bound" or not wanted or not has:
        return False
    return parse_quantity(wanted) > parse_quantity(has)


class VolumeExpander(Controller):
    """Keys are claims."""

    name: ClassVar[str] = "persistentvolume-expander"

    def setup(self) -> None:
        """Claims that want more than before."""
        self._claims = self.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = self.informer(PERSISTENT_VOLUMES)
        self._claims.add_handler(self._on_claim)

    def _on_claim(self, old: Object | None, new: Object | None) -> None:
        if new is not None and wants_more(new) and (old is None or not wants_more(old)):
            self.queue.add(key_of(new))

    async def reconcile(self, key: str) -> float | None:
        """Tell the claim whom it waits for."""
        claim = self._claims.get(key)
        if claim is None or not wants_more(claim):
            return None
        volume = self._volumes.get((claim.get("spec") or {}).get("volumeName") or "")
        if volume is not None and is_for(volume, claim) and csi_source_of(volume) is not None:
            message = "waiting for an external controller to expand this PVC"
            self.recorder.event(claim, "Normal", "ExternalExpanding", message)
        return None
