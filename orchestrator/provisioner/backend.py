"""What the provisioner needs to know of a kind of volumes."""

from __future__ import annotations

from typing import Protocol

from orchestrator.api.objects import Object


class Backend(Protocol):
    """Makes and removes volumes of one kind; everything else about them is the provisioner's."""

    provisioner: str
    """What storage classes name it by."""
    can_grow: bool
    driver: Object | None
    """The CSIDriver that describes its volumes; None when they are no CSI volumes."""

    def refusal(self, claim: Object, storage_class: Object) -> str:
        """Why a claim cannot have such a volume; empty when it can."""
        ...

    async def make(self, claim: Object, storage_class: Object, node: Object | None, *, copy_of: str) -> Object:
        """Make the volume, once for each claim; returns the part of a PersistentVolume's spec that leads to it.

        `node` is where the first pod will run, None when that does not matter; `copy_of` names a volume of the same
        kind whose data it begins with. OSError.
        """
        ...

    async def grow(self, volume: Object, size: str) -> None:
        """Give a volume this size, while it is in use; only where `can_grow`. OSError."""
        ...

    async def remove(self, volume: Object) -> None:
        """Remove what is behind a PersistentVolume; succeeds when nothing is. OSError."""
        ...
