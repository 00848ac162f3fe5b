"""What the provisioner needs to know of a kind of volumes."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from orchestrator.api.objects import Object


class Source(Struct, frozen=True):
    """What a new volume begins with: the data of a volume of the same kind, or of a snapshot. One of them is set."""

    volume: str = ""
    snapshot: str = ""
    """What `status.snapshotHandle` says."""


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

    async def make(self, claim: Object, storage_class: Object, node: Object | None, *, source: Source | None) -> Object:
        """Make the volume, once for each claim; returns the part of a PersistentVolume's spec that leads to it.

        `node` is where the first pod will run, None when that does not matter. OSError.
        """
        ...

    async def grow(self, volume: Object, size: str) -> None:
        """Give a volume this size, while it is in use; only where `can_grow`. OSError."""
        ...

    async def remove(self, volume: Object) -> None:
        """Remove what is behind a PersistentVolume; succeeds when nothing is. OSError."""
        ...
